"""A column that was written by the outcome is refused before training; honest columns are not."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.errors import DataError
from recsys.features.definition import Column, FeatureConfig, Kind, define
from recsys.features.examples import cuts
from recsys.lake.contract import Attribute
from recsys.lake.store import Lake, LakeWriter
from recsys.synthetic.generate import generate
from tests.conftest import SmallBank
from training.config import load_config
from training.leaks import find_leaks, without_history
from training.preflight import preflight

ONE_CUT = ["evaluation.snapshots=1", "churn=null"]


def rows(values: list[object], acquired: np.ndarray) -> pl.DataFrame:
    targets = [["loan"] if y else ["card"] for y in acquired]
    ids = [f"C{i}" for i in range(len(acquired))]
    held = pl.Series("holdings", [["account"]] * len(ids))
    return pl.DataFrame({"customer_id": ids, "x": values, "targets": targets}).with_columns(held)


@pytest.mark.parametrize(
    ("kind", "how"),
    [("number", "known"), ("number", "between"), ("category", "word"), ("tags", "tag"), ("flag", "flag")],
)
def test_a_column_that_the_outcome_wrote_is_found_whatever_its_kind(kind: Kind, how: str) -> None:
    acquired = np.random.default_rng(0).random(400) < 0.3
    written: dict[str, list[object]] = {
        "known": [-3.5 if y else None for y in acquired],
        "between": [50.0 if y else 100.0 * (i % 2) for i, y in enumerate(acquired)],
        "flag": [float(y) for y in acquired],
        "word": ["took it" if y else "no" for y in acquired],
        "tag": [["mail", "loan desk"] if y else ["mail"] for y in acquired],
    }
    found = find_leaks(rows(written[how], acquired), (Column(name="x", kind=kind),))
    assert [leak.attribute for leak in found] == ["x"]
    assert found[0].auc > 0.99 and "customers.x: alone tells who acquires" in str(found[0])


def test_a_value_that_everyone_has_alone_tells_nothing() -> None:
    acquired = np.random.default_rng(0).random(400) < 0.3
    assert not find_leaks(rows([f"id {i}" for i in range(400)], acquired), (Column(name="x", kind="category"),))


def test_a_product_with_few_outcomes_is_not_judged() -> None:
    acquired = np.arange(400) < 10
    assert not find_leaks(rows([float(y) for y in acquired], acquired), (Column(name="x", kind="flag"),))


def test_a_planted_future_column_is_caught_before_training_and_can_be_left_out(tmp_path: Path) -> None:
    generate(tmp_path / "lake", 1000, 1, 1)
    planted = _with_a_column_from_the_future(Lake.open(tmp_path / "lake"), tmp_path / "planted")
    with pytest.raises(DataError, match=r"customers\.took_part: alone tells who acquires travel_insurance") as refused:
        preflight(load_config("demo", ONE_CUT), planted)
    assert "features.exclude=[took_part]" in str(refused.value) and "income" not in str(refused.value)
    for pardon in ("features.exclude=[took_part]", "features.trusted=[took_part]"):
        preflight(load_config("demo", [*ONE_CUT, pardon]), planted)


def test_the_attributes_that_cannot_travel_in_time_are_named(small_bank: SmallBank) -> None:
    lake, config = Lake.open(small_bank.lake), load_config("demo", ONE_CUT)
    said = "\n".join(preflight(config, lake))
    assert "no valid_from" in said and "customers.income" in said and "products.fee" in said
    assert "customers.born," not in said


def test_a_lake_without_dates_has_nothing_to_travel(tmp_path: Path) -> None:
    attribute = Attribute("age", "feature", "number")
    with LakeWriter(tmp_path / "lake", buckets=1, attributes={"customers": [attribute]}) as writer:
        writer.append("customers", pl.DataFrame({"customer_id": ["a"], "age": [40.0]}))
        writer.append("products", pl.DataFrame({"product_id": ["x"]}))
    lake = Lake.open(tmp_path / "lake")
    assert without_history(lake, define(lake, FeatureConfig())) == []


def _with_a_column_from_the_future(lake: Lake, out: Path) -> Lake:
    """The same lake with a customer attribute that was written by an acquisition after the training cut."""
    cut = cuts(load_config("demo", ONE_CUT).evaluation, lake.as_of)["train"][0]
    start = datetime(cut.year, cut.month, cut.day)
    events = lake.read("interactions").filter(pl.col("kind") == "acquired", pl.col("product_id") == "travel_insurance")
    took = events.filter(pl.col("at").is_between(start, start + timedelta(days=92)))["customer_id"].unique()
    attributes = {name: list(lake.attributes(name)) for name in ("customers", "products", "campaigns")}
    attributes["customers"].append(Attribute("took_part", "feature", "flag"))
    with LakeWriter(out, buckets=lake.buckets, currency=lake.currency, until=lake.until, attributes=attributes) as new:
        for name in sorted(lake.tables, key=lambda table: table != "account_holders"):
            rows = lake.read(name)
            if name == "customers":
                rows = rows.with_columns(took_part=pl.col("customer_id").is_in(took.implode()))
            new.append(name, rows)
    return Lake.open(out)
