"""The ledger and the return on it: known sums, intervals that cover, and refusals where nothing was paid."""

import numpy as np
import polars as pl
import pytest

from recsys.campaigns.ledger import CostLedger, Costs, with_costs
from recsys.campaigns.roi import Money, returns
from recsys.drivers.effects import observed
from recsys.errors import ConfigError
from recsys.strict_yaml import validate


def test_what_a_unit_costs_and_earns() -> None:
    units = pl.DataFrame(
        {
            "channel": ["email", "phone", "fax", "email"],
            "contacted": [True, True, True, False],
            "contacts": [1, 2, 1, 0],
            "outcome": [1.0, 0.0, 0.0, 1.0],
            "revenue": [1000.0, None, 0.0, 800.0],
            "opted_out": [False, True, None, False],
            "logged_cost": [4, 8, 1, 0],
        }
    )
    ledger = Costs(per_contact={"email": 5, "phone": 400}, per_conversion=30, reward=100, opt_out=2000, margin=0.5)
    found = with_costs(units, ledger)
    assert found["cost"].to_list() == [135.0, 2800.0, None, 0.0], "a channel without a price is not known"
    assert found["margin"].to_list() == [500.0, 0.0, 0.0, 400.0]
    assert with_costs(units, Costs())["cost"].to_list() == [4.0, 8.0, 1.0, 0.0], "as logged"
    assert with_costs(units, Costs(conversion_value=70))["margin"].to_list() == [70.0, 0.0, 0.0, 70.0]


@pytest.mark.parametrize("wrong", [{"fixed": -1}, {"per_contact": {"email": -4}}, {"reword": 3}, {"margin": 1.5}])
def test_a_ledger_refuses_what_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="costs.yaml"):
        validate(CostLedger, wrong, "costs.yaml")


def test_costs_of_one_campaign_stand_in_place_of_all_others() -> None:
    ledger = CostLedger(fixed=100, reward=5, campaigns={"K": Costs(fixed=7)})
    assert ledger.of("K").fixed == 7 and ledger.of("K").reward == 0 and ledger.of("L").fixed == 100


def simulated(rng: np.random.Generator, size: int, fixed: float = 0.0) -> Money:
    """A conversion is worth 1,000 with probability .10, .05 in the control; a contact costs 10 or 30, on average 20."""
    arm = rng.random(size) < 0.5
    bought = (rng.random(size) < np.where(arm, 0.10, 0.05)).astype(float)
    margin = bought * rng.gamma(2, 500, size)
    cost = rng.choice([10.0, 30.0], size)
    pairs = [(observed(values, arm), observed(values, ~arm)) for values in (margin, bought)]
    return Money(pairs[0], pairs[1], observed(cost, arm), int(arm.sum()), fixed)


def test_intervals_cover_the_true_return() -> None:
    rng = np.random.default_rng(0)
    runs, hits = 200, np.zeros(3)
    for _ in range(runs):
        found = returns(simulated(rng, 2_000), samples=100)
        hits += [
            found.roi.low <= 1.5 <= found.roi.high,
            found.roi_bootstrap.low <= 1.5 <= found.roi_bootstrap.high,
            found.per_conversion.low <= 400 <= found.per_conversion.high,
        ]
    assert hits / runs == pytest.approx(np.full(3, 0.95), abs=3.5 * np.sqrt(0.95 * 0.05 / runs))


def test_the_campaign_as_a_whole() -> None:
    found = returns(simulated(np.random.default_rng(1), 40_000, fixed=200_000.0))
    assert found.cost.value == pytest.approx(20_000 * 20 + 200_000, rel=0.02)
    assert found.net.value == pytest.approx(found.margin.value - found.cost.value)
    assert found.roi.value == pytest.approx(found.net.value / found.cost.value)
    assert found.attributed_roi > found.roi.value, "it takes credit for what would have come anyway"
    chances = [p for _, p in found.above]
    assert chances == sorted(chances, reverse=True) and chances[0] == 1.0 and chances[-1] == 0.0


def test_no_effect_has_no_price() -> None:
    rng = np.random.default_rng(2)
    arm = rng.random(500) < 0.5
    nothing = np.zeros(500)
    sides = (observed(nothing, arm), observed(nothing, ~arm))
    found = returns(Money(sides, sides, observed(np.full(500, 20.0), arm), int(arm.sum()), 0.0))
    told = found.told()
    assert told["per_conversion"]["value"] is None and told["per_conversion"]["shape"] == "everything"
    assert told["roi"]["value"] == -1.0
