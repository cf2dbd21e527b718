"""Doubly robust scores of a contact's effect, and what is judged by them: losses, calibration, targeting, AUTOC.

A unit's score is unbiased for its effect if either the outcome models or the propensities are right (Robins, Rotnitzky
and Zhao, JASA 1994; Kennedy, Electronic Journal of Statistics 2023 for learning from it).
"""

from dataclasses import dataclass

import numpy as np

from recsys.bootstrap import Interval

Z = 1.959963984540054


@dataclass(frozen=True)
class Line:
    """effect = mean + slope · (predicted - centre), with the standard errors of both."""

    centre: float
    mean: float
    mean_error: float
    slope: float
    slope_error: float


def doubly_robust(
    outcome: np.ndarray,
    had: np.ndarray,
    control: np.ndarray,
    propensity: np.ndarray,
    treated_mean: np.ndarray,
    control_mean: np.ndarray,
) -> np.ndarray:
    """float64 [M]: μ1 - μ0 + 1{had}(y - μ1)/p - 1{control}(y - μ0)/p for pairs of a unit and an action.

    `had` and `control` say whether the unit had this action or none (both false: another action); `propensity` is the
    probability of the arm that it was drawn into; the means come from models that never saw the unit.
    """
    found = treated_mean - control_mean
    found = found + np.where(had, (outcome - treated_mean) / propensity, 0.0)
    return found - np.where(control, (outcome - control_mean) / propensity, 0.0)


def clustered_mean(values: np.ndarray, customer: np.ndarray, chosen: np.ndarray | None = None) -> Interval:
    """The mean of `values` [M], of those `chosen` where given, with a normal interval by customer; nan for none."""
    value, error = mean_and_error(values, customer, chosen)
    return Interval(value, value - Z * error, value + Z * error)


def mean_and_error(values: np.ndarray, customer: np.ndarray, chosen: np.ndarray | None = None) -> tuple[float, float]:
    """The mean and its standard error; rows of one customer count as one observation."""
    if chosen is not None:
        values, customer = values[chosen], customer[chosen]
    if len(values) < 2:
        return float("nan"), float("nan")
    value = float(values.mean())
    _, place = np.unique(customer, return_inverse=True)
    sums = np.bincount(place, weights=(values - value) / len(values))
    return value, float(np.sqrt((sums**2).sum() * len(sums) / max(len(sums) - 1, 1)))


def losses(scores: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """float64 [M] squared distance of a prediction from the score; on average the true error and a constant."""
    return (scores - predicted) ** 2


def best_line(scores: np.ndarray, predicted: np.ndarray, customer: np.ndarray) -> Line:
    """The linear projection of the effect on its prediction, least squares, errors by customer.

    Slope 1 is a calibrated spread, 0 no knowledge of who (Chernozhukov, Demirer, Duflo and Fernández-Val, Econometrica
    2025, the best linear predictor).
    """
    centre = float(predicted.mean())
    apart = predicted - centre
    mean, mean_error = mean_and_error(scores, customer)
    spread = float((apart**2).sum())
    if spread <= 1e-12 * max(len(apart), 1):
        return Line(centre, mean, mean_error, 0.0, 0.0)
    slope = float((apart * scores).sum() / spread)
    _, place = np.unique(customer, return_inverse=True)
    sums = np.bincount(place, weights=apart * (scores - mean - slope * apart) / spread)
    return Line(centre, mean, mean_error, slope, float(np.sqrt((sums**2).sum())))


def top_share(predicted: np.ndarray, share: float) -> np.ndarray:
    """float64 [M] membership of the top share by prediction; those tied at the border belong to it in part."""
    wanted = share * len(predicted)
    bound = np.sort(predicted)[::-1][min(int(np.ceil(wanted)), len(predicted)) - 1]
    above, tied = predicted > bound, predicted == bound
    return above + tied * ((wanted - above.sum()) / max(int(tied.sum()), 1))


def targeting_gain(scores: np.ndarray, predicted: np.ndarray, customer: np.ndarray, share: float) -> Interval:
    """Outcomes gained per unit by targeting the top share, beyond targeting as many at random."""
    return clustered_mean((top_share(predicted, share) - share) * (scores - scores.mean()), customer)


def autoc(
    scores: np.ndarray, predicted: np.ndarray, customer: np.ndarray, samples: int = 200, seed: int = 0
) -> Interval:
    """∫ TOC(q) dq, TOC(q) = mean score of the top q - mean score of all, by ranks.

    The error is the spread over halves of the customers drawn without replacement (Yadlowsky, Fleming, Shah, Brunskill
    and Wager, JASA 2025).
    """
    value = _autoc(scores, predicted)
    people, place = np.unique(customer, return_inverse=True)
    draws = np.random.default_rng(seed)
    found = []
    for _ in range(samples):
        half = np.zeros(len(people), dtype=bool)
        half[draws.permutation(len(people))[: len(people) // 2]] = True
        found.append(_autoc(scores[half[place]], predicted[half[place]]))
    error = float(np.std(found, ddof=1))
    return Interval(value, value - Z * error, value + Z * error)


def _autoc(scores: np.ndarray, predicted: np.ndarray) -> float:
    """Scores that are tied in the ranking stand for each other by their mean."""
    ranks, place = np.unique(-predicted, return_inverse=True)
    mean = np.bincount(place, weights=scores, minlength=len(ranks)) / np.bincount(place, minlength=len(ranks))
    ordered = mean[np.sort(place)]
    return float((np.cumsum(ordered) / np.arange(1, len(ordered) + 1) - scores.mean()).mean())
