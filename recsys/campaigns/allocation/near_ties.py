"""The customers who would choose differently at slightly other prices: those whom it costs least to move."""

from collections.abc import Sequence

import numpy as np

from recsys.campaigns.allocation.dual import Dual, Point
from recsys.campaigns.allocation.problem import Problem

ALL = 12_000
"""Up to so many customers all of them are taken."""
FEWEST, MOST = 2_000, 24_000
"""How many are looked for."""
STEP = 1e-3
"""The first change of prices, in mean values of a contact."""
TRIALS = 5
"""Changes of prices in random directions, besides the one that what is over or left calls for."""


def near_ties(
    problem: Problem, point: Point, scale: np.ndarray, chosen: Sequence[np.ndarray], threads: int, wide: float
) -> list[np.ndarray]:
    """Rows of each part, ascending; `wide` times as many where too few were found. `scale`: a contact's prices [m]."""
    if problem.customers <= ALL or not len(problem.limits):
        return [np.arange(len(part) if len(problem.limits) else 0) for part in problem.parts]
    random = np.random.default_rng(0)
    ways = [np.sign(point.used - problem.limits.limit)]
    ways += [random.choice([-1.0, 1.0], len(scale)) for _ in range(TRIALS)]
    step, fewest, most = STEP, FEWEST * wide, MOST * wide
    for _ in range(6):
        found = _changing(problem, point, [step * scale * way for way in ways], chosen, threads)
        count = sum(map(len, found))
        if fewest <= count <= most or (count < fewest and step > 1):
            break
        step *= 4.0 if count < fewest else 0.3
    return found


def _changing(
    problem: Problem, point: Point, changes: Sequence[np.ndarray], chosen: Sequence[np.ndarray], threads: int
) -> list[np.ndarray]:
    flags = [np.zeros(len(part), dtype=bool) for part in problem.parts]
    place = {id(part): i for i, part in enumerate(problem.parts)}
    now = [np.sort(actions + 1, axis=0) for actions in chosen]
    dual = Dual(problem, threads)
    for change in changes:
        prices = problem.limits.prices(np.maximum(point.dual + change, 0.0), problem.groups)
        for best, part, rows in dual.each(prices, np.float32):
            i = place[id(part)]
            other = np.sort(best.codes, axis=0) if len(best.codes) > 1 else best.codes
            flags[i][rows] |= (other != now[i][:, rows]).any(axis=0)
    return [np.flatnonzero(flag) for flag in flags]
