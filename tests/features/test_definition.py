"""What the features of a lake are."""

from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from recsys.errors import DataError
from recsys.features.definition import FeatureConfig, define
from recsys.features.examples import scoring_examples
from recsys.features.features import features
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


def test_interactions_may_name_no_product_at_all(tmp_path: Path) -> None:
    at = [datetime(2024, 1, day, 9) for day in (2, 3, 9)]
    with LakeWriter(tmp_path / "lake", buckets=2) as writer:
        writer.append("customers", pl.DataFrame({"customer_id": ["a", "b"]}))
        logins = {"customer_id": ["a", "a", "b"], "kind": ["login", "enquired", "login"], "at": at}
        writer.append("interactions", pl.DataFrame(logins, schema_overrides={"at": pl.Datetime("us")}))
    lake = Lake.open(tmp_path / "lake")
    found = define(lake, FeatureConfig())
    assert found.interaction_kinds == ("enquired", "login") and not found.history_kinds
    tables = pl.DataFrame({"customer_id": ["a", "b"]}), lake.read("interactions")
    examples = scoring_examples(tables[0]["customer_id"], date(2024, 1, 10))
    rows = features(dict(zip(("customers", "interactions"), tables, strict=True)), examples, found)
    assert rows["interactions.login.count.30d"].to_list() == [1, 1]
    assert rows["interactions.enquired.count.7d"].to_list() == [1, 0]
