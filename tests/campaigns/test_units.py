"""One row per customer and campaign: several contacts count once, and only what came after the first counts."""

from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from recsys.campaigns.units import UNITS, units_of
from recsys.errors import DataError

START = datetime(2024, 3, 1, 9)
UNTIL = date(2024, 6, 30)
OUTCOME = ("interactions", "acquired")


def contact(name: str, customer: str, day: float = 0, **other: Any) -> dict[str, Any]:
    made = {"arm": "treated", "contacted": True, "propensity": 0.5, "cost": 4, "channel": "email", "opened": None}
    made |= {"clicked": None, "converted": None, "revenue": None, "campaign_id": "K"}
    return {"contact_id": name, "customer_id": customer, "at": START + timedelta(days=day)} | made | other


def tables(contacts: list[dict[str, Any]], events: list[tuple[str, str, str, float]] = []) -> dict[str, pl.DataFrame]:  # noqa: B006
    rows = [
        {"customer_id": c, "product_id": p, "kind": k, "at": START + timedelta(days=day)} for c, p, k, day in events
    ]
    types = {
        "cost": pl.Int64,
        "opened": pl.Boolean,
        "clicked": pl.Boolean,
        "converted": pl.Boolean,
        "revenue": pl.Int64,
    }
    return {
        "contacts": pl.DataFrame(contacts, schema_overrides=types),
        "campaigns": pl.DataFrame({"campaign_id": ["K"], "product_id": ["card"]}),
        "interactions": pl.DataFrame(
            rows,
            schema={"customer_id": pl.String, "product_id": pl.String, "kind": pl.String, "at": pl.Datetime("us")},
        ),
    }


def by_customer(frame: pl.DataFrame) -> dict[str, dict[str, Any]]:
    return {row["customer_id"]: row for row in frame.to_dicts()}


def test_an_outcome_before_the_contact_does_not_count() -> None:
    made = tables(
        [contact("1", "a"), contact("2", "b"), contact("3", "c"), contact("4", "d")],
        [("a", "card", "acquired", -1), ("b", "card", "acquired", 0), ("c", "card", "acquired", 30),
         ("d", "loan", "acquired", 3)],
    )  # fmt: skip
    found = by_customer(units_of(made, "K", OUTCOME, 30, UNTIL))
    assert {c: (row["outcome"], row["early"]) for c, row in found.items()} == {
        "a": (0.0, 1), "b": (1.0, 0), "c": (0.0, 0), "d": (0.0, 0),
    }  # fmt: skip


def test_a_customer_contacted_twice_is_one_unit() -> None:
    twice = [
        contact("1", "a", opened=False, converted=False, cost=4),
        contact("2", "a", 5, opened=True, converted=True, cost=9, revenue=700, channel="phone", arm="other"),
        contact("3", "b", contacted=False, arm="control", cost=None, converted=False),
    ]
    found = units_of(tables(twice), "K", ("contacts", "converted"), 30, UNTIL)
    row = by_customer(found)["a"]
    assert found.height == 2 and dict(found.schema) == dict(UNITS)
    assert (row["arm"], row["arms"], row["contacts"], row["channel"]) == ("treated", 2, 2, "email")
    assert (row["logged_cost"], row["revenue"], row["outcome"], row["engaged"]) == (13, 700.0, 1.0, True)
    assert by_customer(found)["b"]["logged_cost"] == 0, "nobody contacted, nothing paid"


def test_a_window_that_is_not_over_tells_nothing_yet() -> None:
    made = tables([contact("1", "a", 100), contact("2", "b", 0)], [("a", "card", "acquired", 101)])
    found = by_customer(units_of(made, "K", OUTCOME, 30, UNTIL))
    assert found["b"]["revenue"] is None, "nobody knows what an acquisition brought"
    assert found["a"]["open_window"] and found["a"]["outcome"] is None
    assert not found["b"]["open_window"] and found["b"]["outcome"] == 0.0


def test_what_was_done_before_and_after() -> None:
    made = tables(
        [contact("1", "a"), contact("2", "b"), contact("0", "a", -30, campaign_id="earlier")],
        [
            ("a", "card", "viewed", 2),
            ("b", "card", "enquired", 2),
            ("a", "loan", "login", -3),
            ("a", "loan", "login", 40),
        ],
    )
    made["consents"] = pl.DataFrame(
        {"customer_id": ["a", "b"], "channel": [None, "phone"], "granted": [False, False],
         "at": [START + timedelta(days=3)] * 2},
        schema_overrides={"channel": pl.String},
    )  # fmt: skip
    made["exposures"] = pl.DataFrame(
        {"customer_id": ["b", "b"], "product_id": ["card", "card"], "at": [START + timedelta(days=d) for d in (1, 2)]}
    )
    found = by_customer(units_of(made, "K", ("contacts", "converted"), 30, UNTIL))
    a, b = found["a"], found["b"]
    assert (a["considered"], a["lead"], b["considered"], b["lead"]) == (True, False, True, True)
    assert (a["opted_out"], b["opted_out"]) == (True, False), "b withdrew for another channel"
    assert (a["active_before"], a["active_after"], b["active_before"]) == (True, True, False)
    assert a["pressure"] == pytest.approx(0.5, abs=1e-6) and b["pressure"] == 0
    assert (a["exposures"], b["exposures"]) == (0, 2)


@pytest.mark.parametrize("wrong", [{"cost": -1}, {"propensity": 0.0}, {"propensity": 1.5}])
def test_impossible_rows_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="contacts of K: 1 of 2 rows .* .first: 2,"):
        units_of(tables([contact("1", "a"), contact("2", "b", **wrong)]), "K", ("contacts", "converted"), 30, UNTIL)


def test_without_arms_they_are_named_by_what_was_done() -> None:
    rows = [contact("1", "a", arm=None), contact("2", "b", arm=None, contacted=False)]
    made = tables(rows)
    made["contacts"] = made["contacts"].drop("arm", "propensity", "revenue")
    found = by_customer(units_of(made, "K", ("contacts", "converted"), 30, UNTIL))
    assert (found["a"]["arm"], found["b"]["arm"]) == ("contacted", "not contacted")
    assert found["a"]["propensity"] is None and found["a"]["outcome"] is None
