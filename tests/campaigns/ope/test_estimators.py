"""Six estimators beside the known value of a policy."""

import numpy as np
import pytest

from recsys.campaigns.ope.estimators import ESTIMATORS, estimate
from recsys.campaigns.ope.intervals import difference, with_intervals
from recsys.campaigns.ope.log import make_log
from recsys.campaigns.ope.reward_model import cross_fitted
from tests.campaigns.ope.known import ACTIONS, drawn, policy, rates, true_value

RUNS = 120


@pytest.fixture(scope="module")
def runs() -> dict[str, np.ndarray]:
    """Value and interval of each estimator over RUNS logs of 1,000 decisions, [RUNS, 5]."""
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in ESTIMATORS}
    for seed in range(RUNS):
        log, x = drawn(1000, seed)
        q = cross_fitted(log, x, crossed=True, folds=2)
        told = with_intervals(estimate(log, policy(x[:, 0]), q), log.customer, samples=100, seed=seed)
        for name, one in told.items():
            found[name].append((one.value, one.low, one.high, one.bootstrap_low, one.bootstrap_high))
    return {name: np.array(values) for name, values in found.items()}


@pytest.mark.parametrize("name", ["ips", "snips", "dr"])
def test_the_mean_over_logs_is_the_true_value(runs: dict[str, np.ndarray], name: str) -> None:
    values = runs[name][:, 0]
    assert abs(values.mean() - true_value(1.5)) < 3 * values.std() / np.sqrt(RUNS) + 0.001


@pytest.mark.parametrize("name", ["ips", "snips", "dr"])
def test_intervals_hold_the_true_value_about_19_times_in_20(runs: dict[str, np.ndarray], name: str) -> None:
    truth = true_value(1.5)
    for low, high in ((1, 2), (3, 4)):
        covered = ((runs[name][:, low] <= truth) & (truth <= runs[name][:, high])).mean()
        assert 0.88 <= covered <= 0.995, (name, low, covered)


def test_the_doubly_robust_estimate_varies_less_than_weighting_alone(runs: dict[str, np.ndarray]) -> None:
    assert runs["dr"][:, 0].std() < 0.9 * runs["ips"][:, 0].std()


def test_dr_is_right_with_a_wrong_model_where_dm_is_not() -> None:
    truth, wrong = true_value(1.5), []
    for seed in range(40):
        log, x = drawn(1500, seed)
        terms = estimate(log, policy(x[:, 0]), np.full((len(log), 3), 0.9))
        wrong.append((terms["dm"].value, terms["dr"].value))
    dm, dr = np.array(wrong).mean(axis=0)
    assert dm == pytest.approx(0.9)
    assert abs(dr - truth) < 0.02


def test_optimistic_shrinkage_errs_less_than_dr_where_weights_are_wild() -> None:
    errors = []
    for seed in range(40):
        log, x = drawn(1500, seed, behaviour=-1.2)
        terms = estimate(log, policy(x[:, 0], 2.0), rates(x[:, 0]) * 0.95)
        errors.append([(terms[name].value - true_value(2.0)) ** 2 for name in ("ips", "dr", "switch_dr", "dros")])
    ips, dr, switch, dros = np.array(errors).mean(axis=0)
    assert dros < 0.7 * dr and switch <= dr < ips


def test_the_logging_policy_evaluates_to_what_it_earned() -> None:
    log, x = drawn(800, 3)
    terms = estimate(log, policy(x[:, 0], -0.4), np.zeros((len(log), 3)))
    for name in ("ips", "snips", "dr"):
        assert terms[name].value == pytest.approx(log.reward.mean())


def test_decisions_of_one_customer_are_one_unit() -> None:
    log, x = drawn(300, 5)
    twice = make_log(
        np.tile(log.action, 4), np.tile(log.propensity, 4), np.tile(log.reward, 4), ACTIONS, np.tile(np.arange(300), 4)
    )
    q = np.zeros((300, 3))
    one = with_intervals(estimate(log, policy(x[:, 0]), q), log.customer)["snips"]
    four = with_intervals(estimate(twice, np.tile(policy(x[:, 0]), (4, 1)), np.tile(q, (4, 1))), twice.customer)[
        "snips"
    ]
    assert four.value == pytest.approx(one.value)
    assert four.error == pytest.approx(one.error, rel=0.01)
    assert four.bootstrap_high - four.bootstrap_low == pytest.approx(one.bootstrap_high - one.bootstrap_low, rel=0.2)


def test_two_policies_on_one_log_are_compared_in_pairs() -> None:
    log, x = drawn(3000, 1)
    q = cross_fitted(log, x, crossed=True)
    good, better = (estimate(log, policy(x[:, 0], sharp), q)["dr"] for sharp in (1.4, 1.5))
    apart = with_intervals({"a": good, "b": better}, log.customer)
    gain = difference(better, good, log.customer)
    assert gain.value == pytest.approx(better.value - good.value)
    assert gain.error < 0.2 * apart["a"].error
