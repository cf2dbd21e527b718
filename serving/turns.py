"""Who is answered when: one question at a time, few waiting, fewer while waits stay long.

A fixed bound alone lets every wait grow to the bound under overload. As in controlled delay (Nichols and Jacobson,
ACM Queue 2012; "Fail at Scale", ACM Queue 2015) the bound falls when no wait has been short for a while, or when it
is reached, so that who is accepted is answered soon and the others are told at once to come back. It rises again once
waits are short and nobody has been turned away for a while: turning away makes waits short, so these alone say nothing.
"""

import asyncio
import contextvars
import math
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
"""Seconds: waits are long once none was below `LONG` for `WINDOW`, until one is below `SHORT` and all is calm."""
CALM = 1.0
"""Seconds since somebody was turned away."""
LONGEST = 10.0
"""Seconds after which nobody waits for an answer any more."""


class Overloaded(Exception):
    """Too many wait; the caller should come back."""


class Turns:
    """A thread of its own for each of `threads` questions at a time, and the others wait in order."""

    def __init__(self, name: str, threads: int = 1, *, most: int = MOST, clock: Callable[[], float] = perf_counter):
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most, self._clock = most, clock
        self._last_short, self._refused = clock(), -math.inf
        self.overloaded = False
        self.waiting = 0
        """Questions accepted and not yet answered."""

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `call` returns or raises, in its turn; Overloaded if too many wait, or this one waited too long."""
        if self.full(self.waiting):
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
            if not self.waiting and self._calm():
                self.overloaded = False

    def full(self, waiting: int) -> bool:
        """Whether nobody more is accepted while so many wait; whoever asks turns a caller away if it is."""
        if waiting < (min(FEW, self._most) if self.overloaded else self._most):
            return False
        self.overloaded, self._refused = True, self._clock()
        return True

    def _calm(self) -> bool:
        return self._clock() - self._refused > CALM

    def _waited(self, seconds: float) -> None:
        """Learn from one wait."""
        now = self._clock()
        if seconds < LONG:
            self._last_short = now
        if seconds < SHORT:
            self.overloaded = self.overloaded and not self._calm()
        elif now - self._last_short > WINDOW:
            self.overloaded = True
        if seconds > LONGEST:
            raise Overloaded
