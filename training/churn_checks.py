"""What makes a churn model look better than it is, or see less than it could: leaks, and amounts kept as text."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from recsys.errors import DataError
from recsys.features.definition import Column, FeatureDefinition
from recsys.lake.buckets import stable_hashes
from recsys.lake.store import Lake
from training.leaks import THRESHOLD, column_auc

MOST_ROWS = 50_000
"""Training rows from which leaks are looked for at most."""
LEAST = 10
"""Rows of each outcome without which nothing is said."""
AMOUNTS = 20
"""Distinct values from which a category that is all numbers is taken for an amount kept as text."""


@dataclass(frozen=True)
class OutcomeLeak:
    """A column of feature rows that tells by itself who leaves."""

    column: str
    auc: float
    left: int
    rows: int

    def __str__(self) -> str:
        return (
            f"customers.{self.column}: alone tells who leaves (AUC {self.auc:.4f} on the training part, "
            f"{self.left:,} of {self.rows:,} left)"
        )


def outcome_leaks(rows: pl.DataFrame, definition: FeatureDefinition) -> list[OutcomeLeak]:
    """Columns of feature rows whose AUC for `outcome` alone is .99 or more, the worst first.

    Ranked as in `training.leaks`: numbers by value in the better direction and by range, categories and tags by the
    rate of the other half of the customers.
    """
    outcome = rows["outcome"].to_numpy().astype(bool)
    if min(outcome.sum(), (~outcome).sum()) < LEAST:
        return []
    fold = (stable_hashes(rows["customer_id"]) >> np.uint64(63)).astype(np.int64)
    profile = {column.name: column for column in definition.profile}
    columns = [*profile.values(), *(Column(name=n, kind="number") for n in definition.numbers if n not in profile)]
    found = [
        OutcomeLeak(column.name, auc, int(outcome.sum()), rows.height)
        for column in columns
        if (auc := column_auc(rows[column.name], column, outcome, fold)) >= THRESHOLD
    ]
    return sorted(found, key=lambda leak: (-leak.auc, leak.column))


def refuse_leaks(paths: Sequence[Path], definition: FeatureDefinition, trusted: Sequence[str]) -> None:
    """DataError with the leak report if a column that is not trusted tells the outcome by itself.

    `paths` are files of feature rows of the training part, with `outcome`. Refuses amounts kept as text, too.
    """
    frames: list[pl.DataFrame] = []
    for path in paths:
        if sum(frame.height for frame in frames) < MOST_ROWS:
            frames.append(pl.read_parquet(path))
    refuse_leaking_rows(pl.concat(frames).head(MOST_ROWS), definition, trusted)


def refuse_leaking_rows(rows: pl.DataFrame, definition: FeatureDefinition, trusted: Sequence[str]) -> None:
    """`refuse_leaks` of rows at hand."""
    refuse_amounts_as_text(rows, definition)
    leaks = [leak for leak in outcome_leaks(rows, definition) if leak.column not in trusted]
    if not leaks:
        return
    names = ", ".join(leak.column for leak in leaks)
    raise DataError(
        "\n".join(str(leak) for leak in leaks)
        + "\nKnown only afterwards? Give it the role outcome in the catalog, or leave it out: "
        f"--set 'features.exclude=[{names}]'. If the bank does know it in advance: --set 'features.trusted=[{names}]'"
    )


def refuse_amounts_as_text(rows: pl.DataFrame, definition: FeatureDefinition) -> None:
    """DataError for a category of many values that are all numbers, with or without a currency: money as text."""
    for name in definition.categories:
        values = rows[name].drop_nulls().unique().sort()
        if len(values) < AMOUNTS:
            continue
        bare = values.str.replace_all(r"[\s,'£$€]|[A-Z]{3}$|^[A-Z]{3}", "")
        if bare.cast(pl.Float64, strict=False).null_count():
            continue
        raise DataError(
            f"customers.{name}: kind category, but all {len(values):,} values are numbers as text (such as "
            f"{values[0]!r}, {values[-1]!r}), so each would be a word of its own; in the catalog CAST it to DOUBLE, "
            "without signs and separators, and give it the kind number"
        )


def known_afterwards(lake: Lake) -> tuple[str, ...]:
    """Attributes of customers with the role outcome: known only afterwards, so no model reads them."""
    return tuple(sorted(a.name for a in lake.attributes("customers") if a.role == "outcome"))
