"""A move is explained by the change that made it, and by nothing else; a refit is never the customer's doing."""

import numpy as np
import polars as pl
import pytest

from recsys.errors import DataError
from recsys.segment_moves import REASONS, cause, measures, migration, reasons
from tests.features.test_features import definition

PROTOTYPES = np.array([[0.0, 0.0, 0.0], [10.0, 0.0, 0.0], [0.0, 10.0, 0.0]])
CHANGING = {"calls": ("calls.7d", "calls.30d"), "town": ("town",), "income": ("income",)}
TOWNS = {"Rome": 0.0, "Bonn": 10.0, None: 5.0}


def rows(calls: list[float], towns: list[str | None], income: list[float | None]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "customer_id": [f"C{i}" for i in range(len(calls))],
            "calls.7d": [c / 2 for c in calls],
            "calls.30d": calls,
            "town": pl.Series(towns, dtype=pl.String),
            "income": pl.Series(income, dtype=pl.Float64),
        }
    )


def distance(frame: pl.DataFrame) -> np.ndarray:
    """Calls of both windows lead to the second prototype, the town to the third, income nowhere."""
    calls = (frame["calls.7d"] + frame["calls.30d"] / 2).to_numpy()
    town = np.array([TOWNS[name] for name in frame["town"]])
    places = np.stack([calls, town, np.zeros(frame.height)], axis=1)
    return np.linalg.norm(places[:, None] - PROTOTYPES[None], axis=2)


def segments(frame: pl.DataFrame) -> np.ndarray:
    return distance(frame).argmin(axis=1)


BEFORE = rows([1, 1, 1, 1], ["Rome", "Rome", None, "Rome"], [1.0, 2.0, None, 4.0])
NOW = rows([9, 1, 2, 9], ["Rome", "Bonn", "Bonn", "Rome"], [1.0, 9.0, 7.0, None])


def test_the_change_that_moved_them_is_the_reason() -> None:
    left, entered = segments(BEFORE), segments(NOW)
    assert left.tolist() == [0, 0, 0, 0] and entered.tolist() == [1, 2, 2, 1]
    found = reasons(BEFORE, NOW, left, entered, distance, CHANGING)
    assert found["reasons"].to_list() == [["calls"], ["town"], ["town"], ["calls"]]
    assert found["shares"].to_list()[0] == [1.0] and found["shares"].to_list()[1] == [1.0]
    assert found["changes"].to_list() == [
        ["calls.7d: 0.5 → 4.5"],
        ["town: Rome → Bonn"],
        ["town: not known → Bonn"],
        ["calls.7d: 0.5 → 4.5"],
    ]


def test_the_same_in_any_order_and_company() -> None:
    left, entered = segments(BEFORE), segments(NOW)
    whole = reasons(BEFORE, NOW, left, entered, distance, CHANGING)
    back = [3, 1, 0, 2]
    turned = reasons(BEFORE[back], NOW[back], left[back], entered[back], distance, dict(reversed(CHANGING.items())))
    assert turned.sort("customer_id").equals(whole)
    for i in range(4):
        one = slice(i, i + 1)
        assert reasons(BEFORE[one], NOW[one], left[one], entered[one], distance, CHANGING).equals(whole[one])


def test_without_a_change_there_is_no_reason() -> None:
    same = reasons(NOW, NOW, np.zeros(4, int), segments(NOW), distance, CHANGING)
    assert same["reasons"].to_list() == [[]] * 4
    none = reasons(NOW.clear(), NOW.clear(), np.zeros(0, int), np.zeros(0, int), distance, CHANGING)
    assert none.is_empty() and none.schema == REASONS
    with pytest.raises(DataError, match="same customers in the same order"):
        reasons(BEFORE, NOW.reverse(), segments(BEFORE), segments(NOW), distance, CHANGING)


def test_what_moved_is_told_apart() -> None:
    ids = pl.DataFrame(
        {
            "before": ["S1", "S1", "S1", "S1", "S1"],
            "between": ["S1", "S2", "S1", "S2", "S2"],
            "after": ["S1", "S2", "S2", "S3", "S1"],
        }
    )
    causes = ids.select(cause(pl.col("before"), pl.col("between"), pl.col("after")))["cause"].to_list()
    assert causes == [None, "customer", "segments", "both", None]


def test_flows_with_their_commonest_reasons_and_no_small_ones() -> None:
    moves = pl.DataFrame(
        {
            "before": ["S1"] * 30 + ["S2"] * 9 + ["S2"] * 12,
            "after": ["S2"] * 30 + ["S1"] * 9 + ["S3"] * 12,
            "cause": ["customer"] * 25 + ["segments"] * 5 + ["customer"] * 9 + ["segments"] * 12,
            "reasons": [["town", "calls"]] * 20 + [["calls"]] * 5 + [[]] * 5 + [["calls"]] * 9 + [[]] * 12,
        },
        schema_overrides={"reasons": pl.List(pl.String)},
    )
    assert migration(moves).rows() == [("S1", "S2", 30, 5, ["town", "calls"]), ("S2", "S3", 12, 12, [])]
    assert migration(moves.clear()).is_empty()


def test_windows_and_lists_change_as_one() -> None:
    found = measures(definition())
    columns = [column for names in found.values() for column in names]
    assert len(columns) == len(set(columns)) and set(definition().numbers) < set(columns)
    assert found["holdings"] == ("holdings", "holdings.count")
    assert found["history"] == ("history", "history_kind", "history_age")
    assert found["transactions.count"] == tuple(f"transactions.count.{days}d" for days in definition().windows)
