"""What the features of a lake are."""

from pathlib import Path

import polars as pl
import pytest

from recsys.errors import DataError
from recsys.features.definition import FeatureConfig, define
from recsys.lake.contract import Attribute
from recsys.lake.store import Lake, LakeWriter


@pytest.mark.parametrize("name", ["holdings", "history"])
def test_an_attribute_may_not_have_the_name_of_another_column_of_a_feature_row(tmp_path: Path, name: str) -> None:
    attributes = {"customers": (Attribute(name, "feature", "number"), Attribute("age", "feature", "number"))}
    with LakeWriter(tmp_path / "lake", buckets=2, attributes=attributes) as writer:
        writer.append("customers", pl.DataFrame({"customer_id": ["a", "b"], name: [1.0, 2.0], "age": [30.0, 40.0]}))
    lake = Lake.open(tmp_path / "lake")
    with pytest.raises(DataError, match=f"customers.{name}: .* another name in the catalog"):
        define(lake, FeatureConfig())
    assert [column.name for column in define(lake, FeatureConfig(exclude=(name,))).profile] == ["age"]
