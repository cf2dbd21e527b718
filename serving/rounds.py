"""The rounds of a worker's event loop: short ones, and how long those who are read in one may have waited for it.

In each round asyncio reads every connection that has something to read. Behind hundreds of callers who are told to
come back, those who were let in would wait for their answers, and nobody would know how long the last of them had
waited before they were read. So a round reads a few, and the loop knows since when it has been behind.
"""

import asyncio
import selectors
from collections.abc import Callable
from time import perf_counter

MOST = 32
"""Connections that are read in one round."""

Ready = list[tuple[selectors.SelectorKey, int]]


class Rounds(selectors.DefaultSelector):
    """Tells of a few connections at a time; the others are told of in the next round, before those who come then."""

    def __init__(self, most: int = MOST, clock: Callable[[], float] = perf_counter) -> None:
        super().__init__()
        self._most, self._clock = most, clock
        self._all_told = self._since = clock()

    def select(self, timeout: float | None = None) -> Ready:
        """As `selectors` has it."""
        self._since = self._all_told
        found: Ready = super().select(0)
        if not found and (timeout is None or timeout > 0):
            self._since = self._clock()  # nobody was waiting
            found = super().select(timeout)
        if len(found) <= self._most:
            self._all_told = self._clock()
        return found[: self._most]

    def late(self) -> float:
        """Seconds that those who are read now have waited to be read, at most."""
        return self._clock() - self._since


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose rounds are short."""

    def __init__(self) -> None:
        self.rounds = Rounds()
        super().__init__(self.rounds)


def loop_factory(use_subprocess: bool = False) -> type[Loop]:
    """As uvicorn asks for it."""
    return Loop
