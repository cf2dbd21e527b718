"""Questions that a cluster's workers are asked in tests: one that kills the worker which first answers a bucket."""

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from recsys.bundle import Bundle
from recsys.lake.store import Lake
from serving.buckets import Ask, Asked, Engine, Work


@dataclass(frozen=True)
class Killing:
    """The question `asked`; whoever first meets the customer `victim` is killed with signal 9 half-way through."""

    asked: Asked
    victim: str
    marker: Path

    def answer(self, tables: dict[str, pl.DataFrame], day: date | None) -> Any:
        """The answer, of who survives it."""
        found = self.asked.answer(tables, day)
        if self.victim in tables["customers"]["customer_id"] and not self.marker.exists():
            self.marker.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    def write(self, place: Path, parts: list[Any], bundle_id: str) -> None:
        """As the question writes it."""
        self.asked.write(place, parts, bundle_id)


def killing(engine: Engine | None, victim: str, marker: Path) -> Engine:
    """The engine, one of whose workers is killed; the marker then has its process id."""
    assert engine is not None

    def run(work: Work, buckets: Sequence[int], done: Callable[[], None]) -> None:
        engine(replace(work, ask=partial(_killing, ask=work.ask, victim=victim, marker=marker)), buckets, done)

    return run


def _killing(bundle: Bundle, lake: Lake, as_of: date | None, *, ask: Ask, victim: str, marker: Path) -> Killing:
    return Killing(ask(bundle, lake, as_of), victim, marker)
