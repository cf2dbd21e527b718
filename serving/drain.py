"""Stopping a worker without losing a caller: not ready first, then, after a while, no more answers."""

import asyncio
import signal
from collections.abc import Callable
from types import FrameType
from typing import Protocol


class Draining(Protocol):
    """What tells callers that a worker is about to stop."""

    draining: bool


def drain_on_sigterm(state: Draining, seconds: float, begun: Callable[[], None] | None) -> None:
    """Have SIGTERM end readiness at once and answering after `seconds`; what has begun then is finished.

    Called in the event loop of the worker, after the server has taken the signal: its own handler comes second.
    A second SIGTERM does not wait. `begun` is called in a thread when draining begins.
    """
    loop, stop = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)
    if not callable(stop):
        raise RuntimeError("drain_on_sigterm: the server handles no SIGTERM yet")

    def handle(number: int, frame: FrameType | None) -> None:
        if state.draining:
            stop(number, frame)
            return
        state.draining = True
        if begun is not None:
            loop.call_soon_threadsafe(loop.run_in_executor, None, begun)
        loop.call_soon_threadsafe(loop.call_later, seconds, stop, number, None)

    signal.signal(signal.SIGTERM, handle)
