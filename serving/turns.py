"""Who is answered when: in order of arrival, and under lasting overload only who will not wait long.

A bound on the length of a queue says nothing about the wait, and a queue that never empties makes everybody wait for
nothing. So the wait is estimated: those ahead, times what an answer takes lately. As in controlled delay (Nichols and
Jacobson, ACM Queue 2012; "Fail at Scale", ACM Queue 2015) a burst may fill the queue; but once the estimate has been
long for a while without a break, or the queue was full, who would wait long is told at once to come back, until
nobody had to be told so for a while. So is then who may have waited long before the request was read, unless nobody
is under way.
"""

import asyncio
import contextvars
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import ParamSpec, TypeVar

from serving.metrics import WAITING, staged
from serving.one_at_a_time import OneAtATime

P = ParamSpec("P")
T = TypeVar("T")

MOST = 64
"""Questions that a burst may have under way in one worker."""
FEW = 8
"""With fewer under way nobody is told to come back for how long answers take: so many callers who ask on and on, each
after its answer, are always answered."""
WAIT = 0.01
"""Seconds that may be waited under lasting overload; beside `FEW` questions of a millisecond it counts for nothing."""
WINDOW = 0.1
"""Seconds without a short wait after which overload lasts."""
CALM = 1.0
"""Seconds since somebody was told to come back after which it is over."""
LONGEST = 10.0
"""Seconds after which nobody waits for an answer any more."""
WEIGHT = 0.1
"""Of the last answer in the mean time of an answer."""


class Overloaded(Exception):
    """Too many wait; the caller should come back."""


class Turns:
    """A thread of its own for each of `threads` questions at a time, and the others wait in order.

    With one thread the event loop itself answers short questions, in the same order (`OneAtATime`).
    """

    def __init__(
        self,
        name: str,
        threads: int = 1,
        *,
        most: int = MOST,
        wait: float = WAIT,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._threads = threads
        self._calls = OneAtATime(name) if threads == 1 else ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most, self._wait, self._clock = most, wait, clock
        self._short, self._refused = clock(), -math.inf
        self._takes, self._ended = 0.0, -math.inf
        self.pressed = False
        """Overload lasts."""
        self.coming = 0
        """Questions let in that have not asked for their turn yet."""
        self.waiting = 0
        """Questions that have asked for a turn and are not answered yet."""

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `call` returns or raises, in its turn; Overloaded if too many wait, or this one waited too long."""
        return await self._run(partial(call, *args, **kwargs), short=False)

    async def run_short(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `run`, for a call of a millisecond at most, which only computes."""
        return await self._run(partial(call, *args, **kwargs), short=True)

    async def _run(self, call: Callable[[], T], short: bool) -> T:
        if not self.coming and self._refuses(self.waiting):  # who was let in a moment ago is not judged again
            raise Overloaded
        asked, context = self._clock(), contextvars.copy_context()

        def turn() -> T:
            began = self._clock()
            if began - asked > LONGEST:
                raise Overloaded
            try:
                return context.run(_after_waiting, asked, began, call)
            finally:
                ended = self._clock()
                # One at a time, all that the loop does between two answers is part of what one takes.
                self.took(ended - (max(asked, self._ended) if self._threads == 1 else began))
                self._ended = ended

        self.waiting += 1
        WAITING.inc()
        try:
            if isinstance(self._calls, OneAtATime):
                return await self._calls.run(turn, short)
            return await asyncio.get_running_loop().run_in_executor(self._calls, turn)
        finally:
            self.waiting -= 1
            WAITING.dec()

    def full(self, late: float = 0.0) -> bool:
        """Whether one who comes now, and waited `late` seconds to be read, is told to come back; who asks does so."""
        return self._refuses(self.waiting + self.coming, late)

    def came(self) -> None:
        """One of those who were coming has asked for its turn, or will not."""
        self.coming -= 1

    def took(self, seconds: float) -> None:
        """Learn how long an answer takes."""
        self._takes += (seconds - self._takes) * (WEIGHT if self._takes else 1)

    def _refuses(self, ahead: int, late: float = 0.0) -> bool:
        """Learn from one arrival, with so many ahead of it, and decide about it."""
        now = self._clock()
        short = ahead < FEW or ahead * self._takes / self._threads <= self._wait
        if ahead >= self._most or (not short and now - self._short > WINDOW):
            self.pressed = True
        if short:
            self._short = now
            self.pressed = self.pressed and now - self._refused <= CALM
        if ahead < self._most and (short or not self.pressed):
            return self.pressed and ahead > 0 and late > max(self._wait, WAIT)  # which does not make overload last
        self._refused = now
        return True


def _after_waiting(asked: float, began: float, call: Callable[[], T]) -> T:
    staged("turn", asked, began)
    return call()
