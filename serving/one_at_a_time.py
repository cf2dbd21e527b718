"""Calls that are made one at a time and in order: short ones by the event loop itself, the others on a thread.

Two threads that both run Python take turns at its lock, and whoever waits for it waits up to 5 ms each time; the loop
gives it up at every read and write. A call of less than a millisecond is over before another thread would have begun,
and the loop that makes it knows to the round what it owes to whom. A long call would keep everybody from being read.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


class OneAtATime:
    """Makes calls for one event loop, at most one short one in each of its rounds."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._calls: deque[tuple[Callable[[], Any], bool, asyncio.Future[Any]]] = deque()
        self._busy = False
        """A call is being made, or the next round of the loop will begin one."""

    def run(self, call: Callable[[], T], short: bool) -> asyncio.Future[T]:
        """What `call` returns or raises, in its turn; one that is cancelled before is left out."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._calls.append((call, short, answer))
        if not self._busy:
            self._busy = True
            loop.call_soon(self._next, loop)
        return answer

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin the first call that waits."""
        while self._calls:
            call, short, answer = self._calls.popleft()
            if answer.cancelled():
                continue
            if short:
                self._ended(loop, answer, _made(call))
            else:
                turn = self._pool.submit(call)
                turn.add_done_callback(partial(self._ended_beside, loop, answer))
            return
        self._busy = False

    def _ended_beside(self, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[Any], turn: Future[Any]) -> None:
        """Tell the loop, from the thread."""
        loop.call_soon_threadsafe(self._ended, loop, answer, turn)

    def _ended(self, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[Any], turn: Future[Any]) -> None:
        """Give the answer to who waits for it; the next call begins after they have sent it."""
        if not answer.cancelled():
            error = turn.exception()
            if error is None:
                answer.set_result(turn.result())
            else:
                answer.set_exception(error)
        loop.call_soon(self._next, loop)


def _made(call: Callable[[], T]) -> Future[T]:
    """A call made here and now."""
    turn: Future[T] = Future()
    try:
        turn.set_result(call())
    except Exception as error:
        turn.set_exception(error)
    return turn
