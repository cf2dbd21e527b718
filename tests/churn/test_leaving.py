"""Who left, by a rule: accounts closed, silence, both; never from what lies after the end."""

from datetime import date, datetime

import polars as pl
import pytest

from recsys.churn.config import LeavingRule
from recsys.churn.leaving import leavings
from recsys.errors import DataError
from recsys.lake.store import Lake
from tests.conftest import SmallBank

CLOSED, QUIET = LeavingRule(accounts_closed=True), LeavingRule(inactive_days=30)
DAY, END = date(2024, 1, 1), date(2024, 7, 1)


def bank(
    accounts: list[tuple[str, str, str | None]], events: list[tuple[str, str]] | None = None
) -> dict[str, pl.DataFrame]:
    """Accounts (customer, opened, closed) and transactions (customer, day) as tables of a lake."""
    days = {"opened": pl.Date, "closed": pl.Date}
    ids = sorted({row[0] for row in accounts} | {row[0] for row in events or []})
    numbered = [f"A{i}" for i in range(len(accounts))]
    tables = {
        "customers": pl.DataFrame({"customer_id": ids}),
        "account_holders": pl.DataFrame({"account_id": numbered, "customer_id": [row[0] for row in accounts]}),
        "accounts": pl.DataFrame(
            {
                "account_id": numbered,
                "opened": [date.fromisoformat(row[1]) for row in accounts],
                "closed": [date.fromisoformat(row[2]) if row[2] else None for row in accounts],
            },
            schema_overrides=days,
        ),
    }
    if events is not None:
        tables["transactions"] = pl.DataFrame(
            {"customer_id": [who for who, _ in events], "at": [datetime.fromisoformat(day) for _, day in events]},
            schema_overrides={"at": pl.Datetime("us")},
        )
    return tables


def told(
    tables: dict[str, pl.DataFrame], rule: LeavingRule, end: date = END, day: date = DAY
) -> dict[str, date | None]:
    found = leavings(tables, rule, (day,), end)
    return dict(zip(found["customer_id"], found["left"], strict=True))


def test_a_customer_leaves_with_the_last_open_account() -> None:
    tables = bank(
        [
            ("both", "2020-01-01", "2024-02-01"),
            ("both", "2021-01-01", "2024-03-05"),
            ("stays", "2020-01-01", "2024-02-01"),
            ("stays", "2020-01-01", None),
            ("gone", "2020-01-01", "2023-12-31"),
            ("joins", "2024-01-01", "2024-02-01"),
            ("back", "2020-01-01", "2024-02-01"),
            ("back", "2024-05-01", None),
            ("switched", "2020-01-01", "2024-02-01"),
            ("switched", "2024-02-01", None),
        ]
    )
    assert told(tables, CLOSED) == {
        "both": date(2024, 3, 5),
        "stays": None,
        "back": date(2024, 2, 1),
        "switched": None,
    }
    assert told(tables, CLOSED, day=date(2024, 6, 1)) == {"stays": None, "back": None, "switched": None}


def test_nothing_on_or_after_the_end_is_read() -> None:
    tables = bank([("late", "2020-01-01", "2024-03-01"), ("late", "2024-03-20", None)])
    assert told(tables, CLOSED, end=date(2024, 3, 1)) == {"late": None}
    assert told(tables, CLOSED, end=date(2024, 3, 2)) == {"late": date(2024, 3, 1)}
    quiet = bank([("one", "2020-01-01", None)], [("one", "2023-12-20"), ("one", "2024-02-10")])
    assert told(quiet, QUIET, end=date(2024, 1, 31)) == {"one": date(2024, 1, 30)}
    assert told(quiet, QUIET, end=date(2024, 1, 30)) == {"one": None}


def test_silence_is_counted_from_the_day_asked_about() -> None:
    events = [
        ("silent", "2023-12-03"),
        ("later", "2023-12-31"),
        ("later", "2024-01-20"),
        ("busy", "2023-12-31"),
        *(("busy", day.isoformat()) for day in pl.date_range(DAY, END, "20d", eager=True)),
        ("long_gone", "2023-11-01"),
        ("new", "2024-01-01"),
    ]
    tables = bank([], events)
    assert told(tables, QUIET) == {"silent": date(2024, 1, 30), "later": date(2024, 2, 19), "busy": None}


def test_closing_and_holding_are_no_activity() -> None:
    tables = bank([], [("one", "2023-12-31")])
    tables["interactions"] = pl.DataFrame(
        {"customer_id": ["one", "one"], "kind": ["closed", "holds"], "at": [datetime(2024, 1, 20), None]},
        schema_overrides={"at": pl.Datetime("us")},
    )
    assert told(tables, QUIET) == {"one": date(2024, 1, 30)}
    clicked = tables | {"interactions": tables["interactions"].with_columns(kind=pl.lit("clicked"))}
    assert told(clicked, QUIET) == {"one": date(2024, 2, 19)}


def test_of_two_conditions_the_first_counts() -> None:
    tables = bank(
        [("closes", "2020-01-01", "2024-01-05"), ("quiet", "2020-01-01", "2024-05-05")],
        [("closes", "2023-12-31"), ("quiet", "2023-12-31")],
    )
    both = LeavingRule(accounts_closed=True, inactive_days=30)
    assert told(tables, both) == {"closes": date(2024, 1, 5), "quiet": date(2024, 1, 30)}


def test_a_lake_that_cannot_tell_is_refused() -> None:
    tables = bank([], [("one", "2023-12-31")])
    with pytest.raises(DataError, match="accounts_closed: the lake has no table accounts"):
        leavings({"customers": tables["customers"]}, CLOSED, (DAY,), END)
    with pytest.raises(DataError, match="nothing tells activity"):
        leavings({"customers": tables["customers"]}, QUIET, (DAY,), END)


def test_closed_accounts_tell_the_true_day_of_leaving_on_the_synthetic_bank(segmented_bank: SmallBank) -> None:
    lake, day, end = Lake.open(segmented_bank.lake), date(2024, 1, 1), date(2025, 1, 1)
    truth = pl.read_parquet(segmented_bank.lake.with_name("lake.truth") / "customers.parquet")
    known = truth.select("customer_id", true=pl.when(pl.col("left") < end).then("left"))
    found = leavings({name: lake.read(name) for name in lake.tables}, CLOSED, (day,), end)
    both = found.join(known, on="customer_id")
    assert both.height == found.height > 500 and both["left"].drop_nulls().len() > 40
    assert both["left"].eq_missing(both["true"]).mean() > 0.99  # type: ignore[operator]
    gone = truth.filter(pl.col("left") < day)["customer_id"]
    assert not set(gone) & set(found["customer_id"])
