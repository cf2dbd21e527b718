"""What is in force: the answers that a worker gives now, replaced in one step, and the last questions it was asked."""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from serving.answers import Answers

KEPT = 64
"""Questions kept; they are asked again when a new bundle is tried, and never leave the worker's memory."""
KEPT_BYTES = 64 * 1024
"""A longer question is not kept."""


class Asked(NamedTuple):
    """A question as it came in."""

    path: str
    body: bytes


class Current:
    """The answers in force in one worker.

    A request reads `answers` once, at its start, and uses what it got to its end, so that no response mixes two
    bundles. Replaced answers are freed when the last request that holds them has ended.
    """

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._asked: deque[Asked] = deque(maxlen=KEPT)

    @property
    def answers(self) -> Answers:
        """The answers in force at this moment."""
        return self._answers

    def replace(self, answers: Answers) -> None:
        """Put other answers, loaded and warmed, into force; from any thread, in one step."""
        self._answers = answers

    def note(self, path: str, body: bytes) -> None:
        """Keep a question that changes nothing and was answered, in place of the oldest kept."""
        if len(body) <= KEPT_BYTES:
            self._asked.append(Asked(path, body))

    def forget(self, about: Callable[[Asked], bool]) -> None:
        """Keep no longer the questions that are about somebody."""
        self._asked = deque((asked for asked in list(self._asked) if not about(asked)), maxlen=KEPT)

    @property
    def asked(self) -> list[Asked]:
        """The questions kept, oldest first."""
        return list(self._asked)
