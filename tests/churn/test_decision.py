"""The threshold from costs or from F1, and tiers by shares of the customers."""

import numpy as np
import pytest

from recsys.churn.config import ChurnCosts
from recsys.churn.decision import choose_threshold, judged, tier_bounds, tier_of


@pytest.fixture
def calibrated() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    p = rng.beta(1, 4, 40_000)
    return p, (rng.random(40_000) < p).astype(np.int8)


def test_the_threshold_from_costs_is_the_cheapest_for_calibrated_probabilities(
    calibrated: tuple[np.ndarray, np.ndarray],
) -> None:
    p, y = calibrated
    costs = ChurnCosts(false_alarm=1, missed=4)
    found = choose_threshold(p, y, costs)
    assert found.probability == 0.2 and found.by == "costs"
    others = {t: judged(t, "costs", p, y, costs).cost for t in (0.05, 0.1, 0.15, 0.25, 0.3, 0.5)}
    assert found.cost is not None and all(cost is not None and found.cost < cost for cost in others.values())
    assert found.cost_of_none is not None and found.cost < found.cost_of_none
    assert found.cost_of_all is not None and found.cost < found.cost_of_all


def test_costs_count_every_mistake() -> None:
    p, y = np.array([0.9, 0.8, 0.3, 0.1]), np.array([1, 0, 1, 0])
    found = judged(0.5, "costs", p, y, ChurnCosts(false_alarm=3, missed=10))
    assert (found.precision, found.recall, found.f1, found.acted_on) == (0.5, 0.5, 0.5, 0.5)
    assert (found.cost, found.cost_of_none, found.cost_of_all) == (13 / 4, 20 / 4, 6 / 4)


def test_without_costs_no_other_threshold_has_a_better_f1(calibrated: tuple[np.ndarray, np.ndarray]) -> None:
    p, y = calibrated[0][:500], calibrated[1][:500]
    found = choose_threshold(p, y, None)
    assert found.by == "f1" and found.cost is None
    assert found.f1 == max(judged(float(t), "f1", p, y, None).f1 for t in p)


def test_tiers_hold_their_shares_and_the_bound_itself_is_inside() -> None:
    p = np.linspace(0, 1, 100)
    tiers = tier_bounds(p, {"high": 0.05, "medium": 0.2})
    names = tier_of(p, tiers)
    assert [(tier.name, int((names == tier.name).sum())) for tier in tiers] == [("high", 5), ("medium", 15)]
    assert int((names == "low").sum()) == 80
    assert tier_of(np.array([tiers[0].probability]), tiers).to_list() == ["high"]
    assert tier_of(p[:3], ()).to_list() == ["low"] * 3
