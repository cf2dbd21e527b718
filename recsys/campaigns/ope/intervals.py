"""Intervals of off-policy estimates: by the influence function, and by resampling customers with normalisation anew."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from recsys.bootstrap import block_of, resampling_weights
from recsys.campaigns.ope.estimators import Terms
from recsys.campaigns.ope.log import Floats, Ints


@dataclass(frozen=True)
class Estimate:
    """A value with two intervals, all in the unit of the reward."""

    value: float
    low: float
    high: float
    bootstrap_low: float
    bootstrap_high: float
    error: float
    """Standard error by the influence function."""
    tuned: float | None = None


def influence(terms: Terms) -> Floats:
    """What each decision moves the estimate by, times N: (numerator - value × denominator) / mean denominator, [N].

    For SNIPS this is w (r - V) / mean w, the delta method (Owen 2013, Monte Carlo theory, equation 9.8); where the
    denominator is 1 it is the term less its mean.
    """
    moved: Floats = (terms.numerator - terms.value * terms.denominator) / terms.denominator.mean()
    return moved


def standard_error(moved: Floats, customer: Ints) -> float:
    """Standard error of a mean of `moved` [N] whose rows are independent between customers; inf for one customer."""
    sums = np.bincount(customer, weights=moved)
    count = len(sums)
    if count < 2:
        return float("inf")
    return float(np.sqrt((sums**2).sum() * count / (count - 1)) / len(moved))


def with_intervals(
    terms: Mapping[str, Terms], customer: Ints, samples: int = 1000, seed: int = 0, level: float = 0.95
) -> dict[str, Estimate]:
    """Each estimator's value and intervals at `level`; every estimator sees the same resamples of customers.

    The reward model is not fitted again and τ and λ are not chosen again in a resample, so the interval of DM tells of
    the decisions only, not of what the model gets wrong; those of Switch-DR and DRos leave their bias out.
    """
    z = NormalDist().inv_cdf(0.5 + level / 2)
    drawn = _resampled(terms, customer, samples, seed)
    told = {}
    for name, of in terms.items():
        error = standard_error(influence(of), customer)
        low, high = np.quantile(drawn[name], [(1 - level) / 2, (1 + level) / 2])
        value = of.value
        told[name] = Estimate(value, value - z * error, value + z * error, float(low), float(high), error, of.tuned)
    return told


def difference(a: Terms, b: Terms, customer: Ints, level: float = 0.95) -> Estimate:
    """The value of `a` less that of `b` on the same decisions, paired: what both owe to the same customers cancels.

    The bootstrap bounds repeat the influence function's, since neither side is resampled.
    """
    z = NormalDist().inv_cdf(0.5 + level / 2)
    value, error = a.value - b.value, standard_error(influence(a) - influence(b), customer)
    return Estimate(value, value - z * error, value + z * error, value - z * error, value + z * error, error)


def _resampled(terms: Mapping[str, Terms], customer: Ints, samples: int, seed: int) -> dict[str, Floats]:
    """Values of each estimator over resamples of customers, [samples]; a resample without weight counts as 0."""
    unit = block_of(int(customer.max()) + 1)[customer]
    columns = [part for of in terms.values() for part in (of.numerator, of.denominator)]
    brought = np.stack([np.bincount(unit, weights=column) for column in columns], axis=1)
    rng = np.random.default_rng(seed)
    totals = np.concatenate([weights @ brought for weights in resampling_weights(len(brought), samples, rng)])
    above, below = totals[:, 0::2], totals[:, 1::2]
    values = np.divide(above, below, out=np.zeros_like(above), where=below != 0)
    return {name: values[:, place] for place, name in enumerate(terms)}
