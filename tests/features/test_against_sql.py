"""The feature rows of a whole synthetic bank, against the same aggregates written by hand in SQL."""

from pathlib import Path

import polars as pl
from polars.testing import assert_frame_equal

from benchmarks.feature_sql import connect, query
from recsys.features.definition import FeatureConfig, define
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.store import Lake
from tests.conftest import SmallBank


def test_every_feature_equals_the_same_aggregate_in_sql(small_bank: SmallBank, tmp_path: Path) -> None:
    lake = Lake.open(small_bank.lake)
    definition = define(lake, FeatureConfig(history_length=32))
    assert lake.as_of is not None
    rows = []
    for bucket in range(lake.buckets):
        tables = lake.bucket(bucket)
        examples = scoring_examples(tables["customers"]["customer_id"].sort(), lake.as_of)
        rows.append(features(tables, examples, definition))
    ours = pl.concat(rows).sort("customer_id")
    out = tmp_path / "rows.parquet"
    connect(lake, 1).execute(f"COPY ({query(definition, lake.as_of)}) TO '{out}'")
    theirs = pl.read_parquet(out).sort("customer_id")
    assert set(theirs.columns) == set(ours.columns) and len(ours.columns) > 150
    assert_frame_equal(ours, theirs.select(ours.columns), rel_tol=1e-12)
    for column in ("balances.latest", "balances.trend", "transactions.in.30d", "contacts.recency", "accounts.oldest"):
        assert ours[column].n_unique() > 20, f"{column} tells customers apart"
