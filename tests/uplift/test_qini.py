"""Qini and uplift curves: hand-made rankings whose area is known, ties, weights, and intervals that hold."""

import numpy as np
import pytest

from recsys.errors import DataError
from recsys.uplift.qini import GRID, Compared, curve, qini


def trial(n: int, effect: np.ndarray, seed: int, share: float = 0.5) -> Compared:
    draws = np.random.default_rng(seed)
    treated = draws.random(n) < share
    outcome = draws.random(n) < 0.2 + effect * treated
    weight = np.where(treated, 1 / share, 1 / (1 - share))
    return Compared(outcome.astype(float), treated, weight, np.arange(n))


def test_a_ranking_by_hand_has_the_area_of_the_formula() -> None:
    outcome = np.array([1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    treated = np.array([True, False] * 4)
    compared = Compared(outcome, treated, np.full(8, 2.0), np.arange(8))
    score = np.array([4.0, 4.0, 3.0, 3.0, 2.0, 2.0, 1.0, 1.0])
    # Pairs of one contacted and one not, in order: gains 1, 1, -1, 0, of four contacted: Q/N_T = 0, 1/4, 2/4, 1/4, 1/4.
    points = np.array([0, 0.25, 0.5, 0.25, 0.25])
    assert qini(score, compared) == pytest.approx(np.trapezoid(points, dx=0.25) - 0.25 / 2)
    found = curve(score, compared, samples=20)
    assert found.value == pytest.approx(np.interp(np.linspace(0, 1, GRID), np.arange(5) / 4, points))
    assert found.gains[0.5].value == pytest.approx(0.5 * 1.0 - 0.5 * 0.25)
    assert found.auuc.value == pytest.approx(np.trapezoid([0, 0.25, 0.5, 0.75 / 3, 0.25], dx=0.25))


def test_a_score_that_says_nothing_is_chance_whatever_the_order_of_the_rows() -> None:
    compared = trial(500, np.full(500, 0.1), 1)
    assert qini(np.zeros(500), compared) == pytest.approx(0, abs=1e-12)
    order = np.random.default_rng(0).permutation(500)
    score = np.random.default_rng(2).integers(0, 5, 500).astype(float)
    assert qini(score[order], compared.where(order)) == pytest.approx(qini(score, compared), abs=1e-12)


def test_the_true_order_is_worth_what_it_is_and_its_interval_covers_it() -> None:
    value = np.linspace(0.3, -0.1, 1_500)
    exact = np.trapezoid(np.cumsum(value) / len(value), dx=1 / len(value)) - value.mean() / 2
    inside, intervals = 0, 30
    for seed in range(intervals):
        found = curve(value, trial(1_500, value, seed), samples=80, seed=seed).qini
        inside += found.low <= exact <= found.high
    assert inside >= 24  # of 30 at 95 %: fewer in one of a thousand runs


def test_weights_undo_who_was_contacted() -> None:
    """Those whom contact helps were contacted more often; weighted, the ranking is worth what chance would show."""
    n = 60_000
    draws = np.random.default_rng(3)
    helped = draws.random(n) < 0.5
    effect = np.where(helped, 0.2, 0.0)
    chance = np.where(helped, 0.8, 0.2)
    treated = draws.random(n) < chance
    base = np.where(helped, 0.4, 0.1)
    outcome = (draws.random(n) < base + effect * treated).astype(float)
    score = helped.astype(float)
    weighted = Compared(outcome, treated, 1 / np.where(treated, chance, 1 - chance), np.arange(n))
    plain = Compared(outcome, treated, np.ones(n), np.arange(n))
    assert curve(score, weighted, samples=20).value[-1] == pytest.approx(0.1, abs=0.02)
    assert abs(curve(score, plain, samples=20).value[-1] - 0.1) > 0.1


def test_the_rows_of_a_customer_are_drawn_together() -> None:
    """Every customer four times over knows no more than once: the interval stays as wide."""
    value = np.linspace(0.3, -0.1, 600)
    once = trial(600, value, 5)
    four = once.where(np.repeat(np.arange(600), 4))
    alone, repeated = curve(value, once, samples=300).qini, curve(np.repeat(value, 4), four, samples=300).qini
    assert repeated.value == pytest.approx(alone.value)
    assert (repeated.high - repeated.low) == pytest.approx(alone.high - alone.low, rel=0.25)


def test_all_treated_is_refused() -> None:
    with pytest.raises(DataError, match="both needed"):
        Compared(np.ones(5), np.ones(5, dtype=bool), np.ones(5), np.arange(5))
