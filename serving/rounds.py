"""The rounds of a worker's event loop: short ones, and how long those who are read in one may have waited for it.

In each round asyncio reads every connection that has something to read. Behind hundreds of callers who are told to
come back, those who were let in would wait for their answers, and nobody would know how long the last of them had
waited before they were read. So a round reads a few, and the loop knows since when it has been behind. Of new callers
it takes fewer yet: each costs several refusals, and who is not answered comes anew, so that after a stall of seconds
under overload a worker would do nothing any more but open connections.
"""

import asyncio
import selectors
from collections.abc import Callable
from time import perf_counter
from typing import Any

MOST = 32
"""Connections that are read in one round."""
NEW = 4
"""Connections that are taken in one round; the others wait where the kernel keeps them."""

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

    def _accept_connection(
        self,
        protocol_factory: Any,
        sock: Any,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = NEW,
        *more: Any,
    ) -> None:
        """As asyncio does, which takes as many at once as the kernel keeps: there is no public way to take fewer."""
        accept: Any = super()._accept_connection  # type: ignore[misc]
        accept(protocol_factory, sock, sslcontext, server, min(backlog, NEW), *more)


def loop_factory(use_subprocess: bool = False) -> type[Loop]:
    """As uvicorn asks for it."""
    return Loop
