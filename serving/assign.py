"""Batch assignment: the segment of every customer of a lake, bucket by bucket."""

from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import polars as pl

from recsys.bundle import Bundle
from recsys.bundle.segmentation import Segmentation, segmentation_of
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.store import Lake
from serving.batch import Finished, How, Question, run_batch

COLUMNS: dict[str, Any] = {
    "customer_id": pl.String,
    "segment_id": pl.String,
    "segment": pl.String,
    "distance": pl.Float32,
    "unusual": pl.Boolean,
    "unusual_features": pl.List(pl.String),
    "bundle_id": pl.String,
}


def assign(
    bundle_path: Path | str,
    lake_path: Path | str,
    out: Path | str,
    *,
    threads: int = 2,
    **how: Unpack[How],
) -> Finished:
    """`run_batch` of segments: raises what it raises, and BundleError for a bundle without segments."""
    return run_batch(Bundle.load(bundle_path), partial(assigning_all, threads=threads), lake_path, Path(out), **how)


def assigning_all(bundle: Bundle, lake: Lake, as_of: date | None, *, threads: int) -> Question:
    """`assigning` from a bundle."""
    return assigning(segmentation_of(bundle, threads))


def assigning(segmentation: Segmentation) -> Question:
    """The segment of every customer, how far they are from its prototype, and what is unusual about them."""

    def answer(tables: dict[str, pl.DataFrame], as_of: date | None) -> tuple[pl.DataFrame, int]:
        customers = tables["customers"]["customer_id"].unique().sort()
        rows = features(tables, scoring_examples(customers, as_of), segmentation.definition)
        return segmentation.assigned(rows), len(customers)

    return Question({"answers": "segments"}, COLUMNS, ("customer_id",), answer)
