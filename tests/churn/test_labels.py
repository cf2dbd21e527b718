"""Outcomes from a column or a rule, who belongs to which part, and what is refused."""

from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys.churn.config import ChurnConfig
from recsys.churn.labels import check_outcomes, churn_examples, find_label
from recsys.churn.splits import churn_days, horizon_end, part_of
from recsys.errors import ConfigError, DataError
from recsys.lake.store import Attribute, Lake, LakeWriter
from tests.churn.test_leaving import bank

RULE = {"accounts_closed": True}
UNTIL = date(2025, 1, 1)


def lake(path: Path, values: list[Any], kind: str = "flag", role: str = "label") -> Lake:
    attributes = {"customers": [Attribute("status", role, kind)]}
    ids = [f"C{i:03d}" for i in range(len(values))]
    with LakeWriter(path, buckets=2, attributes=attributes) as writer:
        writer.append("customers", pl.DataFrame({"customer_id": ids, "status": values}))
    return Lake.open(path)


def test_the_one_label_is_found_and_null_is_not_asked_about(tmp_path: Path) -> None:
    opened = lake(tmp_path / "lake", [True, False, None] * 40)
    config = ChurnConfig()
    label = find_label(opened, config)
    assert label is not None and (label.name, label.positive) == ("status", "true")
    seen = []
    for bucket in range(2):
        for part in ("train", "validation", "test"):
            found = churn_examples(opened.bucket(bucket), config, label, part, (None,), None)
            assert found["as_of"].null_count() == found.height
            seen += found.select("customer_id", "outcome").rows()
    assert dict(seen) == {f"C{i:03d}": 1 - i % 3 for i in range(120) if i % 3 < 2}
    assert len(seen) == 80


@pytest.mark.parametrize(
    ("values", "kind", "positive", "left"),
    [(["gone", "here"] * 5, "category", "gone", "gone"), ([1.0, 0.0] * 5, "number", None, "1.0")],
)
def test_a_category_or_a_number_can_be_the_label(
    tmp_path: Path, values: list[Any], kind: str, positive: str | None, left: str
) -> None:
    label = find_label(lake(tmp_path / "lake", values, kind), ChurnConfig(positive=positive))
    assert label is not None and label.positive == left


@pytest.mark.parametrize(
    ("values", "kind", "settings", "error", "says"),
    [
        (["gone", "here", "frozen"] * 4, "category", {"positive": "gone"}, DataError, "3 values.*'frozen' \\(4\\)"),
        ([0.0, 1.0, 2.0] * 4, "number", {}, DataError, "status: the label has 3 values"),
        (["gone", "here"] * 4, "category", {}, ConfigError, "churn.positive.*name the value that means left"),
        (["gone", "here"] * 4, "category", {"positive": "left"}, ConfigError, "'left' is no value of customers.status"),
        ([True] * 8, "flag", {}, DataError, "is 'true' \\(8\\) for everyone"),
        ([False] * 8, "flag", {}, DataError, "is 'false' \\(8\\) for everyone"),
        ([None] * 8, "flag", {}, DataError, "null for everyone"),
        ([True, False] * 4, "flag", {"label": "exited"}, ConfigError, "no attribute 'exited'; labels are status"),
    ],
)
def test_a_label_that_is_none_is_refused(
    tmp_path: Path, values: list[Any], kind: str, settings: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        find_label(lake(tmp_path / "lake", values, kind), ChurnConfig(**settings))


def test_an_input_cannot_be_the_label(tmp_path: Path) -> None:
    opened = lake(tmp_path / "lake", [True, False] * 4, role="feature")
    with pytest.raises(ConfigError, match="no such attribute; name the one that says who left, or give churn.rule"):
        find_label(opened, ChurnConfig())
    with pytest.raises(ConfigError, match="has the role feature, so it may be an input"):
        find_label(opened, ChurnConfig(label="status"))


def test_no_customer_is_in_two_parts_and_the_shares_hold() -> None:
    ids = pl.Series([f"C{i}" for i in range(20_000)])
    parts = part_of(ids, ChurnConfig(test_share=0.3, validation_share=0.1))
    shares = {part: float((parts == part).mean()) for part in ("train", "validation", "test")}
    assert shares == pytest.approx({"train": 0.6, "validation": 0.1, "test": 0.3}, abs=0.015)
    assert (part_of(ids, ChurnConfig(seed=1, test_share=0.3, validation_share=0.1)) != parts).mean() > 0.3


def test_a_horizon_ends_before_the_next_part_begins() -> None:
    config = ChurnConfig(rule=RULE, horizon_months=3, snapshots=3)
    assert churn_days(config, UNTIL) == {
        "train": (date(2024, 2, 1), date(2024, 3, 1), date(2024, 4, 1)),
        "validation": (date(2024, 7, 1),),
        "test": (date(2024, 10, 1),),
    }


def test_outcomes_of_a_rule_lie_inside_the_horizon_and_who_joined_later_is_not_asked_about() -> None:
    tables = bank(
        [
            ("inside", "2020-01-01", "2024-03-31"),
            ("beyond", "2020-01-01", "2024-04-01"),
            ("joins", "2024-01-01", "2024-02-01"),
            ("gone", "2020-01-01", "2023-12-31"),
        ]
    )
    config = ChurnConfig(rule=RULE, test_share=0.0001, validation_share=0.0001)
    found = churn_examples(tables, config, None, "train", (date(2024, 1, 1),), UNTIL)
    assert found.select("customer_id", "outcome").rows() == [("beyond", 0), ("inside", 1)]
    cut = {**tables, "accounts": tables["accounts"].with_columns(pl.col("closed").clip(upper_bound=date(2024, 4, 1)))}
    assert churn_examples(cut, config, None, "train", (date(2024, 1, 1),), UNTIL).equals(found)


def test_a_horizon_past_the_end_of_the_data_is_refused() -> None:
    config = ChurnConfig(rule=RULE, horizon_months=6)
    assert horizon_end(date(2024, 7, 1), config, UNTIL) == UNTIL
    with pytest.raises(ConfigError, match="6 months from 2024-08-01 end on 2025-02-01, past the data's end"):
        churn_examples(bank([("a", "2020-01-01", None)]), config, None, "test", (date(2024, 8, 1),), UNTIL)


def test_days_that_a_lake_cannot_give_are_refused() -> None:
    with pytest.raises(DataError, match="churn.rule: needs dated events"):
        churn_days(ChurnConfig(rule=RULE), None)
    with pytest.raises(ConfigError, match="events after the outcome would be seen"):
        churn_days(ChurnConfig(), UNTIL)
    with pytest.raises(ConfigError, match="seen_from: 2025-02-01 is after 2025-01-01"):
        churn_days(ChurnConfig(seen_from=date(2025, 2, 1)), UNTIL)
    with pytest.raises(ConfigError, match="no dated events; leave it out"):
        churn_days(ChurnConfig(seen_from=date(2025, 2, 1)), None)


@pytest.mark.parametrize(
    ("left", "examples", "says"),
    [(0, 50, "none of them left"), (50, 50, "all of them left"), (0, 0, "has no customer")],
)
def test_a_part_needs_both_outcomes(left: int, examples: int, says: str) -> None:
    with pytest.raises(DataError, match=f"churn: the validation part .*{says}"):
        check_outcomes(left, examples, "validation", ChurnConfig())
    check_outcomes(1, 2, "validation", ChurnConfig())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"rule": RULE, "label": "exited"}, "one of them says who left, not both"),
        ({"rule": {}}, "give accounts_closed: true, inactive_days: N, or both"),
        ({"rule": {"inactive_days": 100}, "horizon_months": 3}, "100 days do not fit into a horizon of 3 months"),
        ({"test_share": 0.6, "validation_share": 0.4}, "together must be below 1"),
        ({"tiers": {"medium": 0.2, "high": 0.05}}, "ascending"),
        ({"tiers": {"low": 0.5}}, "the tier low is what the others leave"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ChurnConfig(**settings)
