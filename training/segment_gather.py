"""A lake walked once, bucket by bucket, for the cards of its segments: sums over customers, and a sample for maps."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Protocol

import numpy as np
import polars as pl

from recsys.bundle import Recommender
from recsys.features.definition import FeatureDefinition
from recsys.features.encoder import Encoder
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.parts import MEMORY, BucketReader, in_sample, sample_share
from recsys.lake.store import Lake
from recsys.progress import Progress
from recsys.segment_cards.cards import CardSums

COPIES = 3.0
"""What the tables, two snapshots of features and the joins of a bucket take at most, in sizes of its tables."""
SAMPLED = 20_000
"""Customers whose places are kept for the maps and silhouettes."""
RANKED = 5
"""Recommended products that are counted for each customer."""


class Assigner(Protocol):
    """What is read of the part `segments` of a bundle."""

    definition: FeatureDefinition
    encoder: Encoder

    @property
    def segments(self) -> tuple[Any, ...]: ...

    def embed(self, rows: pl.DataFrame) -> Any: ...

    def places(self, embedded: Any) -> np.ndarray: ...

    def assign(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass(frozen=True)
class Gathered:
    """What a report is made of."""

    sums: CardSums
    places: np.ndarray
    """float32 [n, D] of a sample of customers: what is compared with the prototypes."""
    index: np.ndarray
    """int64 [n] their segments."""
    as_of: date | None
    before: date | None
    """The day of the earlier snapshot, None where there is none."""


def gather(
    assigner: Assigner,
    recommender: Recommender | None,
    lake: Lake,
    as_of: date | None,
    days: int,
    progress: Progress,
    memory: int = MEMORY,
) -> Gathered:
    """Walk every customer as seen on `as_of` and, where the lake is dated, `days` before.

    One bucket is in memory at a time, or a part of one where it would not fit into `memory` bytes.
    """
    before = as_of - timedelta(days=days) if as_of and assigner.definition.dated else None
    products = recommender.products if recommender else ()
    attributes, k = lake.attributes("customers"), len(assigner.segments)
    ranked = min(RANKED, len(products))
    sums = CardSums(k, assigner.definition, assigner.encoder, attributes, tuple(products), ranked)
    share, reader = sample_share(lake, SAMPLED), BucketReader(lake, memory)
    places, indices = [], []
    for bucket in range(lake.buckets):
        progress(bucket, lake.buckets, "segments")
        for tables in reader.parts(bucket, COPIES):
            ids = tables["customers"]["customer_id"].unique().sort()
            if ids.is_empty():
                continue
            rows = features(tables, scoring_examples(ids, as_of), assigner.definition)
            where = assigner.places(assigner.embed(rows))
            index, _ = assigner.assign(where)
            earlier = _earlier(assigner, tables, ids, before) if before else None
            best = None
            if recommender:
                best = recommender.ranked(rows, recommender.vectors_from_rows(rows), ranked)
            sums.update(tables, rows, index, as_of, best, earlier)
            chosen = in_sample(ids, share)
            places.append(where[chosen])
            indices.append(index[chosen])
    progress(lake.buckets, lake.buckets, "segments")
    nothing = np.zeros((0, places[0].shape[1] if places else 0), dtype=np.float32)
    index = np.concatenate([np.zeros(0, dtype=np.int64), *indices])
    return Gathered(sums, np.concatenate([nothing, *places]), index, as_of, before)


def _earlier(assigner: Assigner, tables: Mapping[str, pl.DataFrame], ids: pl.Series, before: date) -> np.ndarray:
    """int64 [N]: the segment on the earlier day, -1 for customers of whom nothing had happened by then."""
    rows = features(tables, scoring_examples(ids, before), assigner.definition)
    index, _ = assigner.assign(assigner.places(assigner.embed(rows)))
    known = ids.is_in(known_before(tables, before).implode())
    return np.where(known.to_numpy(), index, -1)


def known_before(tables: Mapping[str, pl.DataFrame], day: date) -> pl.Series:
    """The customers with any dated row before a day: an event, a balance, an account, an attribute in force."""
    moment = pl.lit(day).cast(pl.Datetime("us"))
    dated = {"at": moment, "opened": pl.lit(day), "valid_from": pl.lit(day)}
    found = [pl.Series("customer_id", [], dtype=pl.String)]
    for name in ("customers", "interactions", "contacts", "transactions", "balances", "accounts"):
        table = tables.get(name)
        column = next((c for c in dated if table is not None and c in table.columns), None)
        if table is None or column is None:
            continue
        past = table.filter(pl.col(column) < dated[column])
        if "customer_id" in past.columns:
            found.append(past["customer_id"].drop_nulls().unique())
        if "account_id" in past.columns and "account_holders" in tables:
            held = tables["account_holders"].join(past.select("account_id").unique(), on="account_id", how="semi")
            found.append(held["customer_id"].unique())
    return pl.concat(found).unique()
