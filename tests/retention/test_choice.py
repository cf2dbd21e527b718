"""The list gains nearly what any could within its budget, and never spends more."""

import itertools

import numpy as np
import pytest

from recsys.retention.choice import NONE, Capacity, within

NOBODY = np.zeros(0, dtype=bool)


def best(gain: np.ndarray, cost: np.ndarray, allowed: np.ndarray, budget: float) -> float:
    """By trying everything."""
    most = 0.0
    for actions in itertools.product(range(-1, len(cost)), repeat=len(gain)):
        if any(a >= 0 and not allowed[i, a] for i, a in enumerate(actions)):
            continue
        spent = sum(cost[a] for a in actions if a >= 0)
        if spent <= budget:
            most = max(most, sum(gain[i, a] for i, a in enumerate(actions) if a >= 0))
    return most


@pytest.mark.parametrize("seed", range(40))
def test_beside_the_best_of_all_lists(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gain = rng.normal(3, 6, (5, 3)).round(2)
    cost = rng.integers(0, 9, 3).astype(float)
    allowed = rng.random((5, 3)) < 0.8
    budget = float(rng.integers(1, 25))
    found = within(gain, cost, allowed, budget, np.zeros(5, dtype=bool))
    rows = np.flatnonzero(found.action != NONE)
    assert allowed[rows, found.action[rows]].all() and (gain[rows, found.action[rows]] > 0).all()
    assert cost[found.action[rows]].sum() == pytest.approx(found.spent) and found.spent <= budget
    assert gain[rows, found.action[rows]].sum() == pytest.approx(found.gain)
    right = best(gain, cost, allowed, budget)
    assert found.gain <= right + 1e-9 <= found.bound + 1e-6
    assert found.gain >= right - gain.max() - 1e-9  # a greedy list misses less than the gain of one customer


def test_many_customers_are_nearly_as_good_as_can_be() -> None:
    rng = np.random.default_rng(0)
    value = rng.gamma(0.5, 100, (20_000, 1))
    gain = value * np.array([[0.1, 0.2, 0.25]]) - np.array([[1.0, 6.0, 15.0]])
    cost = np.array([1.0, 6.0, 15.0])
    found = within(gain, cost, np.ones(gain.shape, dtype=bool), 10_000.0, np.zeros(20_000, dtype=bool))
    assert found.gain > 0.9999 * found.bound and 9_985 < found.spent <= 10_000


def test_a_budget_of_zero_contacts_nobody_not_even_for_free() -> None:
    gain, allowed = np.full((4, 2), 5.0), np.ones((4, 2), dtype=bool)
    found = within(gain, np.array([0.0, 1.0]), allowed, 0.0, np.zeros(4, dtype=bool))
    assert (found.action == NONE).all() and found.spent == found.gain == 0
    free = within(gain, np.array([0.0, 1.0]), allowed, 0.5, np.zeros(4, dtype=bool))
    assert (free.action == 0).all() and free.spent == 0 and free.gain == 20


def test_those_held_out_take_no_budget_and_come_as_far_as_the_others() -> None:
    rng = np.random.default_rng(1)
    gain = rng.exponential(10, (4_000, 1)) - 2
    held = rng.random(4_000) < 0.1
    found = within(gain, np.array([2.0]), np.ones((4_000, 1), dtype=bool), 600.0, held)
    on = found.action != NONE
    assert (on & ~held).sum() == 300 and found.spent == 600
    assert 15 <= (on & held).sum() <= 55
    assert gain[on & held].min() >= gain[on & ~held].min() - 0.5
    assert found.randomised[on & held].all()


def test_what_only_fills_the_budget_up_is_not_taken_as_randomised() -> None:
    gain, cost = np.array([[10.0, -1.0], [9.0, -1.0], [-1.0, 0.5]]), np.array([4.0, 1.0])
    found = within(gain, cost, np.ones((3, 2), dtype=bool), 5.0, np.zeros(3, dtype=bool))
    assert found.action.tolist() == [0, NONE, 1]
    assert found.randomised.tolist() == [True, False, False]


def test_more_budget_never_gains_less() -> None:
    rng = np.random.default_rng(2)
    gain = rng.normal(2, 5, (300, 3))
    cost = np.array([1.0, 3.0, 7.0])
    gains = [
        within(gain, cost, np.ones(gain.shape, dtype=bool), b, np.zeros(300, dtype=bool)).bound
        for b in np.linspace(1, 900, 60)
    ]
    assert (np.diff(gains) >= -1e-6 * gains[-1]).all()


def test_nobody_to_choose_from() -> None:
    found = within(np.zeros((0, 2)), np.array([1.0, 2.0]), np.zeros((0, 2), dtype=bool), 9.0, NOBODY)
    assert len(found.action) == 0 and found.spent == 0


def test_a_capacity_moves_customers_to_what_is_left() -> None:
    gain = np.array([[10.0, 6.0], [9.0, 3.0], [8.0, 7.0]])
    calls = Capacity("capacity of phone", np.array([True, False]), 1)
    found = within(gain, np.array([4.0, 1.0]), np.ones((3, 2), dtype=bool), 50.0, np.zeros(3, dtype=bool), [calls])
    assert found.action.tolist() == [1, 0, 1]
    assert found.gain == 22 and found.spent == 6
