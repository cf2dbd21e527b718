"""The one function that decides for one customer and for all: exact, and the same whoever else is asked."""

import numpy as np

from recsys.campaigns.allocation import choose
from tests.campaigns.allocation.instances import every_set, small_problem


def test_a_customer_gets_the_best_of_all_sets_at_the_prices() -> None:
    for seed in range(0, 30, 2):
        problem = small_problem(seed, 30)
        (part,), limits = problem.parts, problem.limits
        dual = np.random.default_rng(seed).uniform(0, 0.7, len(limits))
        prices = limits.prices(dual, problem.groups)
        chosen = choose(part, problem.actions, prices, problem.most)
        assert part.costs is not None and part.group is not None
        for i in range(len(part)):
            row = part.group[i] if 0 <= part.group[i] < problem.groups - 1 else -1
            worth = part.values[:, i] - prices.contact[row] - prices.money[row] * part.costs[:, i].astype(np.float64)
            most = problem.most if part.most is None else part.most[i]
            best = max(sum(worth[k] for k in s) for s in every_set(problem.actions, most))
            got = [int(k) for k in chosen[:, i] if k >= 0]
            assert tuple(sorted(got)) in every_set(problem.actions, most)
            assert abs(sum(worth[k] for k in got) - best) < 1e-9


def test_one_customer_is_answered_as_among_all() -> None:
    for seed in (1, 3, 6, 9):
        problem = small_problem(seed, 60)
        (part,), limits = problem.parts, problem.limits
        prices = limits.prices(np.random.default_rng(seed).uniform(0, 0.5, len(limits)), problem.groups)
        together = choose(part, problem.actions, prices, problem.most)
        for i in range(len(part)):
            alone = choose(part.take(np.array([i])), problem.actions, prices, problem.most)
            assert (alone[:, 0] == together[:, i]).all()


def test_ties_go_to_the_first_action() -> None:
    from recsys.campaigns.allocation import Actions, Part, Prices

    nothing = Prices(np.zeros((1, 3)), np.zeros((1, 3)))
    part = Part(np.array([[2, 0], [2, 0], [1, -1]], np.float32))
    assert choose(part, Actions(np.array([0, 1, 2]), np.array([0, 1, 2])), nothing).tolist() == [[0, -1]]
