"""Reads the units of an outcome from a lake, each with its features as they were before it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.bundle.segmentation import Segmentation
from recsys.drivers.columns import Columns, make_columns
from recsys.drivers.outcome import CAMPAIGN, CONTEXT, HIDDEN, Outcome, units
from recsys.errors import DataError
from recsys.features.definition import FeatureConfig, FeatureDefinition, define
from recsys.features.everyone import COPIES
from recsys.features.features import features
from recsys.lake.parts import BucketReader, in_sample
from recsys.lake.store import Lake
from recsys.progress import Progress
from recsys.segment_cards.labels import Labels
from training.leaks import find_leaks

GROUP, PROTECTED = "group.", "protected."
SEGMENT = "segment"
GATHERED = 200_000
"""Units that are kept in memory at most; of more, a sample of customers."""
FEWEST_UNITS = 200
FEWEST_OUTCOMES = 20
"""Units with the outcome, and without it."""


@dataclass(frozen=True)
class Units:
    """Everything that is asked about the units: N rows, in the order of customer and time within a bucket."""

    rows: pl.DataFrame
    """Outcome, features, how they were contacted, and the groups to report by."""
    outcome: np.ndarray
    """float64 [N], 0 or 1."""
    customer: np.ndarray
    """int64 [N], the same number for the rows of one customer, from 0 without gaps."""
    columns: Columns
    share: float
    """Of the lake's customers who were looked at."""

    def sample(self, most: int) -> np.ndarray:
        """int64, rows of as many customers as give about `most` rows, the same for the same customers."""
        if self.rows.height <= most:
            return np.arange(self.rows.height)
        return np.flatnonzero(in_sample(self.rows["customer_id"], self.share * most / self.rows.height))


def gather(
    lake: Lake,
    outcome: Outcome,
    where: tuple[str, str] | None,
    config: FeatureConfig,
    memory: int,
    progress: Progress,
    segmentation: Segmentation | None = None,
    drawn: str | None = None,
) -> Units:
    """Read every bucket once. Raises DataError for too few units, one kind of outcome only, or a column that tells it.

    `drawn` is a group that says what was done to the customer before the outcome, and becomes a column of contacts. A
    customer's segment is the one that the bundle saw them in from the unit's own day.
    """
    definition = define(lake, config, outcome.as_of)
    share = min(1.0, GATHERED / max(1, lake.tables[_table_of(outcome)].rows))
    reader = BucketReader(lake, memory, share)
    found = []
    for bucket in range(lake.buckets):
        for tables in reader.parts(bucket, COPIES):
            rows = units(tables, outcome, where)
            if rows.height:
                found.append(_with_features(rows, tables, definition, lake, segmentation))
        progress(bucket + 1, lake.buckets, "reading")
    if not found:
        raise DataError(f"{outcome.text}: the lake has no unit of which it is known")
    rows = pl.concat(found, how="diagonal")
    _check(rows, outcome)
    _refuse_leaks(rows, definition, outcome)
    if drawn:
        rows = rows.with_columns(pl.col(f"{GROUP}{drawn}").alias(f"{CONTEXT}{drawn}"))
    customer = rows["customer_id"].rank("dense").cast(pl.Int64).to_numpy() - 1
    columns = make_columns(rows, definition, Labels.of_lake(definition, lake))
    if not columns.names:
        raise DataError(f"{outcome.text}: the lake has no column that could explain it")
    return Units(rows, rows["outcome"].to_numpy(), customer, columns, share)


def _table_of(outcome: Outcome) -> str:
    return "contacts" if outcome.kind == "contact" else "customers"


def _with_features(
    rows: pl.DataFrame,
    tables: Mapping[str, pl.DataFrame],
    definition: FeatureDefinition,
    lake: Lake,
    segmentation: Segmentation | None,
) -> pl.DataFrame:
    examples = rows.select(
        "customer_id",
        "as_of",
        pl.lit(None, dtype=pl.Int64).alias("position"),
        pl.lit([], dtype=pl.List(pl.String)).alias("hidden"),
    )
    seen = features(tables, examples, definition)
    kept = ["customer_id", "as_of", "outcome", *(name for name in HIDDEN if name in rows.columns)]
    kept += [name for name in rows.columns if name.startswith((CONTEXT, CAMPAIGN))]
    made = rows.select(kept).hstack(seen.drop("customer_id", "history", "history_kind", "history_age"))
    made = made.hstack(_groups(rows, tables["customers"], lake))
    if segmentation is not None:
        placed = segmentation.assigned(features(tables, examples, segmentation.definition))
        named = pl.select(pl.format("{} {}", placed["segment_id"], placed["segment"])).to_series()
        made = made.with_columns(named.alias(SEGMENT))
    return made


def _groups(rows: pl.DataFrame, customers: pl.DataFrame, lake: Lake) -> pl.DataFrame:
    """Groups and protected attributes as words; they are reported on and are never an input."""
    asked = {
        a.name: f"{PROTECTED if a.role == 'protected' else GROUP}{a.name}"
        for a in lake.attributes("customers")
        if a.role in ("group", "protected") and a.kind in ("category", "flag")
    }
    if "valid_from" in customers.columns:
        customers = customers.sort("customer_id", "valid_from", nulls_last=False)
    known = customers.unique("customer_id", keep="last", maintain_order=True)
    known = known.select("customer_id", *(pl.col(n).cast(pl.String).alias(as_) for n, as_ in asked.items()))
    return (
        rows.select("customer_id").join(known, on="customer_id", how="left", maintain_order="left").drop("customer_id")
    )


def _check(rows: pl.DataFrame, outcome: Outcome) -> None:
    yes = int(rows["outcome"].sum())
    no = rows.height - yes
    if rows.height < FEWEST_UNITS:
        raise DataError(f"{outcome.text}: known of {rows.height:,} rows; at least {FEWEST_UNITS} are needed")
    if min(yes, no) < FEWEST_OUTCOMES:
        raise DataError(
            f"{outcome.text}: {yes:,} yes and {no:,} no; at least {FEWEST_OUTCOMES} of each are needed to tell what "
            "drives it"
        )


def _refuse_leaks(rows: pl.DataFrame, definition: FeatureDefinition, outcome: Outcome) -> None:
    """An attribute that alone tells the outcome is most likely known only after it."""
    nothing = pl.lit([], dtype=pl.List(pl.String))
    targets = pl.when(pl.col("outcome") == 1).then(pl.lit([outcome.name])).otherwise(nothing).alias("targets")
    leaks = find_leaks(rows.with_columns(targets, holdings=nothing), definition.profile)
    if leaks:
        told = "; ".join(f"customers.{leak.attribute} (AUC {leak.auc:.3f})" for leak in leaks)
        raise DataError(
            f"{outcome.text}: {told} tells it alone and is most likely known only afterwards; leave it out with "
            "--exclude NAME, or give it another role in the catalog"
        )
