"""Qini and uplift curves of a ranking by expected effect, with bands that resample within the arms.

Contacted T and not contacted C weigh w = 1 / probability of the arm that was drawn. Going down the ranking, at the
share φ of the weight:

    Q(φ) = Y_T(φ) - Y_C(φ) · N_T(φ) / N_C(φ),    U(φ) = φ · (Y_T(φ) / N_T(φ) - Y_C(φ) / N_C(φ))

Y are sums of w · outcome, N sums of w; points are taken where the score changes, so ties have no order. With equal
probabilities in each arm this is the plain Qini curve of Radcliffe (2007).
"""

from dataclasses import dataclass

import numpy as np

from recsys.bootstrap import Interval
from recsys.errors import DataError

QINI = "Qini = ∫ [Q(φ) - φ·Q(1)] dφ / N_T, φ from 0 to 1, Q(φ) = Y_T - Y_C·N_T/N_C"
"""The form that is reported: raw, per contacted customer. Not scikit-uplift's, which divides by a perfect curve, and
not CausalML's, which scales the curve to end at 1."""
AUUC = "AUUC = ∫ U(φ) dφ, U(φ) = φ·(Y_T/N_T - Y_C/N_C)"
GRID = 101
"""Points of a stored curve, φ from 0 to 1."""
LEVEL = 0.95


@dataclass(frozen=True)
class Compared:
    """Units that had one action, and units that might have had it and had none: M of them."""

    outcome: np.ndarray
    """float64 [M], 0 or 1."""
    treated: np.ndarray
    """bool [M]."""
    weight: np.ndarray
    """float64 [M] 1 / probability of the arm that was drawn."""
    customer: np.ndarray
    """int64 [M] who; a customer may have several units."""

    def __post_init__(self) -> None:
        if not self.treated.any() or self.treated.all():
            raise DataError("uplift: units that were contacted and units that were not are both needed to compare")

    def __len__(self) -> int:
        return len(self.outcome)

    def where(self, chosen: np.ndarray) -> "Compared":
        """Some of the units."""
        return Compared(self.outcome[chosen], self.treated[chosen], self.weight[chosen], self.customer[chosen])


@dataclass(frozen=True)
class Curve:
    """A ranking's curve on the grid, and what it comes to, with percentile intervals."""

    qini: Interval
    auuc: Interval
    value: np.ndarray
    """float64 [GRID] Q(φ) / N_T."""
    low: np.ndarray
    high: np.ndarray
    gains: dict[float, Interval]
    """Share targeted → U(share) - share · U(1): outcomes gained per customer beyond targeting as many at random."""


def curve(
    score: np.ndarray,
    compared: Compared,
    samples: int = 500,
    seed: int = 0,
    shares: tuple[float, ...] = (0.1, 0.2, 0.3, 0.5),
) -> Curve:
    """The curve of `score` [M], higher first, and its bootstrap.

    Customers with one unit each are resampled within the arms (stratified); otherwise whole customers are.
    """
    ranked = _Ranked.of(score, compared)
    exact = ranked.measured(np.ones(len(compared)), shares)
    draws = np.random.default_rng(seed)
    drawn = np.stack([ranked.measured(counts, shares) for counts in _resamples(compared, samples, draws)])
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.nanpercentile(drawn, [tail, 100 - tail], axis=0)
    found = [Interval(float(v), float(a), float(b)) for v, a, b in zip(exact, low, high, strict=True)]
    first = 2 + len(shares)
    return Curve(
        qini=found[0],
        auuc=found[1],
        value=exact[first:],
        low=low[first:],
        high=high[first:],
        gains=dict(zip(shares, found[2:first], strict=True)),
    )


def qini(score: np.ndarray, compared: Compared) -> float:
    """The Qini coefficient alone."""
    return float(_Ranked.of(score, compared).measured(np.ones(len(compared)), ())[0])


@dataclass(frozen=True)
class _Ranked:
    """Units in order of their score, with the first of each run of equal scores."""

    order: np.ndarray
    starts: np.ndarray
    sums: np.ndarray
    """float64 [4, M] weight and weight · outcome of contacted, then of not contacted, in order."""

    @classmethod
    def of(cls, score: np.ndarray, compared: Compared) -> "_Ranked":
        order = np.argsort(-score, kind="stable")
        ordered = score[order]
        starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        weight, treated = compared.weight[order], compared.treated[order]
        won = weight * compared.outcome[order]
        return cls(order, starts, np.stack([weight * treated, won * treated, weight * ~treated, won * ~treated]))

    def measured(self, counts: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
        """Qini, AUUC, the gain at each share, then Q / N_T on the grid; units count as often as `counts` [M] says."""
        steps = np.add.reduceat(self.sums * counts[self.order], self.starts, axis=1)
        size_t, won_t, size_c, won_c = np.pad(np.cumsum(steps, axis=1), ((0, 0), (1, 0)))
        if size_t[-1] == 0 or size_c[-1] == 0:
            return np.full(2 + len(shares) + GRID, np.nan)
        share = (size_t + size_c) / (size_t[-1] + size_c[-1])
        rate_c = np.divide(won_c, size_c, out=np.zeros_like(won_c), where=size_c > 0)
        rate_t = np.divide(won_t, size_t, out=np.zeros_like(won_t), where=size_t > 0)
        gained = (won_t - rate_c * size_t) / size_t[-1]
        uplift = share * (rate_t - rate_c)
        above = np.trapezoid(gained, share) - gained[-1] / 2
        beyond = np.interp(shares, share, uplift) - np.array(shares) * uplift[-1]
        grid = np.interp(np.linspace(0, 1, GRID), share, gained)
        return np.concatenate([[above, np.trapezoid(uplift, share)], beyond, grid])


def _resamples(compared: Compared, samples: int, draws: np.random.Generator) -> "list[np.ndarray]":
    """How often each unit is drawn, float64 [M], for every sample."""
    people, place = np.unique(compared.customer, return_inverse=True)
    if len(people) < len(compared):
        return [_counts(len(people), draws)[place] for _ in range(samples)]
    found = []
    arms = [np.flatnonzero(compared.treated), np.flatnonzero(~compared.treated)]
    for _ in range(samples):
        counts = np.empty(len(compared))
        for rows in arms:
            counts[rows] = _counts(len(rows), draws)
        found.append(counts)
    return found


def _counts(size: int, draws: np.random.Generator) -> np.ndarray:
    return np.bincount(draws.integers(0, size, size), minlength=size).astype(np.float64)
