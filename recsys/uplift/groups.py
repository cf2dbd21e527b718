"""Groups of units by expected effect beside what they showed: calibration by decile, and those whom contact harms."""

from dataclasses import dataclass

import numpy as np

from recsys.bootstrap import Interval
from recsys.uplift.scores import clustered_mean

DECILES = 10


@dataclass(frozen=True)
class Group:
    """Units of similar expected effect."""

    units: int
    share: float
    predicted: float
    """Mean expected effect."""
    shown: Interval
    """Mean doubly robust score."""


def deciles(scores: np.ndarray, predicted: np.ndarray, customer: np.ndarray) -> list[Group]:
    """From the highest expected effect down; fewer groups where there are fewer different predictions."""
    bounds = np.sort(predicted)[::-1][(np.arange(1, DECILES) * len(predicted)) // DECILES]
    place = np.searchsorted(-np.unique(bounds)[::-1], -predicted, side="left")
    return [_group(scores, predicted, customer, place == one) for one in np.unique(place)]


def harmed(
    scores: np.ndarray, predicted: np.ndarray, errors: np.ndarray, customer: np.ndarray
) -> dict[str, Group | None]:
    """`expected`: those with an expected effect below zero; `sure`: those whose 90 % upper bound is below zero too."""
    bound = predicted + 1.6448536269514722 * errors
    found = {"expected": predicted < 0, "sure": (predicted < 0) & (bound < 0)}
    return {name: _group(scores, predicted, customer, rows) if rows.sum() > 1 else None for name, rows in found.items()}


def _group(scores: np.ndarray, predicted: np.ndarray, customer: np.ndarray, rows: np.ndarray) -> Group:
    shown = clustered_mean(scores, customer, rows)
    return Group(int(rows.sum()), float(rows.mean()), float(predicted[rows].mean()), shown)
