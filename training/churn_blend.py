"""How candidates are weighed and calibrated, from their log-odds of rows that they have not seen."""

from collections.abc import Mapping

import numpy as np
from scipy.optimize import minimize

from recsys.calibration import Knots, fit_isotonic

LEAST_SHARE = 0.05
"""A candidate with a smaller share of the weights is left out: it would cost time and say next to nothing."""
AS_IT_IS = Knots(x=(0.0, 1.0), y=(0.0, 1.0))
"""Knots that change nothing."""
_HALVES = 5


def blend_weights(log_odds: Mapping[str, np.ndarray], outcome: np.ndarray) -> tuple[dict[str, float], float]:
    """Weight of each candidate and an intercept that make the outcomes likeliest; no weight is negative.

    log_odds: float64 [N] by candidate; outcome: 0/1 [N]. With one candidate this is Platt's calibration (Platt 1999),
    with several it is stacking (Wolpert 1992) by a logistic regression, so that log-odds stay a sum.
    """
    names = list(log_odds)
    while True:
        weights, intercept = _logistic(np.stack([log_odds[name] for name in names], axis=1), outcome)
        share = weights / max(weights.sum(), 1e-12)
        kept = [name for name, one in zip(names, share, strict=True) if one >= LEAST_SHARE]
        if not kept:
            return {names[0]: 0.0}, intercept
        if len(kept) == len(names):
            return dict(zip(names, weights.tolist(), strict=True)), intercept
        names = kept


def _logistic(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """Non-negative weights and an intercept of the least log loss, x [N, M]."""
    sign = 1.0 - 2.0 * y

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        z = x @ parameters[:-1] + parameters[-1]
        error = sigmoid(z) - y
        gradient = np.append(x.T @ error, error.sum())
        return float(np.logaddexp(0.0, sign * z).sum() / len(y)), gradient / len(y)

    count = x.shape[1]
    start = np.append(np.full(count, 1.0 / count), 0.0)
    bounds = [(0.0, None)] * count + [(None, None)]
    found = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-12, "gtol": 1e-8})
    return found.x[:-1], float(found.x[-1])


def fit_knots(log_odds: np.ndarray, outcome: np.ndarray, seed: int) -> Knots:
    """Isotonic knots where they make rows likelier that they were not fitted on, else `AS_IT_IS`.

    Better means by two standard errors of the mean difference in log loss: on a few thousand rows a sigmoid is nearly
    always the better calibrator, and isotonic steps are noise (Niculescu-Mizil and Caruana, ICML 2005).
    """
    p, y = sigmoid(log_odds), outcome.astype(np.float64)
    part = np.random.default_rng(seed).permutation(len(y)) % _HALVES
    better = np.zeros(len(y))
    for i in range(_HALVES):
        held = part == i
        if not y[~held].any():
            return AS_IT_IS
        knots = fit_isotonic(p[~held], y[~held])
        better[held] = log_loss(p[held], y[held]) - log_loss(knots.apply(p[held]), y[held])
    if better.mean() > 2 * better.std() / np.sqrt(len(y)):
        return fit_isotonic(p, y)
    return AS_IT_IS


def log_loss(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """float64 [N] minus the log-likelihood of each outcome."""
    p = p.clip(1e-7, 1 - 1e-7)
    return -(y * np.log(p) + (1 - y) * np.log1p(-p))


def sigmoid(z: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-z)) without overflow."""
    return np.exp(-np.logaddexp(0.0, -z))
