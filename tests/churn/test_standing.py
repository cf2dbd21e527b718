"""Who is a customer where no rule says it: accounts tell who has left, the first known day who is not there yet."""

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from recsys.churn.config import LeavingRule
from recsys.churn.leaving import leavings
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


def test_who_joined_later_is_named_with_the_day() -> None:
    tables = bank(
        [("old", "2020-01-01", None), ("new", "2024-01-01", None)], [("new", "2024-02-01"), ("met", "2024-03-01")]
    )

    def later(day: date | None) -> list[tuple[str, date]]:
        return standing(tables, day, None).filter(standing="joins_later").select("customer_id", "joined").rows()

    assert later(DAY) == [("met", date(2024, 3, 1)), ("new", date(2024, 1, 1))]
    assert later(None) == []
    assert later(date(2024, 1, 2)) == [("met", date(2024, 3, 1))]


RULES = (
    LeavingRule(accounts_closed=True),
    LeavingRule(inactive_days=20),
    LeavingRule(inactive_days=45, activity=("interactions",)),
    LeavingRule(accounts_closed=True, inactive_days=30),
)


@pytest.mark.parametrize("rule", RULES)
def test_who_has_left_is_who_leavings_does_not_know_on_that_day(rule: LeavingRule) -> None:
    gone = 0
    for seed in range(10):
        tables = _random_bank(np.random.default_rng(seed))
        here = set(leavings(tables, rule, (DAY,), DAY)["customer_id"])
        told = standing(tables, DAY, rule)
        assert told["customer_id"].to_list() == sorted(tables["customers"]["customer_id"].to_list())
        for customer, said, joined in told.iter_rows():
            assert said == ("joins_later" if joined else "customer" if customer in here else "left"), (seed, customer)
            one = {name: table for name, table in tables.items() if name != "customers"}
            alone = standing({**one, "customers": pl.DataFrame({"customer_id": [customer]})}, DAY, rule)
            assert alone.rows() == [(customer, said, joined)], "alone as among the others"
            gone += said == "left"
    assert gone > 50


def _random_bank(rng: np.random.Generator, customers: int = 30) -> dict[str, pl.DataFrame]:
    """Joint accounts, accounts without days, events of customers and accounts, and of nobody known."""
    ids, accounts = [f"C{i}" for i in range(customers)], [f"A{i}" for i in range(customers)]

    def days(count: int, unknown: float) -> list[date | None]:
        drawn = [DAY + timedelta(days=int(n)) for n in rng.integers(-90, 10, count)]
        return [day if rng.random() > unknown else None for day in drawn]

    def events(count: int) -> pl.DataFrame:
        owned = rng.random(count) < 0.5
        who, what = rng.choice([*ids, "nobody"], count), rng.choice([*accounts, "unknown"], count)
        at = [datetime.combine(day, datetime.min.time()) if day else None for day in days(count, 0.1)]
        columns = {
            "customer_id": [None if own else str(one) for one, own in zip(who, owned, strict=True)],
            "account_id": [str(one) if own else None for one, own in zip(what, owned, strict=True)],
            "kind": [None, "viewed", "holds", "closed"] * (count // 4),
            "at": at,
        }
        return pl.DataFrame(columns, schema_overrides={"at": pl.Datetime("us")})

    pairs = {(str(rng.choice(accounts)), str(rng.choice(ids))) for _ in range(customers)}
    return {
        "customers": pl.DataFrame({"customer_id": ids}),
        "account_holders": pl.DataFrame(sorted(pairs), schema=["account_id", "customer_id"], orient="row"),
        "accounts": pl.DataFrame(
            {"account_id": accounts, "opened": days(customers, 0.2), "closed": days(customers, 0.6)},
            schema_overrides={"opened": pl.Date, "closed": pl.Date},
        ),
        "transactions": events(40).drop("kind"),
        "interactions": events(20).drop("account_id"),
    }
