"""Probabilities that mean what they say: isotonic calibration by knots, and the expected calibration error."""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.optimize import isotonic_regression

from recsys.errors import DataError

BINS = 15
"""Bins of equal mass in the expected calibration error and the reliability table."""


class Knots(BaseModel):
    """A rising piecewise linear function: through the points (x, y), constant beyond the first and the last."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    x: tuple[float, ...]
    """Strictly ascending; the first is 0."""
    y: tuple[float, ...]
    """Ascending, within 0 to 1; the first is 0."""

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """float64 of the same shape."""
        return np.interp(np.asarray(probabilities, dtype=np.float64), self.x, self.y)


def fit_isotonic(probabilities: np.ndarray, outcomes: np.ndarray, least: int = 50) -> Knots:
    """Knots that calibrate `probabilities` [M] to the 0/1 `outcomes` [M].

    Isotonic regression by pool adjacent violators gives steps; the knots are the steps' centres, joined by lines, so
    that the order of the probabilities stays (centred isotonic regression: Oron and Flournoy, Statistics in
    Biopharmaceutical Research 2017). Steps are joined until each has at least `least` outcomes of 0 and of 1, so
    that no handful of rows is promised a certainty. Raises DataError without any outcome of 1.
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    if p.shape != y.shape or p.ndim != 1 or not len(p) or not y.any():
        raise DataError(f"calibration: {int(y.sum())} of {y.size} outcomes are 1; at least one is needed")
    order = np.argsort(p, kind="stable")
    p, y = p[order], y[order]
    blocks = isotonic_regression(y).blocks[:-1].astype(np.int64)
    size = np.diff(np.append(blocks, len(p))).astype(np.float64)
    steps = np.stack([np.add.reduceat(p, blocks), np.add.reduceat(y, blocks), size], axis=1)
    joined = _join(steps, least)
    x, level = joined[:, 0] / joined[:, 2], joined[:, 1] / joined[:, 2]
    rising = np.concatenate([[True], np.diff(x) > 1e-6]) & (x > 1e-6)
    if not rising.any():
        x, level, rising = np.array([1.0]), np.array([y.mean()]), np.array([True])
    return Knots(x=(0.0, *x[rising].tolist()), y=(0.0, *level[rising].tolist()))


def _join(steps: np.ndarray, least: int) -> np.ndarray:
    """Steps [S, 3] of sums (probability, outcome, rows), neighbours joined from the left; the rest goes to the last."""
    found: list[np.ndarray] = []
    open_step = np.zeros(3)
    for step in steps:
        open_step = open_step + step
        if min(open_step[1], open_step[2] - open_step[1]) >= least:
            found.append(open_step)
            open_step = np.zeros(3)
    if open_step[2] > 0:
        if found:
            found[-1] = found[-1] + open_step
        else:
            found.append(open_step)
    return np.array(found)


def calibrate(knots: Sequence[Knots], probabilities: np.ndarray) -> np.ndarray:
    """float64 [..., H] from probabilities by horizon [..., H], each by its knots; a longer horizon is never below."""
    parts = [one.apply(probabilities[..., i]) for i, one in enumerate(knots)]
    return np.maximum.accumulate(np.stack(parts, axis=-1), axis=-1)


def mass_bins(probabilities: np.ndarray, bins: int = BINS) -> np.ndarray:
    """int64 [M] the bin of each probability; bins hold equally many, and equal probabilities share a bin."""
    p = np.asarray(probabilities, dtype=np.float64)
    edges = np.quantile(p, np.arange(1, bins) / bins, method="inverted_cdf") if len(p) else np.empty(0)
    return np.searchsorted(edges, p, side="left")


def expected_calibration_error(probabilities: np.ndarray, outcomes: np.ndarray, bins: int = BINS) -> float:
    """Σ over bins of share of rows · |mean outcome - mean probability|; bins of equal mass (Naeini et al., AAAI 2015,
    with equal-mass bins as in Nixon et al., CVPR workshops 2019)."""
    table = reliability(probabilities, outcomes, bins)
    return float(sum(row["share"] * abs(row["observed"] - row["predicted"]) for row in table))


def reliability(probabilities: np.ndarray, outcomes: np.ndarray, bins: int = BINS) -> list[dict[str, float]]:
    """For each bin that is not empty: `share` of rows, mean `predicted`, mean `observed`, lowest first."""
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    if p.shape != y.shape or not len(p):
        raise DataError(f"calibration: probabilities {p.shape} and outcomes {y.shape} must be equally many, and some")
    index = mass_bins(p, bins)
    count, predicted, observed = (np.bincount(index, weights=w, minlength=bins) for w in (np.ones(len(p)), p, y))
    return [
        {"share": float(n / len(p)), "predicted": float(a / n), "observed": float(b / n)}
        for n, a, b in zip(count, predicted, observed, strict=True)
        if n
    ]
