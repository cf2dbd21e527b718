"""The list ranks by expected gain, tells what it rests on, and says so when it is empty."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.retention.listing import CONTACT, LIST, draw_up, gains
from recsys.retention.plan import Action, RetentionPlan, SaveRate
from recsys.retention.summary import summary


def plan(**changes: Any) -> RetentionPlan:
    actions = [
        {"name": "call", "channel": "phone", "cost": 500, "offer_cost": 1000, "uptake": 0.5, "save_rate": rate(0.3)},
        {"name": "letter", "channel": "post", "cost": 100, "save_rate": rate(0.1, low=0.0, high=0.2)},
    ]
    return RetentionPlan.model_validate({"actions": actions, **changes})


def rate(value: float, **more: Any) -> dict[str, Any]:
    return {"value": value, "origin": "assumed", "source": "a guess", **more}


@pytest.fixture
def customers() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    probability = rng.beta(1, 12, 3_000)
    return pl.DataFrame(
        {
            "customer_id": [f"C{i:05d}" for i in range(3_000)],
            "tier": np.where(probability > 0.2, "high", "low"),
            "probability": probability,
            "at_stake": rng.gamma(1.0, 60_000.0, 3_000),
        }
    )


def everyone(customers: pl.DataFrame, actions: int = 2) -> np.ndarray:
    return np.ones((customers.height, actions), dtype=bool)


def test_gain_is_risk_times_save_rate_less_the_whole_cost() -> None:
    one = pl.DataFrame({"customer_id": ["a"], "tier": ["x"], "probability": [0.2], "at_stake": [50_000.0]})
    gain, cost = gains(one, plan())
    assert cost.tolist() == [1_000, 100]
    np.testing.assert_allclose(gain, [[0.2 * 50_000 * 0.3 - 1_000, 0.2 * 50_000 * 0.1 - 100]])


def test_the_list_is_ranked_and_within_the_budget(customers: pl.DataFrame) -> None:
    drawn = draw_up(customers, everyone(customers), plan(), 200_000)
    rows = drawn.rows
    assert dict(rows.schema) == LIST and rows["rank"].to_list() == list(range(1, rows.height + 1))
    assert rows["expected_gain"].is_sorted(descending=True) and rows["expected_gain"].min() > 0  # type: ignore[operator]
    contacted = rows.filter(pl.col("arm") == CONTACT)
    assert contacted["cost"].sum() == pytest.approx(drawn.choice.spent) and drawn.choice.spent <= 200_000
    assert rows["customer_id"].n_unique() == rows.height
    np.testing.assert_allclose(rows["break_even"] * rows["probability"] * rows["at_stake"], rows["cost"])
    assert (rows["break_even"] < rows["save_rate"]).all()


def test_the_arms_are_alike_and_drawn_as_often_as_the_plan_says(customers: pl.DataFrame) -> None:
    rows = draw_up(customers, everyone(customers), plan(holdout=0.2), 10**9).rows
    held = rows["arm"] != CONTACT
    assert 0.17 < held.mean() < 0.23  # type: ignore[operator]
    gain = rows["expected_gain"].to_numpy()
    apart = gain[held].mean() - gain[~held].mean()
    error = gain.std() * np.sqrt(1 / held.sum() + 1 / (~held).sum())
    assert abs(apart) < 3 * error
    assert set(rows.filter(held)["propensity"]) == {0.2} and set(rows.filter(~held)["propensity"]) == {0.8}


def test_the_seed_draws_the_hold_out_and_nothing_else_changes_it(customers: pl.DataFrame) -> None:
    first, again = (draw_up(customers, everyone(customers), plan(seed=4), 10**9).rows for _ in range(2))
    assert first.equals(again)
    other = draw_up(customers, everyone(customers), plan(seed=5), 10**9).rows
    assert other["customer_id"].to_list() == first["customer_id"].to_list() and not other.equals(first)


def test_nobody_gets_what_is_not_allowed(customers: pl.DataFrame) -> None:
    allowed = everyone(customers)
    allowed[::2, 0] = False
    allowed[::3] = False
    rows = draw_up(customers, allowed, plan(), 10**9).rows
    index = {customer: i for i, customer in enumerate(customers["customer_id"])}
    for customer, action in rows.select("customer_id", "action").iter_rows():
        assert allowed[index[customer], ["call", "letter"].index(action)]


def test_a_budget_of_zero_is_said(customers: pl.DataFrame) -> None:
    drawn = draw_up(customers, everyone(customers), plan(), 0)
    told = summary(drawn, plan())
    assert drawn.rows.height == 0 and told["contacted"] == told["held_out"] == 0
    assert told["notes"] == ["The budget is 0: nobody is contacted."]
    assert told["expected_gain"] == {"value": 0, "low": 0, "high": 0}


def test_the_summary_says_what_is_assumed_and_what_can_be_shown(customers: pl.DataFrame) -> None:
    drawn = draw_up(customers, everyone(customers), plan(), 10**9)
    told = summary(drawn, plan())
    assert told["contacted"] + told["held_out"] == told["listed"] == drawn.rows.height
    gain = told["expected_gain"]
    assert gain["low"] < gain["value"] < gain["high"]
    contacted = drawn.rows.filter(pl.col("arm") == CONTACT)
    assert gain["value"] == pytest.approx(contacted["expected_gain"].sum(), rel=1e-6)
    assert told["of_the_best_possible"] == 1
    assert any("have not been measured" in note for note in told["notes"])
    assert any("too few" in note or "may not show it" in note for note in told["notes"])
    measured = {"value": 0.3, "origin": "measured", "source": "hold-out of May"}
    own = RetentionPlan(
        actions=(Action(name="call", cost=500, save_rate=SaveRate.model_validate(measured)),), holdout=0
    )
    said = summary(draw_up(customers, everyone(customers, 1), own, 10**9), own)["notes"]
    assert said == ["Nobody is held out, so what this list brings cannot be measured."]


def test_nothing_tells_of_fewer_than_ten(customers: pl.DataFrame) -> None:
    few = customers.with_columns(
        pl.when(pl.col("probability") > 0.45).then(pl.lit("top")).otherwise("tier").alias("tier")
    )
    drawn = draw_up(few, everyone(few), plan(), 10**9)
    sizes = dict(drawn.rows.filter(pl.col("arm") == CONTACT)["tier"].value_counts().iter_rows())
    assert 0 < sizes["top"] < 10
    told = {tier["tier"] for tier in summary(drawn, plan())["tiers"]}
    assert "top" not in told and len(told) < 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"actions": []}, "at least 1 item"),
        ({"actions": [{"name": "a", "cost": 1, "save_rate": {"value": 0.1}}]}, "Field required"),
        ({"actions": [{"name": "a", "cost": 1, "save_rate": rate(0.1, low=0.2)}]}, "must ascend"),
        ({"actions": [{"name": "a", "cost": 1, "save_rate": rate(0.1)}] * 2}, "a stands twice"),
        ({"holdout": 0.6}, "less than or equal to 0.5"),
    ],
)
def test_a_plan_that_does_not_say_enough_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan(**change)
