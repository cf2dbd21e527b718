"""Feature rows of every customer of a lake as seen from one day, a part of a bucket at a time."""

from collections.abc import Iterator
from datetime import date

import polars as pl

from recsys.features.definition import FeatureDefinition
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.parts import BucketReader
from recsys.progress import Progress

COPIES = 2.0
"""What the features and vectors of a part take at most, in sizes of its tables (measured: docs/scale.md)."""


def everyone(
    reader: BucketReader, definition: FeatureDefinition, as_of: date | None, progress: Progress, what: str
) -> Iterator[pl.DataFrame]:
    """A row for each customer of the table `customers`, nothing hidden; parts without anybody are passed over.

    `what` is said with the progress, which counts buckets.
    """
    buckets = reader.lake.buckets
    for bucket in range(buckets):
        for tables in reader.parts(bucket, COPIES):
            ids = tables["customers"]["customer_id"].unique().sort()
            if len(ids):
                yield features(tables, scoring_examples(ids, as_of), definition)
        progress(bucket + 1, buckets, what)
