"""Who moved between two assignments of the same customers, and why: which change brought each one nearer."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from recsys.errors import DataError
from recsys.features.definition import FeatureDefinition
from recsys.segment_cards.suppression import FEWEST

Distance = Callable[[pl.DataFrame], np.ndarray]
"""Feature rows [N] → float [N, K], the distance of each to every prototype."""

MOST = 3
"""Most reasons that are told of a move."""
LEAST = 0.1
"""The share of the way that a change must account for to be a reason."""
BY_CUSTOMER, BY_SEGMENTS, BY_BOTH = "customer", "segments", "both"
"""What moved: the customer, the borders of the segments, or both."""

REASONS: dict[str, pl.DataType] = {
    "customer_id": pl.String(),
    "reasons": pl.List(pl.String),
    "shares": pl.List(pl.Float64),
    "changes": pl.List(pl.String),
}
"""The columns of `reasons`."""


def measures(definition: FeatureDefinition) -> dict[str, tuple[str, ...]]:
    """What can change, and the feature columns that change with it: the windows of a measure are one, so is a list."""
    found: dict[str, list[str]] = {}
    for name in (*definition.categories, *definition.tags, *definition.numbers):
        found.setdefault(re.sub(r"\.\d+d$", "", name), []).append(name)
    if definition.holdings:
        found["holdings"] = ["holdings", *found.pop("holdings.count", [])]
    if definition.history_length:
        found["history"] = ["history", "history_kind", "history_age"]
    return {name: tuple(columns) for name, columns in found.items()}


def cause(before: pl.Expr, between: pl.Expr, after: pl.Expr) -> pl.Expr:
    """What moved someone: ids by the old segments then, by the old segments now, by the new segments now.

    Null for whoever did not move. Where the rows are the same (a refit), the old segments say the same twice, and it
    is never the customer.
    """
    stayed, agreed = before == between, between == after
    moved = pl.when(stayed).then(pl.lit(BY_SEGMENTS)).when(agreed).then(pl.lit(BY_CUSTOMER)).otherwise(pl.lit(BY_BOTH))
    return pl.when(before != after).then(moved).alias("cause")


def reasons(
    before: pl.DataFrame,
    now: pl.DataFrame,
    left: np.ndarray,
    entered: np.ndarray,
    distance: Distance,
    changing: Mapping[str, Sequence[str]],
) -> pl.DataFrame:
    """Why each customer is nearer to the segment entered than to the one left: columns `REASONS`, in the rows' order.

    before, now: feature rows [N] of the same movers in one order; left, entered: int64 [N] places of their segments
    among the K of `distance`; changing: see `measures`. The margin of a row is its distance to the prototype left less
    that to the one entered. A change counts for what the margin of now loses when its old value is put back (an
    ablation, one change at a time), as a share of the whole way from the old margin to the new; changes that work
    together may each account for all of it. Largest first, ties by name; changes below `LEAST` are left out.
    Raises DataError if the rows are not of the same customers.
    """
    if not before["customer_id"].equals(now["customer_id"]):
        raise DataError("moves: the rows of before and now must be of the same customers in the same order")
    if not now.height:
        return pl.DataFrame(schema=REASONS)
    margin = _margin(distance(now), left, entered)
    way = margin - _margin(distance(before), left, entered)
    changed = {name: _changed(before, now, columns) for name, columns in changing.items()}
    names = sorted(name for name, rows in changed.items() if rows.any())
    share = np.zeros((now.height, len(names)))
    for i, name in enumerate(names):
        rows = np.flatnonzero(changed[name])
        part = now[rows].with_columns(before[rows][column] for column in changing[name])
        fall = margin[rows] - _margin(distance(part), left[rows], entered[rows])
        share[rows, i] = fall / np.where(way[rows] > 0, way[rows], np.inf)
    return _told(before, now, names, share, changing)


def migration(moves: pl.DataFrame) -> pl.DataFrame:
    """The movers of `before`, `after`, `cause`, `reasons`: customers by pair of segments, with the commonest reasons.

    Columns `before`, `after`, `customers`, `by_segments` (how many of them moved only because the segments did) and
    `reasons` (List(String), at most `MOST`, those that most movers have as their first), the largest flow first.
    Flows of fewer than `FEWEST` customers are left out.
    """
    flows = (
        moves.group_by("before", "after")
        .agg(pl.len().alias("customers"), (pl.col("cause") == BY_SEGMENTS).sum().alias("by_segments"))
        .filter(pl.col("customers") >= FEWEST)
        .sort("customers", "before", "after", descending=[True, False, False])
    )
    first = moves.with_columns(pl.col("reasons").list.first().alias("reason")).drop_nulls("reason")
    common = (
        first.group_by("before", "after", "reason")
        .len()
        .sort("len", "reason", descending=[True, False])
        .group_by("before", "after", maintain_order=True)
        .agg(pl.col("reason").head(MOST).alias("reasons"))
    )
    joined = flows.join(common, on=["before", "after"], how="left", maintain_order="left")
    return joined.with_columns(pl.col("reasons").fill_null(pl.lit([], dtype=pl.List(pl.String))))


def _margin(distances: np.ndarray, left: np.ndarray, entered: np.ndarray) -> np.ndarray:
    """float64 [N]: how much nearer each row is to the prototype entered than to the one left."""
    rows = np.arange(len(distances))
    return distances[rows, left].astype(np.float64) - distances[rows, entered].astype(np.float64)


def _changed(before: pl.DataFrame, now: pl.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """bool [N] whether any of the columns differs; unknown is a value like any other."""
    differs = [(before[column].ne_missing(now[column])).to_numpy() for column in columns]
    return np.asarray(np.any(differs, axis=0), dtype=bool)


def _told(
    before: pl.DataFrame, now: pl.DataFrame, names: list[str], share: np.ndarray, changing: Mapping[str, Sequence[str]]
) -> pl.DataFrame:
    # Rounded before they are ordered, so that the last bits of a distance decide nothing.
    rounded = np.round(share, 6)
    order = np.argsort(-rounded, axis=1, kind="stable")[:, :MOST]
    found: list[dict[str, Any]] = []
    for row in range(now.height):
        chosen = [int(i) for i in order[row] if rounded[row, i] >= LEAST]
        found.append(
            {
                "customer_id": now["customer_id"][row],
                "reasons": [names[i] for i in chosen],
                "shares": [float(rounded[row, i]) for i in chosen],
                "changes": [_change(before, now, row, changing[names[i]]) for i in chosen],
            }
        )
    return pl.DataFrame(found, schema=REASONS)


def _change(before: pl.DataFrame, now: pl.DataFrame, row: int, columns: Sequence[str]) -> str:
    """The first column that differs, then and now: `transactions.count.7d: 2 → 9`."""
    for column in columns:
        old, new = before[column][row], now[column][row]
        if not pl.Series([old], dtype=before[column].dtype).equals(pl.Series([new], dtype=now[column].dtype)):
            return f"{column}: {_value(old)} → {_value(new)}"
    return ""


def _value(value: Any) -> str:
    if value is None:
        return "not known"
    if isinstance(value, pl.Series):
        shown = ", ".join(map(str, value.tail(MOST))) or "none"
        return f"{shown} and {len(value) - MOST:,} more" if len(value) > MOST else shown
    return f"{value:,.6g}" if isinstance(value, float) else str(value)
