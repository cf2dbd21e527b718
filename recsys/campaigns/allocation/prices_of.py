"""The prices at which the dual is lowest: first on a sample, then on all, few passes over whom are needed.

The sample is a model of how demand answers prices. Its limits are shifted until it takes, at the prices of the moment,
its share of what all customers take there; its lowest point is the next price to be tried on all (the idea of Shamir,
Srebro and Zhang, ICML 2014). Cutting planes on all customers then close what is left, or say that nothing is.
"""

from dataclasses import replace

import numpy as np

from recsys.campaigns.allocation.cutting_planes import Planes, minimise
from recsys.campaigns.allocation.dual import Dual, Point
from recsys.campaigns.allocation.problem import Part, Problem

SAMPLE = 40_000
"""Customers of the sample."""
FEW = 2_000
"""Customers by whom the size of values is judged."""
ROUNDS = 8
"""The most shifts of the sample's limits."""
PASSES = 400
"""The most evaluations of a problem small enough to need no sample."""
SMALL_STEP = 0.02
"""Of the first box around prices that came from the sample, in mean values of a contact."""
FLOOR = -1e3
"""Below this (in mean values of a contact for each customer) the dual falls for ever: nothing is feasible."""


class Search:
    """A search for the lowest bound that can be taken up again for more accuracy."""

    def __init__(self, problem: Problem, threads: int = 1, start: np.ndarray | None = None) -> None:
        """`start`: prices float64 [m] to begin with, such as yesterday's."""
        self.dual = Dual(problem, threads)
        self.planes = Planes()
        self.scale = _Scale(self.dual)
        self.exact = False
        """Whether cutting planes on all customers have said that no more can be gained."""
        self._start = start

    def first(self, tolerance: float) -> Point:
        """Prices whose bound is the lowest or, where a sample has shown the way, within about `tolerance` of it."""
        problem, start = self.dual.problem, self._start
        if not len(problem.limits):
            self.exact = True
            return self.dual.at(np.zeros(0), exact=True)
        centre = np.zeros(len(problem.limits)) if start is None else np.maximum(start, 0.0) / self.scale.price
        if problem.customers <= 2 * SAMPLE:
            return self._cut(centre, 1.0 if start is None else 0.1, tolerance, PASSES)
        _by_sample(self.dual, self.scale, centre, start is None, self.planes, tolerance)
        return self._best()

    def further(self, tolerance: float, passes: int) -> Point:
        """Cutting planes on all customers, from where the search stands."""
        return self._cut(np.zeros(0), SMALL_STEP, tolerance, passes)

    def _cut(self, start: np.ndarray, radius: float, tolerance: float, passes: int) -> Point:
        small = tolerance * max(abs(min(self.planes.values, default=1.0)), 1e-3)
        before = self.dual.passes
        minimise(self.scale.function(self.dual), start, radius, small, passes, self.planes, stop_below=FLOOR)
        self.exact = self.dual.passes - before < passes
        return self._best()

    def _best(self) -> Point:
        best = self.planes.points[int(np.argmin(self.planes.values))]
        return self.dual.at(best * self.scale.price, exact=True)


class _Scale:
    """Prices in units in which 1 is much and 0.01 little, and the dual by customer."""

    def __init__(self, dual: Dual) -> None:
        limits = dual.problem.limits
        part, _ = sample_of(dual.problem, FEW)
        few = Dual(Problem(dual.problem.actions, limits, [part], dual.problem.most))
        value = few.at(np.zeros(len(limits))).bound / max(1, len(part))
        cost = _mean_cost(dual.problem) if limits.personal.any() else 1.0
        self.value = value if value > 0 else _size_of_values(dual.problem)
        size = np.array([np.abs(row[row != 0]).mean() if row.any() else 1.0 for row in limits.use])
        self.price = self.value / (size * np.where(limits.personal, cost, 1.0))
        self.count = max(1, dual.problem.customers)

    def function(self, dual: Dual, shift: np.ndarray | None = None, share: float = 1.0):  # type: ignore[no-untyped-def]
        """The scaled dual and its subgradient; of a sample that is `share` of all, with its limits shifted."""
        count = self.count * share

        def at(point: np.ndarray) -> tuple[float, np.ndarray]:
            prices = point * self.price
            found = dual.at(prices)
            slope, value = found.slope(dual.problem.limits), found.bound
            if shift is not None:
                slope, value = slope + shift, value + float(shift @ prices)
            return value / (self.value * count), slope * self.price / (self.value * count)

        return at


def _by_sample(dual: Dual, scale: _Scale, centre: np.ndarray, cold: bool, planes: Planes, tolerance: float) -> None:
    """Add planes at prices that the sample proposes; `cold` begins on the sample, without a pass over all."""
    problem = dual.problem
    part, share = sample_of(problem, SAMPLE)
    limits = replace(problem.limits, limit=problem.limits.limit * share)
    small = Dual(Problem(problem.actions, limits, [part], problem.most), dual.threads)
    small.small = False
    if cold:
        centre, _ = minimise(scale.function(small, share=share), centre, 1.0, 1e-5, 100)
    best, radius = np.inf, 0.2
    whole = scale.function(dual)
    for _ in range(ROUNDS):
        value, slope = whole(centre)
        planes.add(centre, value, slope)
        gained, best = best - value, min(best, value)
        if gained <= tolerance * abs(best):
            break
        there = small.at(centre * scale.price).slope(limits)
        shift = slope * scale.value * scale.count * share / scale.price - there
        own = scale.function(small, shift, share)
        centre, _ = minimise(own, centre, radius, tolerance * abs(best), 60)
        radius *= 0.5


def sample_of(problem: Problem, count: int) -> tuple[Part, float]:
    """Every so many-th customer, in memory, and which share of all they are."""
    step = max(1, problem.customers // count)
    offset, taken = 0, []
    for part in problem.parts:
        rows = np.arange(-offset % step, len(part), step)
        taken.append(part.take(rows))
        offset = (offset + len(part)) % step
    return joined(taken), sum(map(len, taken)) / problem.customers


def joined(parts: list[Part]) -> Part:
    """Several parts as one, in memory."""
    first = parts[0]
    return Part(
        np.concatenate([part.values for part in parts], axis=1),
        None if first.costs is None else np.concatenate([part.costs for part in parts if part.costs is not None], 1),
        None if first.group is None else np.concatenate([part.group for part in parts if part.group is not None]),
        None if first.most is None else np.concatenate([part.most for part in parts if part.most is not None]),
    )


def _mean_cost(problem: Problem) -> float:
    part, _ = sample_of(problem, FEW)
    found = np.abs(np.asarray(part.costs, dtype=np.float64)[np.isfinite(part.values)])
    return float(found.mean()) or 1.0 if found.size else 1.0


def _size_of_values(problem: Problem) -> float:
    part, _ = sample_of(problem, FEW)
    found = np.abs(np.asarray(part.values, dtype=np.float64)[np.isfinite(part.values)])
    return float(found.mean()) or 1.0 if found.size else 1.0
