"""The customers who would choose differently at slightly other prices: those whom it costs least to move."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from recsys.campaigns.allocation.dual import Dual, Point
from recsys.campaigns.allocation.prices_of import SAMPLE, Search, sample_of
from recsys.campaigns.allocation.problem import Problem

ALL = 12_000
"""Up to so many customers all of them are taken."""
WANTED = 4_000
"""About how many are looked for."""
MANY = 5
"""How many times as many there are around prices that are to become more accurate."""
TURNS = 3
"""How often such are looked for around new prices."""
STEP = 1e-3
"""The first change of prices, in mean values of a contact."""
TRIALS = 3
"""Changes of prices in random directions, besides the one that what is over or left calls for."""


def accurate(search: Search, point: Point, wide: float) -> tuple[Point, list[np.ndarray]]:
    """The lowest point near another, and rows of each part, ascending, of about `WANTED` times `wide` customers who
    would choose differently near it; all of them in a small problem."""
    problem, threads, scale = search.dual.problem, search.dual.threads, search.scale.price
    if problem.customers <= ALL or not len(problem.limits):
        return point, [np.arange(len(part) if len(problem.limits) else 0) for part in problem.parts]
    for _ in range(TURNS):
        many, step = near_ties(problem, point, scale, threads, MANY * wide)
        before, point = point, search.nearby(point, many, step)
        if (np.abs(point.dual - before.dual) <= 2 * step * scale).all():
            break
    among = replace(problem, parts=[part.take(r) for part, r in zip(problem.parts, many, strict=True)])
    few, _ = near_ties(among, point, scale, threads, wide)
    return point, [r[f] for r, f in zip(many, few, strict=True)]


def near_ties(
    problem: Problem, point: Point, scale: np.ndarray, threads: int, wide: float
) -> tuple[list[np.ndarray], float]:
    """Rows of each part, ascending, about `WANTED` times `wide`, and by how much prices were changed to find them.

    `scale`: a contact's prices [m], in which changes are measured. How large they have to be is tried on a sample.
    """
    random, wanted = np.random.default_rng(0), min(WANTED * wide, 0.5 * problem.customers)
    ways = [np.sign(point.used - problem.limits.limit)]
    ways += [random.choice([-1.0, 1.0], len(scale)) for _ in range(TRIALS)]
    part, share = sample_of(problem, SAMPLE)
    sample, step = Dual(replace(problem, parts=[part]), threads), STEP
    sample.small = False
    for _ in range(8):
        count = sum(map(len, _changing(sample, point.dual, [step * scale * way for way in ways]))) / share
        if 0.5 <= count / wanted <= 2 or (count < wanted and step > 1):
            break
        step *= float(np.clip(wanted / max(count, 1), 0.1, 10))
    return _changing(Dual(problem, threads), point.dual, [step * scale * way for way in ways]), step


def _changing(dual: Dual, at: np.ndarray, changes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Rows of each part of the customers whose choice is not the same at all of these prices."""
    problem = dual.problem
    name = np.random.default_rng(1).integers(1, 1 << 62, len(problem.actions) + 1)
    name[0] = 0  # a set's name is the sum of its actions', so that their order does not matter
    flags = [np.zeros(len(part), dtype=bool) for part in problem.parts]
    now = [np.zeros(len(part), dtype=np.int64) for part in problem.parts]
    place = {id(part): i for i, part in enumerate(problem.parts)}
    for number, change in enumerate([np.zeros(len(at)), *changes]):
        prices = problem.limits.prices(np.maximum(at + change, 0.0), problem.groups)
        for best, part, rows in dual.each(prices, np.float32):
            i = place[id(part)]
            other = sum((name[code] for code in best.codes[1:]), name[best.codes[0]])
            if number == 0:
                now[i][rows] = other
            else:
                flags[i][rows] |= other != now[i][rows]
    return [np.flatnonzero(flag) for flag in flags]
