"""Who is answered when: one question at a time, few waiting, fewer while waits stay long.

A fixed bound alone lets every wait grow to the bound under overload. As in controlled delay (Nichols and Jacobson,
ACM Queue 2012; "Fail at Scale", ACM Queue 2015) the bound falls when no wait has been short for a while, so that who is
accepted is answered soon and the others are told at once to come back.
"""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import ParamSpec, TypeVar

from serving.metrics import WAITING

P = ParamSpec("P")
T = TypeVar("T")

MOST = 64
"""Questions that may wait in one worker."""
FEW = 8
"""While waits are long."""
LONG, SHORT, WINDOW = 0.02, 0.002, 0.1
"""Seconds: waits are long once none was below `LONG` for `WINDOW`, until one is below `SHORT`."""
LONGEST = 10.0
"""Seconds after which nobody waits for an answer any more."""


class Overloaded(Exception):
    """Too many wait; the caller should come back."""


class Turns:
    """A thread of its own for each of `threads` questions at a time, and the others wait in order."""

    def __init__(self, name: str, threads: int = 1, *, most: int = MOST, clock: Callable[[], float] = perf_counter):
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most, self._clock = most, clock
        self._last_short = clock()
        self.overloaded = False
        self.waiting = 0
        """Questions accepted and not yet answered."""

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `call` returns or raises, in its turn; Overloaded if too many wait, or this one waited too long."""
        if self.waiting >= (FEW if self.overloaded else self._most):
            raise Overloaded
        asked, context = self._clock(), contextvars.copy_context()

        def turn() -> T:
            self._waited(self._clock() - asked)
            return context.run(call, *args, **kwargs)

        self.waiting += 1
        WAITING.inc()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, turn)
        finally:
            self.waiting -= 1
            WAITING.dec()
            if not self.waiting:
                self.overloaded = False

    def _waited(self, seconds: float) -> None:
        """Learn from one wait."""
        now = self._clock()
        if seconds < LONG:
            self._last_short = now
        if seconds < SHORT:
            self.overloaded = False
        elif now - self._last_short > WINDOW:
            self.overloaded = True
        if seconds > LONGEST:
            raise Overloaded
