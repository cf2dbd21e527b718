"""Questions that a cluster's workers are asked in tests: one that kills the worker which first answers a bucket."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl

from recsys.bundle import Bundle
from recsys.lake.store import Lake
from serving.batch import Question


def killing(
    bundle: Bundle, lake: Lake, as_of: date | None, *, ask: Callable[..., Question], victim: str, marker: Path
) -> Question:
    """The question `ask`; whoever first meets the customer `victim` is killed with signal 9 half-way through."""
    question = ask(bundle, lake, as_of)

    def answer(tables: dict[str, pl.DataFrame], day: date | None) -> tuple[pl.DataFrame, int]:
        found = question.answer(tables, day)
        if victim in tables["customers"]["customer_id"] and not marker.exists():
            marker.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    return replace(question, of_some=answer)
