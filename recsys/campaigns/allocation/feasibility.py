"""Limits that cannot all hold: which ones, and by how much.

Only minimum volumes can be impossible: doing nothing keeps every other limit. The least by which they are missed is
max_λ -g(λ) of the problem without values, with prices of at most 1 on what is missed of a volume; the limits whose
price is then above 0 are those that stand against each other (Farkas).
"""

from dataclasses import replace

import numpy as np

from recsys.campaigns.allocation.cutting_planes import minimise
from recsys.campaigns.allocation.dual import Dual
from recsys.campaigns.allocation.problem import Part, Problem
from recsys.errors import DataError

ENOUGH = 1e-6
"""What is missed at least, relative to the volumes, for them to be called impossible."""
LARGE = 1e4
"""Prices of other limits, in volumes missed for a typical use, are looked for up to this."""


def check_feasible(problem: Problem, threads: int = 1) -> None:
    """DataError naming the limits that cannot all hold and by how much they are missed, if there are such."""
    limits = problem.limits
    asked = limits.limit < 0
    if not asked.any():
        return
    if impossible := [limits.names[j] for j in np.flatnonzero(asked) if (limits.use[j] >= 0).all()]:
        raise DataError(f"{', '.join(impossible)}: a limit below 0, which nothing can keep")
    short, against = least_short(problem, threads)
    if short > ENOUGH * float(-limits.limit[asked].sum()):
        named = "; ".join(f"{limits.names[j]} ({abs(limits.limit[j]):,.0f})" for j in np.flatnonzero(against))
        raise DataError(
            f"these cannot all hold: {named}: together at least {short:,.0f} short; ask for less of the minimum "
            "volumes, or allow more of the others"
        )


def least_short(problem: Problem, threads: int) -> tuple[float, np.ndarray]:
    """By how much minimum volumes are missed at least, all together, and bool [m] which limits stand against them."""
    limits = problem.limits
    asked = limits.limit < 0
    size = np.array([np.abs(row[row != 0]).mean() if row.any() else 1.0 for row in limits.use])
    blank = [_without_values(part) for part in problem.parts]
    dual = Dual(Problem(problem.actions, limits, blank, problem.most), threads)
    volume = float(-limits.limit[asked].sum())
    lowest, where = [0.0], [np.zeros(len(limits))]

    def at(point: np.ndarray) -> tuple[float, np.ndarray]:
        prices = np.where(asked, point, point / size)
        found = dual.at(prices)
        if found.bound < lowest[0]:
            lowest[0], where[0] = found.bound, point
        return found.bound / volume, found.slope(limits) / np.where(asked, 1.0, size) / volume

    upper = np.where(asked, 1.0, LARGE)
    minimise(at, np.zeros(len(limits)), 1.0, ENOUGH / 10, 200, upper=upper)
    return -lowest[0], where[0] > 1e-6


def _without_values(part: Part) -> Part:
    nothing = np.where(np.isfinite(part.values), np.float32(0), np.float32(-np.inf))
    return replace(part, values=nothing)
