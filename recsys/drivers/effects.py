"""Means under a treatment and their differences, from chances and predictions: doubly robust, clustered by customer."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from recsys.segment_cards.intervals import Z, wilson


@dataclass(frozen=True)
class Mean:
    """An estimated mean, and what each row adds to its error: the error is about the sum of `influence` [N]."""

    value: float
    influence: np.ndarray


@dataclass(frozen=True)
class Effect:
    """A difference of two means with its 95 % interval; `p` is two-sided, for no difference."""

    value: float
    low: float
    high: float
    p: float
    treated: float
    """Mean of the outcome had everybody been treated."""
    untreated: float
    """Mean of the outcome had nobody been."""
    rows: int

    @property
    def sign(self) -> int:
        """1 or -1 where the interval leaves out zero, else 0."""
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


def mean_had_all(
    outcome: np.ndarray,
    taken: np.ndarray,
    chance: np.ndarray,
    predicted: np.ndarray,
    stands_for: np.ndarray | None = None,
) -> Mean:
    """Mean outcome had all rows [n] been treated as those marked `taken`, each with its `chance` of that.

    Augmented inverse probability weighting with normalised weights: right where either the chances or the predictions
    are. Robins, Rotnitzky, Zhao, JASA 1994; Hájek's normalisation. `predicted` comes from models that never saw the
    row (Chernozhukov et al., Econometrics Journal 2018). `stands_for` [n] is how much each row counts in the mean, one
    if not given; with the chances of being contacted it is the mean of those who are contacted (Li, Morgan, Zaslavsky,
    JASA 2018).
    """
    counts = np.ones(len(outcome)) if stands_for is None else stands_for / stands_for.mean()
    weight = np.where(taken, counts / chance, 0.0)
    weight = weight / weight.mean()
    left = np.where(taken, outcome - predicted, 0.0)
    base, correction = float((counts * predicted).mean()), float((weight * left).mean())
    influence = (counts * (predicted - base) + weight * np.where(taken, left - correction, 0.0)) / len(outcome)
    return Mean(base + correction, influence)


def observed(outcome: np.ndarray, taken: np.ndarray) -> Mean:
    """The plain mean of the rows marked `taken`."""
    value = float(outcome[taken].mean())
    return Mean(value, np.where(taken, outcome - value, 0.0) / taken.sum())


def weighted(means: list[Mean], weights: list[float]) -> Mean:
    """A weighted sum of means over the same rows."""
    value = sum(weight * mean.value for mean, weight in zip(means, weights, strict=True))
    influence = np.sum([weight * mean.influence for mean, weight in zip(means, weights, strict=True)], axis=0)
    return Mean(value, influence)


def placed(mean: Mean, rows: np.ndarray, size: int) -> Mean:
    """A mean over some rows as one over `size` rows, to which the others add nothing."""
    influence = np.zeros(size)
    influence[rows] = mean.influence
    return Mean(mean.value, influence)


def difference(treated: Mean, untreated: Mean, customers: np.ndarray, shares: bool = True) -> Effect:
    """Treated less untreated. Rows of one customer (int [N]) count as one independent observation.

    For shares the interval joins Wilson's intervals of the two, each with the number of trials that has its standard
    error, and their correlation (Zou and Donner, Statistics in Medicine 2008): it does not fail where outcomes are
    rare. Otherwise it is the normal one.
    """
    value = treated.value - untreated.value
    sums = np.stack(
        [np.bincount(customers, weights=influence) for influence in (treated.influence, untreated.influence)]
    )
    groups = int((np.bincount(customers, weights=(treated.influence != 0) | (untreated.influence != 0)) > 0).sum())
    covariance = sums @ sums.T * groups / max(groups - 1, 1)
    error = float(np.sqrt(max(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], 0.0)))
    rows = len(treated.influence)
    p = float(2 * ndtr(-abs(value) / error)) if error > 0 else float("nan")
    if not error > 0:
        return Effect(value, float("nan"), float("nan"), p, treated.value, untreated.value, rows)
    low, high = value - Z * error, value + Z * error
    if shares and all(0 < mean.value < 1 for mean in (treated, untreated)):
        low, high = _joined(treated.value, untreated.value, covariance)
    return Effect(value, low, high, p, treated.value, untreated.value, rows)


def _joined(first: float, second: float, covariance: np.ndarray) -> tuple[float, float]:
    value = np.array([first, second])
    variance = np.maximum(np.diag(covariance), 1e-18)
    trials = value * (1 - value) / variance
    own = wilson(value * trials, trials)
    below, above = own.value - own.low, own.high - own.value
    correlation = float(np.clip(covariance[0, 1] / np.sqrt(variance.prod()), -1, 1))
    down = below[0] ** 2 + above[1] ** 2 - 2 * correlation * below[0] * above[1]
    up = above[0] ** 2 + below[1] ** 2 - 2 * correlation * above[0] * below[1]
    apart = first - second
    return float(apart - np.sqrt(max(down, 0.0))), float(apart + np.sqrt(max(up, 0.0)))


def e_value(effect: Effect) -> float | None:
    """How strongly an unseen cause would have to go with both, as a ratio of risks, to explain the interval away.

    VanderWeele and Ding, Annals of Internal Medicine 2017, for the limit of the interval nearer to none. 1 where the
    interval holds zero; None where no ratio can be made.
    """
    if effect.sign == 0:
        return 1.0
    limit = effect.low if effect.sign > 0 else effect.high
    with_it = effect.untreated + limit
    if not (0 < effect.untreated < 1 and with_it > 0):
        return None
    ratio = with_it / effect.untreated
    ratio = ratio if ratio > 1 else 1 / ratio
    return float(ratio + np.sqrt(ratio * (ratio - 1)))
