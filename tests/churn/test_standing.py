"""Who is a customer where no rule says it: accounts tell who has left, the first known day who is not there yet."""

from datetime import date

import polars as pl

from recsys.churn.config import LeavingRule
from recsys.churn.standing import standing, standing_by_tables
from tests.churn.test_leaving import DAY, bank

ACCOUNTS: list[tuple[str, str, str | None]] = [
    ("gone", "2020-01-01", "2023-12-31"),
    ("gone", "2021-01-01", "2022-12-31"),
    ("half", "2020-01-01", "2023-12-31"),
    ("half", "2020-01-01", None),
    ("last_day", "2020-01-01", "2024-01-01"),
    ("comes", "2024-01-01", None),
]


def _by_id(found: pl.DataFrame) -> dict[str, str]:
    return dict(found.select("customer_id", "standing").iter_rows())


def test_without_a_rule_closed_accounts_tell_who_has_left() -> None:
    tables = bank(ACCOUNTS, [("spender", "2023-05-01"), ("half", "2023-05-01")])
    told = {"gone": "left", "half": "customer", "last_day": "customer", "comes": "joins_later", "spender": "customer"}
    assert _by_id(standing_by_tables(tables, DAY, None)) == told
    assert _by_id(standing_by_tables(tables, date(2024, 1, 2), None))["last_day"] == "left"
    assert set(_by_id(standing_by_tables(tables, None, None)).values()) == {"customer"}
    open_only = {**tables, "accounts": tables["accounts"].drop("closed")}
    assert "left" not in _by_id(standing_by_tables(open_only, DAY, None)).values()


def test_a_rule_is_what_decides_where_there_is_one() -> None:
    tables = bank(ACCOUNTS, [("spender", "2023-05-01"), ("gone", "2023-12-30")])
    rule = LeavingRule(inactive_days=30)
    found = standing_by_tables(tables, DAY, rule)
    assert found.equals(standing(tables, DAY, rule))
    assert _by_id(found)["gone"] == "customer" and _by_id(found)["spender"] == "left"
