"""The dual function: what customers would take at given prices, summed over all of them; an upper bound for any plan.

g(λ) = b'λ + Σ_i max_{x ∈ C_i} Σ_k (v_ik - a_ik'λ) x_ik ≥ every feasible plan's value, for every λ ≥ 0; b less what is
taken is a subgradient.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from recsys.campaigns.allocation.choice import CHUNK, Best, best_actions
from recsys.campaigns.allocation.matching import sides_of
from recsys.campaigns.allocation.problem import Limits, Part, Prices, Problem, price_row

SMALL = 1 << 21
"""Up to so many values every evaluation is in float64; above, all but the certificate's are in float32."""


@dataclass(frozen=True)
class Point:
    """The dual at some prices."""

    dual: np.ndarray
    """float64 [m]: the prices."""
    bound: float
    """g(λ); if `exact` with what rounding may have taken from it added."""
    used: np.ndarray
    """float64 [m]: what the customers would take."""
    chosen: tuple[np.ndarray, ...] = ()
    """If `exact`, int16 [L, n] of each part: what `choose` says at these prices."""

    def slope(self, limits: Limits) -> np.ndarray:
        """float64 [m]: a subgradient."""
        return np.asarray(limits.limit - self.used)


class Dual:
    """Evaluates the dual of a problem, chunk by chunk on `threads`; the same number whatever their number is."""

    def __init__(self, problem: Problem, threads: int = 1) -> None:
        self.problem = problem
        self.threads = threads
        self.passes = 0
        self.small = problem.customers * len(problem.actions) <= SMALL

    def at(self, dual: np.ndarray, exact: bool = False) -> Point:
        """The dual at prices float64 [m] ≥ 0; `exact` in float64, from above."""
        self.passes += 1
        problem, limits = self.problem, self.problem.limits
        prices = limits.prices(dual, problem.groups)
        dtype = np.float64 if exact or self.small else np.float32
        rough = dtype is np.float32 and problem.most > 1  # worths are then less accurate than what was chosen by them
        counts = np.zeros((problem.groups, len(problem.actions)))
        costs, worth = np.zeros_like(counts), 0.0
        codes = {id(part): np.empty((problem.most, len(part)), np.int16) for part in problem.parts} if exact else {}
        for best, part, rows in self.each(prices, dtype):
            worth += brought(best.codes, part, rows) if rough else float(best.worth.sum(dtype=np.float64))
            here, paid = tally(best.codes, part, rows, problem)
            counts += here
            costs += paid
            if exact:
                codes[id(part)][:, rows] = best.codes.astype(np.int16) - 1
        used = limits.used(counts, costs)
        if rough:
            return Point(dual, worth + float((limits.limit - used) @ dual), used)
        bound = float(limits.limit @ dual) + worth
        if exact:
            bound += self._rounding(dual, worth, counts, costs, prices)
        return Point(dual, bound, used, tuple(codes[id(part)] for part in problem.parts) if exact else ())

    def each(self, prices: Prices, dtype: type) -> Iterator[tuple[Best, Part, slice]]:
        """Every chunk's best sets of actions, in order."""
        problem = self.problem
        chunks = [
            (part, slice(start, min(len(part), start + CHUNK)))
            for part in problem.parts
            for start in range(0, len(part), CHUNK)
        ]

        def work(chunk: tuple[Part, slice]) -> tuple[Best, Part, slice]:
            part, rows = chunk
            return best_actions(part, rows, problem.actions, prices, problem.most, dtype), part, rows

        if self.threads > 1 and len(chunks) > 1:
            with ThreadPoolExecutor(self.threads) as workers:
                yield from workers.map(work, chunks)
        else:
            yield from map(work, chunks)

    def _rounding(self, dual: np.ndarray, worth: float, counts: np.ndarray, costs: np.ndarray, prices: Prices) -> float:
        """What float64 can have lost: a few units in the last place of everything that was added up, and the last bits
        of worths that say which action they are of."""
        added = worth + float(np.abs(self.problem.limits.limit) @ dual)
        added += float((counts * np.abs(prices.contact)).sum() + (costs * np.abs(prices.money)).sum())
        actions = self.problem.actions
        last = 1 << sides_of(actions.channel, actions.product).bits if self.problem.most > 1 else 0
        return (128 + last) * float(np.finfo(np.float64).eps) * added


def brought(codes: np.ndarray, part: Part, rows: slice) -> float:
    """The values of what codes uint16 [L, n] (0 for none) choose, added up."""
    values, place, total = part.values[:, rows], np.arange(codes.shape[1]), 0.0
    for code in codes.astype(np.intp):
        total += float(values[np.maximum(code, 1) - 1, place].sum(where=code > 0, dtype=np.float64))
    return total


def tally(codes: np.ndarray, part: Part, rows: slice, problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Contacts, float64 [G, K], and their own costs, float64 [G, K], of codes uint16 [L, n] (0 for none)."""
    width, groups = len(problem.actions) + 1, problem.groups
    index = codes.astype(np.intp)
    of = index
    if part.group is not None and groups > 1:
        of = index + width * price_row(np.asarray(part.group[rows]), groups)
    counts = np.bincount(of.ravel(), minlength=groups * width).astype(np.float64)
    costs = np.zeros(groups * width)
    if part.costs is not None and problem.limits.personal.any():
        flat = part.costs[:, rows]
        place = np.arange(index.shape[1])
        for row, at in zip(of, index, strict=True):
            paid = flat[np.maximum(at, 1) - 1, place]
            costs += np.bincount(row, weights=paid, minlength=groups * width)
    return counts.reshape(groups, width)[:, 1:], costs.reshape(groups, width)[:, 1:]
