"""Plans are feasible, near the best, and never above their bound; what cannot be is said."""

from dataclasses import replace

import numpy as np
import pytest

from recsys.campaigns.allocation import Actions, Limits, Part, Problem, choose, solve
from recsys.campaigns.allocation.solve import plan_use, plan_value
from recsys.errors import ConfigError, DataError
from tests.campaigns.allocation.instances import best_bound, best_plan, large_problem, small_problem

INFEASIBLE = 2
"""What HiGHS says where no plan keeps the limits."""


def test_small_plans_are_feasible_near_the_best_and_below_their_bound() -> None:
    reached = []
    for seed in range(60):
        problem = small_problem(seed, 24)
        exact = best_plan(problem)
        if exact.status == INFEASIBLE:
            with pytest.raises(DataError, match="cannot all hold|no plan was found"):
                solve(problem)
            continue
        found, best = solve(problem), -exact.fun
        slack = 1e-6 * max(1.0, abs(best))
        assert found.bound >= best - slack, f"seed {seed}: the bound is below the optimum"
        assert found.value <= best + slack, f"seed {seed}: worth more than the optimum"
        _assert_feasible(problem, found.chosen)
        assert found.value == pytest.approx(plan_value(problem, found.chosen), rel=1e-12)
        if found.bound > 1e-9:
            assert found.gap == pytest.approx(max(0.0, found.bound - found.value) / found.bound, abs=1e-12)
        reached.append(found.value / best if best > 0 else 1.0)
    assert len(reached) > 50
    assert np.mean(reached) >= 0.995


def test_the_bound_is_that_of_the_linear_relaxation() -> None:
    problem = large_problem(200, 1)
    found, relaxed = solve(problem), best_bound(problem)
    assert relaxed * (1 - 1e-9) <= found.bound <= relaxed * (1 + 1e-5)
    _assert_feasible(problem, found.chosen)


@pytest.mark.parametrize("several", [False, True])
def test_a_larger_plan_is_certified(several: bool) -> None:
    problem = large_problem(14_000 if several else 90_000, 2, several)
    found = solve(problem, threads=2, gap=1e-5)
    assert 0 <= found.gap <= (1e-4 if several else 1e-5)
    _assert_feasible(problem, found.chosen)
    prices = problem.limits.prices(found.dual, problem.groups)
    (said,) = found.priced
    assert (said == choose(problem.parts[0], problem.actions, prices, problem.most)).all()


def test_the_same_plan_whatever_the_threads() -> None:
    problem = large_problem(90_000, 6)
    one, two = solve(problem, threads=1, gap=1e-5), solve(problem, threads=2, gap=1e-5)
    assert one.bound == two.bound
    assert (one.chosen[0] == two.chosen[0]).all()


def test_parts_and_threads_change_nothing_that_matters() -> None:
    problem = large_problem(1500, 3)
    (whole,) = problem.parts
    cuts = [np.arange(0, 700), np.arange(700, 705), np.arange(705, 1500)]
    parted = replace(problem, parts=[whole.take(rows) for rows in cuts])
    one, other = solve(problem), solve(parted, threads=2)
    assert other.bound == pytest.approx(one.bound, rel=1e-6)
    assert np.concatenate(other.chosen, axis=1).shape == one.chosen[0].shape
    _assert_feasible(parted, other.chosen)
    again = solve(parted)
    assert all((a == b).all() for a, b in zip(again.chosen, other.chosen, strict=True))


def test_yesterdays_prices_save_passes() -> None:
    problem = large_problem(3000, 4)
    found = solve(problem)
    again = solve(problem, start=found.dual)
    assert again.passes < found.passes
    assert again.bound == pytest.approx(found.bound, rel=1e-6)


def test_more_budget_never_lowers_the_bound() -> None:
    problem = large_problem(500, 5)
    bounds = []
    for budget in (0.0, 10.0, 40.0, 90.0, 150.0, 1e6):
        limit = problem.limits.limit.copy()
        limit[0] = budget
        bounds.append(solve(replace(problem, limits=replace(problem.limits, limit=limit))).bound)
    assert all(more >= less * (1 - 1e-9) for less, more in zip(bounds[:-1], bounds[1:], strict=True))
    assert bounds[0] == pytest.approx(0, abs=1e-6)


def test_nothing_allowed_nothing_worth_it_or_no_budget_is_a_plan_of_nothing() -> None:
    actions = Actions(np.array([0, 1]), np.array([0, 0]))
    budget = Limits(("budget",), np.array([[1.0, 2.0]]), np.array([10.0]))
    none = Part(np.full((2, 5), -np.inf, np.float32))
    harmful = Part(np.full((2, 5), -3, np.float32))
    worthwhile = Part(np.full((2, 5), 3, np.float32))
    broke = replace(budget, limit=np.array([0.0]))
    for part, limits in ((none, budget), (harmful, budget), (worthwhile, broke)):
        found = solve(Problem(actions, limits, [part]))
        assert (found.chosen[0] == -1).all()
        assert found.value == 0
        assert found.bound == pytest.approx(0, abs=1e-6)


def test_a_minimum_volume_is_met_at_a_loss() -> None:
    actions = Actions(np.array([0, 1]), np.array([0, 1]))
    values = np.array([[-1, -2, -3, -4], [5, 5, 5, 5]], np.float32)
    limits = Limits(("at least", "calls"), np.array([[-1.0, 0.0], [0.0, 1.0]]), np.array([-2.0, 4.0]))
    found = solve(Problem(actions, limits, [Part(values)]))
    assert (found.chosen[0][0] == 0).sum() == 2
    assert found.value == 2 * 5 - (1 + 2)


def test_limits_that_cannot_all_hold_are_named_with_what_is_short() -> None:
    actions = Actions(np.array([0, 1]), np.array([0, 1]))
    limits = Limits(
        ("minimum of mortgages", "calls", "emails"),
        np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]),
        np.array([-50.0, 20.0, 100.0]),
    )
    values = np.ones((2, 200), np.float32)
    with pytest.raises(
        DataError, match=r"minimum of mortgages \(50\); calls \(20\): together at least 30 short"
    ) as told:
        solve(Problem(actions, limits, [Part(values)]))
    assert "emails" not in str(told.value)
    with pytest.raises(DataError, match="a limit below 0"):
        solve(Problem(actions, replace(limits, limit=np.array([-5.0, -1.0, 9.0])), [Part(values)]))


def test_what_does_not_fit_together_is_refused() -> None:
    actions = Actions(np.array([0, 1]), np.array([0, 1]))
    limits = Limits(("budget",), np.ones((1, 2)), np.array([3.0]), np.array([True]))
    with pytest.raises(ConfigError, match="own costs"):
        Problem(actions, limits, [Part(np.ones((2, 5), np.float32))])
    with pytest.raises(ConfigError, match="values of 3 actions"):
        Problem(actions, replace(limits, personal=np.array([False])), [Part(np.ones((3, 5), np.float32))])
    with pytest.raises(ConfigError, match="finite"):
        Limits(("budget",), np.ones((1, 2)), np.array([np.nan]))


def _assert_feasible(problem: Problem, chosen: tuple[np.ndarray, ...]) -> None:
    used = plan_use(problem, chosen)
    assert (used <= problem.limits.limit + 1e-8 * np.maximum(1, np.abs(problem.limits.limit))).all()
    for part, actions in zip(problem.parts, chosen, strict=True):
        most = np.full(len(part), problem.most) if part.most is None else part.most
        assert ((actions >= 0).sum(axis=0) <= most).all()
        place = np.arange(len(part))
        for row in actions:
            assert np.isfinite(part.values[np.maximum(row, 0), place][row >= 0]).all(), "an action that is not allowed"
        for side in (problem.actions.channel, problem.actions.product):
            taken = np.where(actions >= 0, side[actions], -1 - np.arange(len(actions))[:, None])
            ordered = np.sort(taken, axis=0)
            assert (ordered[1:] != ordered[:-1]).all(), "two of one channel or one product"
