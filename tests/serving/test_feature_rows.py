"""Feature rows in batch are those that the models read, whatever the parts of a bucket."""

from pathlib import Path

import polars as pl
import pytest

from recsys.bundle import Bundle
from recsys.errors import DataError
from recsys.features.definition import Column
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.parts import PROGRAM, table_bytes
from recsys.lake.store import Lake
from serving.buckets import COPIES
from serving.feature_rows import columns_of, write_feature_rows
from tests.conftest import SmallBank, called


def rows(out: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted(out.glob("bucket=*.parquet"))])


def test_everybody_has_the_row_that_the_models_read(whole_bank: SmallBank, tmp_path: Path) -> None:
    out = tmp_path / "rows"
    assert called("features", str(whole_bank.bundle), str(whole_bank.lake), str(out))[-1] == str(out)
    found, lake, bundle = rows(out), Lake.open(whole_bank.lake), Bundle.load(whole_bank.bundle)
    assert sorted(found["customer_id"]) == sorted(lake.read("customers")["customer_id"].unique())
    assert found["bundle_id"].unique().to_list() == [bundle.bundle_id]
    for customer in ("C0007", "C0099", "C0400"):
        alone = features(lake.customers([customer]), scoring_examples([customer], lake.as_of), bundle.definition)
        assert found.filter(customer_id=customer).drop("bundle_id").equals(alone)
        assert found.drop("bundle_id").schema == alone.schema


def test_the_rows_do_not_depend_on_the_memory(whole_bank: SmallBank, tmp_path: Path) -> None:
    lake = Lake.open(whole_bank.lake)
    write_feature_rows(whole_bank.bundle, whole_bank.lake, tmp_path / "whole")
    small = PROGRAM + int(COPIES * max(table_bytes(lake, bucket) for bucket in range(lake.buckets)) / 3)
    write_feature_rows(whole_bank.bundle, whole_bank.lake, tmp_path / "parts", memory=small)
    for file in sorted((tmp_path / "whole").iterdir()):
        assert (tmp_path / "parts" / file.name).read_bytes() == file.read_bytes()


def test_an_attribute_with_the_name_of_the_bundles_column_is_refused(whole_bank: SmallBank) -> None:
    definition = Bundle.load(whole_bank.bundle).definition
    taken = (*definition.profile, Column(name="bundle_id", kind="category"))
    with pytest.raises(DataError, match=r"customers\.bundle_id.*another name in the catalog file"):
        columns_of(definition.model_copy(update={"profile": taken}))
