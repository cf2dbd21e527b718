"""Are predicted purchases and amounts right? Deciles of customers, and how well they are put in order.

Wang, Liu, Miao: A Deep Probabilistic Model for Customer Lifetime Value Prediction (2019) recommend both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from recsys.bootstrap import Interval, resampling_weights


@dataclass(frozen=True)
class Decile:
    """Customers with predictions near each other."""

    customers: int
    predicted: float
    """Mean."""
    actual: float
    """Mean."""
    low: float
    """Of the interval of the actual mean in which all deciles lie together 19 times of 20."""
    high: float

    @property
    def inside(self) -> bool:
        return self.low <= self.predicted <= self.high


def deciles(predicted: np.ndarray, actual: np.ndarray, parts: int = 10) -> list[Decile]:
    """Customers [N] in order of prediction, in up to ten parts; equal predictions stay together.

    The intervals are joint (Bonferroni over the parts), from the customers' own spread: predictions inside all of them
    are compatible with the actual means.
    """
    order, first, size = np.unique(predicted, return_inverse=True, return_counts=True)[0:3]
    middle = np.cumsum(size) - size / 2
    place = np.minimum((middle * parts / len(predicted)).astype(int), parts - 1)[first.reshape(-1)]
    found = [np.flatnonzero(place == part) for part in range(parts)]
    found = [rows for rows in found if len(rows) > 1]
    wide = float(ndtri(1 - 0.025 / max(len(found), 1)))
    told = []
    for rows in found:
        mean = float(actual[rows].mean())
        half = wide * float(actual[rows].std(ddof=1)) / np.sqrt(len(rows))
        told.append(Decile(len(rows), float(predicted[rows].mean()), mean, mean - half, mean + half))
    return told


def normalised_gini(
    predictions: Mapping[str, np.ndarray],
    actual: np.ndarray,
    pairs: Sequence[tuple[str, str]] = (),
    samples: int = 200,
    seed: int = 0,
) -> dict[str, Interval]:
    """How well each prediction [N] orders customers by what they brought [N]: 1 as well as can be, 0 like chance.

    The area between the curve of gains and the diagonal, over the same area of the right order; customers with equal
    predictions count as in random order. Percentile intervals over customers; `A − B` for each of `pairs`, from the
    same resamples. Empty where nobody brought anything.
    """
    if actual.sum() <= 0:
        return {}
    orders = {name: np.unique(-values, return_inverse=True)[1].reshape(-1) for name, values in predictions.items()}
    best = np.unique(-actual, return_inverse=True)[1].reshape(-1)
    weights = [np.ones((1, len(actual)))]
    weights += list(resampling_weights(len(actual), samples, np.random.default_rng(seed)))
    drawn: dict[str, list[float]] = {name: [] for name in orders}
    for part in weights:
        for row in part:
            right = _area(best, row, actual)
            for name, order in orders.items():
                drawn[name].append(_area(order, row, actual) / right if right > 0 else 0.0)
    found = {name: np.array(values) for name, values in drawn.items()}
    found |= {f"{a} − {b}": found[a] - found[b] for a, b in pairs}
    return {name: _interval(values) for name, values in found.items()}


def _area(order: np.ndarray, weights: np.ndarray, actual: np.ndarray) -> float:
    """Area between the curve of gains and the diagonal; `order` [N] is 0 for those with the largest prediction."""
    people, brought = (np.bincount(order, weights=w) for w in (weights, weights * actual))
    if brought.sum() <= 0:
        return 0.0
    across = np.concatenate([[0.0], np.cumsum(people)]) / people.sum()
    gained = np.concatenate([[0.0], np.cumsum(brought)]) / brought.sum()
    return float((np.diff(across) * (gained[1:] + gained[:-1]) / 2).sum() - 0.5)


def _interval(values: np.ndarray) -> Interval:
    """The first is the value itself, the others are resamples."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return Interval(float(values[0]), float(low), float(high))
