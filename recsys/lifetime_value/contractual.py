"""Value under a contract: the margin of each month as long as the customer stays, discounted."""

from dataclasses import dataclass

import numpy as np

from recsys.errors import DataError

TAIL = 0.025
"""Chance outside either end of an interval."""


@dataclass(frozen=True)
class Contractual:
    """What each customer brings over the horizon, in the margin's unit; float64 [N] each."""

    value: np.ndarray
    """Expected: each month's margin times the chance that the customer is still there at its end."""
    low: np.ndarray
    """If the customer leaves as early as 2.5 % do."""
    high: np.ndarray
    """If the customer stays as long as 2.5 % do, at most to the horizon's end."""
    at_stake: np.ndarray
    """Expected value of one who does not leave within the first `leave` months, less that of one who does."""
    variance: np.ndarray
    """Of what the customer brings, by chance."""


def monthly(survival: np.ndarray, months: np.ndarray, horizon: int) -> np.ndarray:
    """float64 [N, horizon + 1]: chance to be there after 0 … horizon months, from the chance at a few of them [N, H].

    Between two given months, and after the last, the hazard is constant: that of the last interval goes on.
    Raises DataError for months that do not ascend from 1 on, or chances that rise or leave [0, 1].
    """
    months, survival = np.asarray(months), np.asarray(survival, dtype=np.float64)
    if months.ndim != 1 or survival.shape[1:] != months.shape or not len(months):
        raise DataError(f"survival: expected a chance for each of {months.tolist()} months, got {survival.shape}")
    if months[0] < 1 or (np.diff(months) <= 0).any():
        raise DataError(f"survival: the months {months.tolist()} must ascend from 1 or more")
    whole = np.concatenate([np.ones((len(survival), 1)), survival], axis=1)
    if not ((whole >= 0) & (whole <= 1)).all() or (np.diff(whole, axis=1) > 1e-6).any():
        raise DataError("survival: chances must lie between 0 and 1 and never rise with time")
    logs = np.log(np.clip(np.minimum.accumulate(whole, axis=1), 1e-12, 1.0))
    grid = np.concatenate([[0], months])
    asked = np.arange(horizon + 1)
    place = np.clip(np.searchsorted(grid, asked, side="left"), 1, len(grid) - 1)
    slope = np.diff(logs, axis=1) / np.diff(grid)
    return np.exp(logs[:, place - 1] + slope[:, place - 1] * (asked - grid[place - 1]))


def contractual_value(
    margin: np.ndarray, survival: np.ndarray, months: np.ndarray, *, horizon: int, discount: float, leave: int
) -> Contractual:
    """Value of customers with a monthly `margin` [N] and chances to stay [N, H] at `months` [H].

    Σ over t = 1 … horizon of margin · S(t) / (1 + discount)^(t / 12); `discount` is a yearly rate. The intervals say
    how chance may turn out with these probabilities, not how well the probabilities are known.
    """
    if not 1 <= leave <= horizon:
        raise DataError(f"contractual value: leaving within {leave} months, but the horizon is {horizon} months")
    stays = monthly(survival, months, horizon)
    margin = np.asarray(margin, dtype=np.float64)
    worth = (1 + discount) ** (-np.arange(1, horizon + 1) / 12)
    so_far = np.concatenate([[0.0], np.cumsum(worth)])
    value = stays[:, 1:] @ worth
    ends = [so_far[(stays[:, 1:] >= bar).sum(axis=1)] for bar in (1 - TAIL, TAIL)]
    at = stays[:, leave][:, None]
    kept = np.where(np.arange(1, horizon + 1) <= leave, 1.0, stays[:, 1:] / at) @ worth
    gone = 1 - at[:, 0]
    within = (stays[:, 1 : leave + 1] - at) @ worth[:leave]
    lost = np.where(gone > 1e-9, within / np.maximum(gone, 1e-9), so_far[leave] / 2)
    low, high = (np.minimum(margin * ends[0], margin * ends[1]), np.maximum(margin * ends[0], margin * ends[1]))
    square = stays[:, 1:] @ np.diff(so_far**2)
    return Contractual(margin * value, low, high, margin * (kept - lost), margin**2 * (square - value**2))
