"""Measures of probabilities: the numbers of scikit-learn, intervals that cover, figures of few that are hidden."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score, roc_curve

from recsys.churn.config import ChurnCosts
from recsys.churn.decision import tier_bounds
from training.churn_measures import (
    curves,
    group_table,
    measures,
    reliability_table,
    threshold_table,
    tier_table,
)

Sample = tuple[np.ndarray, np.ndarray]


def drawn(rows: int, seed: int = 0, rounded: bool = False) -> Sample:
    """Probabilities that are right."""
    rng = np.random.default_rng(seed)
    p = rng.beta(1, 4, rows)
    p = np.round(p, 1).clip(0.05, 0.95) if rounded else p
    return p, (rng.random(rows) < p).astype(np.int64)


@pytest.mark.parametrize("rounded", [False, True])
def test_measures_are_those_of_scikit_learn_ties_included(rounded: bool) -> None:
    p, y = drawn(3000, rounded=rounded)
    found = measures(p, y, 0.2, samples=100, seed=0)
    expected = {
        "auc": roc_auc_score(y, p),
        "pr_auc": average_precision_score(y, p),
        "brier": brier_score_loss(y, p),
        "log_loss": log_loss(y, p),
        "brier_of_base_rate": brier_score_loss(y, np.full(len(y), 0.2)),
    }
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value, abs=1e-9), name
        assert found[name]["low"] <= value <= found[name]["high"]
    assert found["brier_difference"]["high"] < 0


def test_an_interval_of_the_auc_covers_as_often_as_it_says() -> None:
    truth = roc_auc_score(*reversed(drawn(400_000, seed=99)))
    covered = 0
    for seed in range(40):
        p, y = drawn(400, seed)
        interval = measures(p, y, 0.2, samples=100, seed=seed)["auc"]
        covered += interval["low"] <= truth <= interval["high"]
    assert 33 <= covered <= 40


def test_a_model_that_is_right_stays_below_what_chance_gives() -> None:
    below = [
        found["value"] <= found["by_chance"]
        for found in (measures(*drawn(1000, seed), 0.2, samples=100, seed=0)["ece"] for seed in range(8))
    ]
    assert sum(below) >= 6
    p, y = drawn(1000)
    off = measures((2 * p).clip(0, 1), y, 0.2, samples=100, seed=0)["ece"]
    assert off["value"] > 2 * off["by_chance"]


def test_curves_pass_through_the_points_of_scikit_learn() -> None:
    p, y = drawn(2000)
    found = curves(p, y)
    false, recall, _ = roc_curve(y, p, drop_intermediate=False)
    for x, height in found["roc"]:
        assert np.abs(np.stack([false - x, recall - height])).sum(axis=0).min() < 1e-9
    assert found["gains"][0] == [0.0, 0.0] and found["gains"][-1] == [1.0, 1.0]
    assert min(x for x, _ in found["gains"][1:]) >= 10 / 2000


def test_the_threshold_here_is_judged_on_these_customers() -> None:
    p, y = drawn(5000)
    costs = ChurnCosts(false_alarm=1, missed=4)
    found = threshold_table(p, y, 0.2, "costs", costs)
    acted = p >= 0.2
    assert found["recall"]["value"] == pytest.approx(acted[y == 1].mean())
    assert found["precision"]["value"] == pytest.approx(y[acted].mean())
    assert found["recall"]["low"] < found["recall"]["value"] < found["recall"]["high"]
    best = min(found["curve"], key=lambda point: point[1])
    assert abs(best[0] - 0.2) < 0.08 and found["cost"] <= 1.05 * best[1]


def test_tiers_and_reliability_hold_every_customer() -> None:
    p, y = drawn(4000)
    table = tier_table(p, y, tier_bounds(p, {"high": 0.1, "medium": 0.3}))
    assert [entry["customers"] for entry in table] == [400, 800, 2800]
    assert table[0]["lift"] > table[1]["lift"] > table[2]["lift"]
    assert sum(entry["customers"] for entry in reliability_table(p, y)) == 4000
    few = tier_table(p, y, tier_bounds(p, {"high": 0.001}))[0]
    assert few == {"tier": "high", "customers": 4}


def test_groups_of_few_are_hidden_and_with_one_alone_a_second() -> None:
    p, y = drawn(3000)
    values = np.array(["a"] * 1500 + ["b"] * 1000 + ["c"] * 480 + ["d"] * 20, dtype=object)
    p[:1500] = (2 * p[:1500]).clip(0, 1)
    found = {entry["value"]: entry for entry in group_table(values, p, y, 0.3, samples=200, seed=0)}
    assert found["d"] == {"value": "d", "hidden": True}
    assert found["c"] == {"value": "c", "hidden": True}
    assert found["a"]["calibration"]["low"] > 0.1
    assert found["b"]["calibration"]["low"] < 0 < found["b"]["calibration"]["high"]
    assert found["b"]["auc"] == pytest.approx(roc_auc_score(y[1500:2500], p[1500:2500]))
