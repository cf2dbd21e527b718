"""Maximum likelihood over positive parameters, with 95 % intervals from the observed information."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from recsys.errors import DataError

Z = 1.959963984540054
"""Two-sided 95 %."""
BOUND = 12.0
"""Logarithms of parameters stay within ± this; one that ends there is not determined by the data."""
WIDEST = 1e6
"""An interval that reaches further than this factor from the value is none."""
STEP = 1e-4
"""Step in logarithms by which the gradient is differenced."""

Gradient = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""Positive parameters [P] → log-likelihood of all customers, and its derivative by each parameter [P]."""


@dataclass(frozen=True)
class Fitted:
    """Parameters at the maximum, and how well they are known."""

    names: tuple[str, ...]
    values: np.ndarray
    """float64 [P], all positive."""
    covariance: np.ndarray
    """float64 [P, P] of the logarithms of the parameters; NaN where the data do not determine them."""
    log_likelihood: float
    customers: int

    @property
    def determined(self) -> bool:
        """Whether the data have a maximum inside the range that is searched, with a curvature in every direction."""
        return bool(np.isfinite(self.covariance).all())

    def intervals(self) -> list[tuple[str, float, float, float]]:
        """Name, value and 95 % interval of each parameter: Wald's on the logarithm, so that it stays positive.

        NaN where the data do not tell the parameter to within a factor of `WIDEST`.
        """
        wide = Z * np.sqrt(np.diag(self.covariance))
        width = np.exp(np.where(wide < np.log(WIDEST), wide, np.nan))
        return [
            (name, float(value), float(value / w), float(value * w))
            for name, value, w in zip(self.names, self.values, width, strict=True)
        ]

    def draws(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """float64 [count, P]: parameters drawn as the data leave them open; the maximum itself where nothing is known.

        From the normal distribution of their logarithms that the observed information gives.
        """
        if not self.determined:
            return np.tile(self.values, (count, 1))
        return np.exp(rng.multivariate_normal(np.log(self.values), self.covariance, size=count, method="cholesky"))


def maximise(
    names: Sequence[str], gradient: Gradient, start: np.ndarray, customers: int, sample: Gradient | None = None
) -> Fitted:
    """The parameters with the greatest likelihood, searched over their logarithms.

    `sample`, the same function of a part of the customers, brings the search near before all of them are looked at.
    Raises DataError if the search ends without an answer.
    """
    logs = np.log(start)
    if sample is not None:
        logs = _search(sample, logs, names, tolerance=1e-6)
    logs = _search(gradient, logs, names, tolerance=1e-9)
    value, _ = gradient(np.exp(logs))
    return Fitted(tuple(names), np.exp(logs), _covariance(gradient, logs), float(value), customers)


def _search(gradient: Gradient, start: np.ndarray, names: Sequence[str], tolerance: float) -> np.ndarray:
    size = max(1.0, abs(gradient(np.exp(start))[0]))

    def negative(logs: np.ndarray) -> tuple[float, np.ndarray]:
        parameters = np.exp(logs)
        value, by = gradient(parameters)
        return -value / size, -by * parameters / size

    found = minimize(
        negative,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(-BOUND, BOUND)] * len(start),
        options={"maxiter": 500, "ftol": 1e-13, "gtol": tolerance},
    )
    if not np.isfinite(found.fun):
        raise DataError(f"no likelihood for {', '.join(names)} near {np.exp(found.x).round(6).tolist()}")
    return np.asarray(found.x, dtype=np.float64)


def _covariance(gradient: Gradient, logs: np.ndarray) -> np.ndarray:
    """Inverse of the observed information about the logarithms; NaN at a bound or without a curvature."""
    count = len(logs)
    unknown = np.full((count, count), np.nan)
    if (np.abs(logs) > BOUND - 0.01).any():
        return unknown
    information = np.empty((count, count))
    for place in range(count):
        ends = []
        for sign in (1.0, -1.0):
            moved = logs.copy()
            moved[place] += sign * STEP
            ends.append(gradient(np.exp(moved))[1] * np.exp(moved))
        information[place] = -(ends[0] - ends[1]) / (2 * STEP)
    information = (information + information.T) / 2
    if np.linalg.eigvalsh(information)[0] <= 1e-8 * np.abs(information).max():
        return unknown
    return np.linalg.inv(information)
