"""A feasible plan and how near to the best it is: prices, what customers choose at them, repair, certificate."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.campaigns.allocation.dual import Point, tally
from recsys.campaigns.allocation.exchange import exchange
from recsys.campaigns.allocation.feasibility import check_feasible
from recsys.campaigns.allocation.moves import MARGIN, Core, balance, improve, repair
from recsys.campaigns.allocation.near_ties import accurate
from recsys.campaigns.allocation.prices_of import Search, joined
from recsys.campaigns.allocation.problem import Problem
from recsys.errors import DataError

GAP = 1e-6
"""The gap at which no more is tried."""
TRIES = 3
"""How often prices are made more accurate while the gap is larger."""

Said = Callable[[str], None]


@dataclass(frozen=True)
class Solution:
    """A plan that keeps every limit."""

    dual: np.ndarray
    """float64 [m]: the price of one more unit of each limit."""
    bound: float
    """No plan is worth more."""
    value: float
    chosen: tuple[np.ndarray, ...]
    """int16 [L, n] of each part: the actions of each customer, -1 where there are fewer."""
    priced: tuple[np.ndarray, ...]
    """int16 [L, n] of each part: what the prices alone say, before limits were kept to the last unit."""
    used: np.ndarray
    """float64 [m]."""
    passes: int

    @property
    def gap(self) -> float:
        """(bound - value) / bound: the plan is at most this share short of the best one."""
        short = self.bound - self.value
        return 0.0 if short <= 0 else float(short / abs(self.bound)) if self.bound else float("inf")


def solve(
    problem: Problem,
    *,
    threads: int = 1,
    start: np.ndarray | None = None,
    gap: float = GAP,
    said: Said = lambda _: None,
) -> Solution:
    """The best plan that was found and a bound that no plan passes.

    `start`: prices to begin with, such as yesterday's; `gap`: where to stop trying. Raises DataError naming the limits
    that cannot all hold, and by how much.
    """
    check_feasible(problem, threads)
    said("prices")
    search = Search(problem, threads, start)
    point = search.first(min(gap, GAP) / 3)
    best: Solution | None = None
    for attempt in range(TRIES):
        said("plan")
        found = rounded(problem, point, search, gap)
        if found is not None:
            best = _better(best, found)
        if best is not None and (best.gap <= gap or search.exact):
            break
        if attempt + 1 < TRIES:
            said("more accurate prices")
            point = search.further(min(gap, GAP) / 30, 40)
    if best is None:
        raise DataError("no plan was found that keeps all limits, though none is known to be impossible; widen them")
    return best


def _better(one: Solution | None, other: Solution) -> Solution:
    if one is None:
        return other
    bound, passes = min(one.bound, other.bound), other.passes
    kept = other if other.value > one.value else one
    return Solution(kept.dual, bound, kept.value, kept.chosen, kept.priced, kept.used, passes)


def rounded(problem: Problem, point: Point, search: Search, gap: float) -> Solution | None:
    """What customers choose at prices, repaired to keep the limits and improved; None where that does not succeed."""
    for wide in (1.0, 6.0, 36.0):
        point, rows = accurate(search, point, wide)
        chosen = [actions.copy() for actions in point.chosen]
        core = _core(problem, point, chosen, rows)
        balance(core)
        done = repair(core)
        if done or sum(map(len, rows)) >= problem.customers:
            break
    if not done:
        return None
    improve(core)
    _give_back(core, chosen, rows)
    value = plan_value(problem, chosen)
    if point.bound - value > gap * abs(point.bound):
        exchange(core, point.bound - value)
        _give_back(core, chosen, rows)
        value = plan_value(problem, chosen)
    used = plan_use(problem, chosen)
    room = problem.limits.limit + 2 * MARGIN * np.maximum(1.0, np.abs(problem.limits.limit))
    if (used > room).any():
        raise AssertionError(f"the plan passes {np.array(problem.limits.names)[used > room].tolist()}")
    return Solution(point.dual, point.bound, value, tuple(chosen), point.chosen, used, search.dual.passes)


def _core(problem: Problem, point: Point, chosen: Sequence[np.ndarray], rows: Sequence[np.ndarray]) -> Core:
    part = joined([part.take(r) for part, r in zip(problem.parts, rows, strict=True)])
    picked = np.concatenate([c[:, r] for c, r in zip(chosen, rows, strict=True)], axis=1)
    return Core(problem, part, picked, plan_use(problem, chosen), point.dual)


def _give_back(core: Core, chosen: Sequence[np.ndarray], rows: Sequence[np.ndarray]) -> None:
    start = 0
    for actions, here in zip(chosen, rows, strict=True):
        actions[:, here] = core.chosen[:, start : start + len(here)]
        start += len(here)


def plan_value(problem: Problem, chosen: Sequence[np.ndarray]) -> float:
    """What a plan is worth, added up in float64."""
    total = 0.0
    for part, actions in zip(problem.parts, chosen, strict=True):
        place = np.arange(len(part))
        for row in actions:
            worth = np.asarray(part.values)[np.maximum(row, 0), place].astype(np.float64)
            total += float(worth[row >= 0].sum())
    return total


def plan_use(problem: Problem, chosen: Sequence[np.ndarray]) -> np.ndarray:
    """float64 [m]: what a plan takes of every limit."""
    counts = np.zeros((problem.groups, len(problem.actions)))
    costs = np.zeros_like(counts)
    for part, actions in zip(problem.parts, chosen, strict=True):
        here, paid = tally((actions + 1).astype(np.uint16), part, slice(None), problem)
        counts += here
        costs += paid
    return problem.limits.used(counts, costs)
