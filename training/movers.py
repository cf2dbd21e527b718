"""Who moved from one segment to another, between two days or two bundles, over a whole lake."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from recsys.bundle.segmentation import Segmentation
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.parts import BucketReader
from recsys.progress import Progress
from recsys.segment_moves import BY_BOTH, BY_CUSTOMER, BY_SEGMENTS, REASONS, cause, measures, migration, reasons
from training.segment_gather import known_before

COPIES = 4.0
"""Two days' features and vectors, and the rows with one value put back, in sizes of a part's tables."""

MOVES: dict[str, Any] = {
    "customer_id": pl.String,
    "before": pl.String,
    "before_name": pl.String,
    "after": pl.String,
    "after_name": pl.String,
    "cause": pl.String,
    "reasons": pl.List(pl.String),
    "shares": pl.List(pl.Float64),
    "changes": pl.List(pl.String),
}
"""The columns of a mover."""


@dataclass(frozen=True)
class View:
    """A bundle's segments, and the day from which customers are seen."""

    segmentation: Segmentation
    as_of: date | None


@dataclass(frozen=True)
class Moves:
    """Everybody who moved; memory grows with them, not with the bank."""

    customers: int
    """Everybody of whom something was known on the earlier day."""
    fresh: int
    """The others: nobody can have moved of whom nothing was known."""
    movers: pl.DataFrame
    """Columns `MOVES`, by customer id."""

    def as_json(self) -> dict[str, Any]:
        """Aggregates: how many moved, by what, and the flows of ten customers and more with their reasons."""
        by = dict(self.movers["cause"].value_counts().iter_rows())
        return {
            "customers": self.customers,
            "fresh": self.fresh,
            "moved": self.movers.height,
            **{f"by_{what}": by.get(what, 0) for what in (BY_CUSTOMER, BY_SEGMENTS, BY_BOTH)},
            "flows": migration(self.movers).to_dicts(),
        }


def moves(reader: BucketReader, before: View, after: View, progress: Progress) -> Moves:
    """Compare where each customer of a lake was and is; a part of a bucket is in memory at a time.

    What a customer did is told with the segments of `before`: who moved only because the segments did has no reasons.
    """
    found, customers, fresh = [pl.DataFrame(schema=MOVES)], 0, 0
    for bucket in range(reader.lake.buckets):
        for part in reader.parts(bucket, COPIES):
            everybody = part["customers"]["customer_id"].unique().sort()
            ids = everybody
            if before.as_of is not None:
                ids = everybody.filter(everybody.is_in(known_before(part, before.as_of).implode()))
            customers, fresh = customers + len(ids), fresh + len(everybody) - len(ids)
            if len(ids):
                found.append(_movers(part, ids, before, after))
        progress(bucket + 1, reader.lake.buckets, "buckets")
    return Moves(customers, fresh, pl.concat(found).sort("customer_id"))


def _movers(tables: Mapping[str, pl.DataFrame], ids: pl.Series, before: View, after: View) -> pl.DataFrame:
    """The movers among the customers of a part."""
    old, new = before.segmentation, after.segmentation
    then = features(tables, scoring_examples(ids, before.as_of), old.definition)
    now = then
    if after.as_of != before.as_of:
        now = features(tables, scoring_examples(ids, after.as_of), old.definition)
    seen = now
    if new.definition != old.definition:
        seen = features(tables, scoring_examples(ids, after.as_of), new.definition)
    left = _index(old, then)
    entered = left if now is then else _index(old, now)
    last = entered if new is old else _index(new, seen)
    places = {"before": (old, left), "between": (old, entered), "after": (new, last)}
    joined = pl.DataFrame({"customer_id": ids}).with_columns(
        column for name, (segments, index) in places.items() for column in _named(segments, index, name)
    )
    joined = joined.with_columns(cause(pl.col("before"), pl.col("between"), pl.col("after")))
    own = np.flatnonzero(joined["cause"].is_in([BY_CUSTOMER, BY_BOTH]).fill_null(False).to_numpy())
    told = reasons(
        then[own],
        now[own],
        left[own],
        entered[own],
        lambda rows: old.assign(old.places(old.embed(rows)))[1],
        measures(old.definition),
    )
    movers = joined.filter(pl.col("cause").is_not_null())
    movers = movers.join(told, on="customer_id", how="left", maintain_order="left")
    empty = {name: pl.lit([], dtype=dtype) for name, dtype in REASONS.items() if name != "customer_id"}
    movers = movers.with_columns(pl.col(name).fill_null(nothing) for name, nothing in empty.items())
    return movers.select(pl.col(name).cast(dtype) for name, dtype in MOVES.items())


def _index(segmentation: Segmentation, rows: pl.DataFrame) -> np.ndarray:
    return segmentation.assign(segmentation.places(segmentation.embed(rows)))[0]


def _named(segmentation: Segmentation, index: np.ndarray, column: str) -> tuple[pl.Series, pl.Series]:
    """Ids and names of the segments at these places."""
    place = pl.Series(index)
    ids, names = pl.Series(segmentation.ids, dtype=pl.String), pl.Series(segmentation.names, dtype=pl.String)
    return ids.gather(place).alias(column), names.gather(place).alias(f"{column}_name")
