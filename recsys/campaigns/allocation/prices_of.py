"""The prices at which the dual is lowest: first on a sample, then on all, few passes over whom are needed.

The sample is a model of how demand answers prices. Its limits are shifted until it takes, at the prices of the moment,
its share of what all customers take there; its lowest point is the next price to be tried on all (the idea of Shamir,
Srebro and Zhang, ICML 2014). Shifted limits add a linear term to the sample's dual, so its planes serve again.

What is left is small. Customers who would choose the same at all prices nearby add a constant and a linear term to the
dual, so its minimum nearby is found on the others alone, however accurately, and only then seen by all.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from recsys.campaigns.allocation.cutting_planes import Planes, minimise
from recsys.campaigns.allocation.dual import Dual, Point, tally
from recsys.campaigns.allocation.problem import Part, Problem

SAMPLE = 40_000
"""Customers of the sample."""
FIRST = 5_000
"""Customers of the sample on which a search begins that knows no prices."""
FEW = 2_000
"""Customers by whom the size of values is judged."""
ROUNDS = 6
"""The most shifts of the sample's limits."""
ENOUGH = 1e-5
"""Shifts end with one that lowers the bound by no more than this share; the next would by its square or so."""
LOCAL = 100
"""The most evaluations among the customers who would choose differently nearby."""
ACCURATE = 2e-8
"""What these leave of the bound."""
PASSES = 400
"""The most evaluations of a problem small enough to need no sample."""
SMALL_STEP = 0.02
"""Of the first box around prices that came from the sample, in mean values of a contact."""
FLOOR = -1e3
"""Below this (in mean values of a contact for each customer) the dual falls for ever: nothing is feasible."""


Function = Callable[[np.ndarray], tuple[float, np.ndarray]]


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
        """Prices whose bound is the lowest or, where a sample has shown the way, near it; to within `tolerance`."""
        problem, start = self.dual.problem, self._start
        if not len(problem.limits):
            self.exact = True
            return self.dual.at(np.zeros(0), exact=True)
        centre = np.zeros(len(problem.limits)) if start is None else np.maximum(start, 0.0) / self.scale.price
        if problem.customers <= 2 * SAMPLE:
            return self._cut(centre, 1.0 if start is None else 0.1, tolerance, PASSES)
        _by_sample(self.dual, self.scale, centre, start is None, self.planes, tolerance)
        return self._best()

    def nearby(self, point: Point, rows: Sequence[np.ndarray], step: float) -> Point:
        """The lowest point within about `step` of another, if all but `rows` of each part choose the same there."""
        problem = self.dual.problem
        part = joined([part.take(r) for part, r in zip(problem.parts, rows, strict=True)])
        few = replace(problem, parts=[part])
        codes = np.concatenate([c[:, r] for c, r in zip(point.chosen, rows, strict=True)], axis=1) + 1
        taken = problem.limits.used(*tally(codes.astype(np.uint16), part, slice(None), few))
        limits = replace(problem.limits, limit=problem.limits.limit - point.used + taken)
        local = Dual(replace(few, limits=limits), self.dual.threads)
        local.small = True
        at, reach = point.dual / self.scale.price, 3 * step
        tolerance = ACCURATE * abs(point.bound) / (self.scale.value * self.scale.count)
        function = self.scale.function(local)
        best, _ = minimise(function, at, step, tolerance, LOCAL, lower=np.maximum(at - reach, 0.0), upper=at + reach)
        found = self.dual.at(best * self.scale.price, exact=True)
        self._keep(found)
        return found if found.bound < point.bound else point

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

    def _keep(self, point: Point) -> None:
        unit = self.scale.value * self.scale.count
        slope = point.slope(self.dual.problem.limits) * self.scale.price / unit
        self.planes.add(point.dual / self.scale.price, point.bound / unit, slope)


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

    def function(self, dual: Dual, share: float = 1.0) -> Function:
        """The scaled dual and its subgradient; of a sample that is `share` of all."""
        unit = self.value * self.count * share

        def at(point: np.ndarray) -> tuple[float, np.ndarray]:
            found = dual.at(point * self.price)
            return found.bound / unit, found.slope(dual.problem.limits) * self.price / unit

        return at


class _Sample:
    """The dual of a sample, with everything that was seen of it."""

    def __init__(self, dual: Dual, scale: _Scale, count: int) -> None:
        problem = dual.problem
        part, share = sample_of(problem, count)
        limits = replace(problem.limits, limit=problem.limits.limit * share)
        small = Dual(replace(problem, limits=limits, parts=[part]), dual.threads)
        small.small = False
        self._function, self._seen = scale.function(small, share), Planes()

    def at(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """The scaled dual of the sample and its subgradient."""
        value, slope = self._function(point)
        self._seen.add(point, value, slope)
        return value, slope

    def lowest(self, shift: np.ndarray, centre: np.ndarray, radius: float, tolerance: float, passes: int) -> np.ndarray:
        """Where the sample's dual with `shift` added to its slope is lowest."""
        seen = self._seen
        values = [value + float(shift @ point) for value, point in zip(seen.values, seen.points, strict=True)]
        planes = Planes(list(seen.points), values, [slope + shift for slope in seen.slopes])

        def shifted(point: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = self.at(point)
            return value + float(shift @ point), slope + shift

        best, _ = minimise(shifted, centre, radius, tolerance, passes, planes)
        return best


def _by_sample(dual: Dual, scale: _Scale, centre: np.ndarray, cold: bool, planes: Planes, tolerance: float) -> None:
    """Add planes at prices that the sample proposes; `cold` begins on samples, without a pass over all."""
    sample, none = _Sample(dual, scale, SAMPLE), np.zeros(len(centre))
    if cold:
        centre = _Sample(dual, scale, FIRST).lowest(none, centre, 1.0, 1e-4, 80)
        centre = sample.lowest(none, centre, 0.1, 1e-5, 80)
    best, whole = np.inf, scale.function(dual)
    for turn in range(ROUNDS):
        value, slope = whole(centre)
        planes.add(centre, value, slope)
        gained, best = best - value, min(best, value)
        if gained <= ENOUGH * abs(best):
            break
        shift = slope - sample.at(centre)[1]
        small = max(tolerance, 10.0 ** -(5 + turn)) * abs(best)
        centre = sample.lowest(shift, centre, 0.2 * 0.5**turn, small, 60)


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
