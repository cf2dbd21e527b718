"""Purchases are summed up as the models need them."""

from datetime import date

import numpy as np
import polars as pl

from recsys.lifetime_value.histories import collapsed, histories


def bought(*rows: tuple[str, int, int]) -> pl.DataFrame:
    return pl.DataFrame(
        [(who, date(2024, 1, day), amount) for who, day, amount in rows],
        schema={"customer_id": pl.String, "day": pl.Date, "amount": pl.Int64},
        orient="row",
    )


def test_a_day_is_one_purchase_and_the_first_day_is_not_counted() -> None:
    rows = bought(("b", 3, 10), ("a", 1, 100), ("a", 1, 50), ("a", 5, 20), ("a", 5, 30), ("a", 9, 7))
    found = histories(rows, date(2024, 1, 11))
    assert found.rows() == [("a", 2, 8, 10, 57), ("b", 0, 0, 8, 0)]


def test_nothing_after_the_last_day_is_seen() -> None:
    rows = bought(("a", 1, 1), ("a", 5, 2), ("a", 6, 4), ("late", 6, 8))
    assert histories(rows, date(2024, 1, 5)).rows() == [("a", 1, 4, 4, 2)]


def test_customers_with_the_same_history_are_one_entry() -> None:
    rows = bought(*((who, day, 5) for who in "abc" for day in (1, 4)), ("d", 2, 1))
    found = collapsed(histories(rows, date(2024, 1, 6)))
    assert found.customers == 4
    assert sorted(found.count.tolist()) == [1, 3]
    assert np.array_equal(found.recency[found.frequency == 1], [3])
