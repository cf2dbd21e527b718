"""Calls that are made one at a time and in order: short ones by the event loop itself, the others on a thread.

Two threads that both run Python take turns at its lock, and whoever waits for it waits up to 5 ms each time; the loop
gives it up at every read and write. So a call of a millisecond costs a fifth less processor time where the loop makes
it, and callers who are turned away meanwhile do not draw it out. A long call would keep everybody from being read.
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
        self._beside = 0
        """Calls that the thread has and has not ended."""
        self._here = False
        """The next round of the loop will make a call."""

    def run(self, call: Callable[[], T], short: bool) -> asyncio.Future[T]:
        """What `call` returns or raises, in its turn; one that is cancelled before is left out."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._calls.append((call, short, answer))
        self._next(loop)
        return answer

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give the thread the long calls that are next; if there are none and it is idle, a short one is made here."""
        while self._calls and not self._calls[0][1]:
            call, _, answer = self._calls.popleft()
            if answer.cancelled():
                continue
            self._beside += 1
            turn = self._pool.submit(call)
            turn.add_done_callback(partial(self._ended_beside, loop, answer))
            answer.add_done_callback(partial(_left_out, turn))
        if self._calls and not self._beside and not self._here:
            self._here = True
            loop.call_soon(self._make, loop)

    def _make(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make the short call that is next, and no other before its answer is sent."""
        self._here = False
        call, _, answer = self._calls.popleft()
        if not answer.cancelled():
            _tell(answer, _made(call))
        self._next(loop)

    def _ended_beside(self, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[Any], turn: Future[Any]) -> None:
        """Tell the loop, from the thread."""
        loop.call_soon_threadsafe(self._ended, loop, answer, turn)

    def _ended(self, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[Any], turn: Future[Any]) -> None:
        self._beside -= 1
        if not answer.cancelled():
            _tell(answer, turn)
        self._next(loop)


def _left_out(turn: Future[Any], answer: asyncio.Future[Any]) -> None:
    """Whose answer is no longer waited for has no turn, unless it has begun."""
    turn.cancel()


def _tell(answer: asyncio.Future[Any], turn: Future[Any]) -> None:
    error = turn.exception()
    if error is None:
        answer.set_result(turn.result())
    else:
        answer.set_exception(error)


def _made(call: Callable[[], T]) -> Future[T]:
    """A call made here and now."""
    turn: Future[T] = Future()
    try:
        turn.set_result(call())
    except Exception as error:
        turn.set_exception(error)
    return turn
