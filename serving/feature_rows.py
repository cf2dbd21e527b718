"""Batch feature rows: what the models of a bundle read of every customer of a lake, bucket by bucket."""

from datetime import date
from pathlib import Path
from typing import Any, Unpack

import polars as pl

from recsys.bundle import Bundle
from recsys.errors import DataError
from recsys.features.definition import FeatureDefinition
from recsys.features.examples import scoring_examples
from recsys.features.features import features, row_schema
from recsys.lake.store import Lake
from serving.batch import Finished, How, Question, run_batch


def write_feature_rows(
    bundle_path: Path | str,
    lake_path: Path | str,
    out: Path | str,
    **how: Unpack[How],
) -> Finished:
    """`run_batch` of feature rows: raises what it raises, and DataError for an attribute called bundle_id."""
    return run_batch(Bundle.load(bundle_path), reading_all, lake_path, Path(out), **how)


def reading_all(bundle: Bundle, lake: Lake, as_of: date | None) -> Question:
    """The row that `features` gives each customer, as it goes into the bundle's encoder."""
    definition = bundle.definition
    columns = columns_of(definition)

    def answer(tables: dict[str, pl.DataFrame], as_of: date | None) -> tuple[pl.DataFrame, int]:
        customers = tables["customers"]["customer_id"].unique().sort()
        return features(tables, scoring_examples(customers, as_of), definition), len(customers)

    return Question({"answers": "features"}, columns, ("customer_id",), answer)


def columns_of(definition: FeatureDefinition) -> dict[str, Any]:
    """Name and type of every column of a file; DataError where an attribute has the name of the bundle's column."""
    columns = row_schema(definition)
    if "bundle_id" in columns:
        raise DataError(
            "customers.bundle_id: files of feature rows have a column of that name of their own; give the attribute "
            "another name in the catalog file, or name it in features.exclude"
        )
    return {**columns, "bundle_id": pl.String()}
