"""The covariance of a Gaussian process for yes or no: how likely it makes outcomes, and which rows tell most.

Equations and algorithms are those of Rasmussen and Williams, Gaussian Processes for Machine Learning (2006).
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky

from recsys.churn.models_config import GaussianProcessConfig
from training.churn_blend import sigmoid

JITTER = 1e-6
"""Share of the variance that is added on the diagonal."""
NEWTON, STILL = 30, 1e-3
"""Newton's steps at most; a largest change of f that is none."""
_PARTS = 2
"""Exponential parts of the covariance."""
_SPREAD = (0.65, 2.0)
"""Lengths to begin with, in square roots of the number of columns."""
_VARIANCES = (1.0, 4.0)
_LINEAR = 0.3
"""Variances of the exponential parts, and standard deviations of the linear weights, to begin with."""
_LOOSE = 2.0
"""Standard deviation a priori of each logarithm about where it begins: a part that is of no use for some steps does not
vanish for good."""
_RATE, _DECAYS, _ANEW = 0.15, (0.9, 0.99), 5
"""Adam's, on logarithms: rate to begin with, shares kept of the mean and the square; steps with the same rows."""


@dataclass(frozen=True)
class Kernel:
    """The covariance by the logarithms of its lengths [2, D], variances [2] and linear weights [D]."""

    lengths: np.ndarray
    variances: np.ndarray
    linear: np.ndarray

    @classmethod
    def first(cls, columns: int) -> "Kernel":
        spread = np.log(np.sqrt(columns) * np.array(_SPREAD))
        return cls(np.repeat(spread[:, None], columns, axis=1), np.log(_VARIANCES), np.full(columns, np.log(_LINEAR)))

    @property
    def flat(self) -> np.ndarray:
        return np.concatenate([self.lengths.ravel(), self.variances, self.linear])

    @classmethod
    def of(cls, flat: np.ndarray) -> "Kernel":
        columns = (len(flat) - _PARTS) // (_PARTS + 1)
        return cls(
            flat[: _PARTS * columns].reshape(_PARTS, columns),
            flat[_PARTS * columns : _PARTS * columns + _PARTS],
            flat[_PARTS * columns + _PARTS :],
        )

    def exponential(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Their sum, [N, M]."""
        return np.asarray(sum(self.exponentials(x, z)))

    def exponentials(self, x: np.ndarray, z: np.ndarray) -> list[np.ndarray]:
        """The exponential parts, [N, M] each."""
        found = []
        for lengths, variance in zip(self.lengths, self.variances, strict=True):
            scale = np.exp(-2 * lengths)
            near = x @ (z * scale).T - (x * x) @ scale[:, None] / 2 - (z * z) @ scale / 2
            found.append(np.exp(variance + np.minimum(near, 0.0)))
        return found


def learned(config: GaussianProcessConfig, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Kernel:
    """The kernel under which the outcomes are likeliest, by Adam (Kingma and Ba 2015), its rate falling to nothing.

    Steps see subsets of the rows, another one every few steps: the time of a step goes with the cube of its rows.
    """
    begin = flat = Kernel.first(x.shape[1]).flat
    first, second = np.zeros_like(flat), np.zeros_like(flat)
    for step in range(1, config.steps + 1):
        if step % _ANEW == 1:
            rows = rng.permutation(len(x))[: config.rows]
            f = np.zeros(len(rows))
        _, gradient, f = log_evidence(flat, x[rows], y[rows], f)
        gradient -= (flat - begin) / _LOOSE**2
        first += (1 - _DECAYS[0]) * (gradient - first)
        second += (1 - _DECAYS[1]) * (gradient**2 - second)
        rate = _RATE * (1 + np.cos(np.pi * step / config.steps)) / 2
        size = np.sqrt(second / (1 - _DECAYS[1] ** step)) + 1e-8
        flat = flat + rate * first / (1 - _DECAYS[0] ** step) / size
    return Kernel.of(flat)


def log_evidence(flat: np.ndarray, x: np.ndarray, y: np.ndarray, f: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Laplace's approximation of log p(y | x) (equation 3.32), its gradient by the kernel's logarithms (algorithm 5.1),
    and the most likely f (algorithm 3.1).

    x float64 [N, D], y 0/1 [N]; the search for f begins at the one given.
    """
    kernel = Kernel.of(flat)
    parts = kernel.exponentials(x, x)
    weighed = x * np.exp(kernel.linear)
    covariance = np.asarray(sum(parts)) + weighed @ weighed.T + 1.0 + JITTER * np.eye(len(x))
    root, lower = _curvature(covariance, f)
    for _ in range(NEWTON):
        b = root * root * f + y - sigmoid(f)
        a = b - root * cho_solve((lower, True), root * (covariance @ b), check_finite=False)
        before, f = f, covariance @ a
        root, lower = _curvature(covariance, f)
        if np.abs(f - before).max() < STILL:
            break
    value = -0.5 * a @ f - np.logaddexp(0.0, np.where(y > 0, -f, f)).sum() - np.log(np.diag(lower)).sum()
    inverse = cho_solve((lower, True), np.eye(len(x)), check_finite=False)
    noise = root[:, None] * inverse * root
    variance = np.diag(covariance) - ((covariance @ noise) * covariance).sum(axis=1)
    p = sigmoid(f)
    moved = 0.5 * variance * p * (1 - p) * (2 * p - 1)
    moved = moved - noise @ (covariance @ moved)
    by = 0.5 * (np.outer(y - p, y - p) - noise + np.outer(moved, y - p) + np.outer(y - p, moved))
    lengths = []
    for logs, part in zip(kernel.lengths, parts, strict=True):
        h = by * part
        lengths.append(2 * (h.sum(axis=1) @ (x * x) - (x * (h @ x)).sum(axis=0)) * np.exp(-2 * logs))
    variances = [float((by * part).sum()) for part in parts]
    linear = 2 * (x * (by @ x)).sum(axis=0) * np.exp(2 * kernel.linear)
    return float(value), np.concatenate([*lengths, variances, linear]), f


def _curvature(covariance: np.ndarray, f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Roots of the likelihood's curvature at f [N], and the Cholesky factor of I + root · covariance · root."""
    p = sigmoid(f)
    root = np.sqrt(p * (1 - p))
    inner = root[:, None] * covariance * root
    inner[np.diag_indices_from(inner)] += 1.0
    return root, cholesky(inner, lower=True, check_finite=False, overwrite_a=True)


def telling(kernel: Kernel, x: np.ndarray, count: int) -> np.ndarray:
    """int64 [M ≤ count]: the rows that leave least variance of the exponential parts untold, one at a time.

    They are the pivots of a Cholesky factor (Fine and Scheinberg, Journal of Machine Learning Research 2001).
    """
    left = np.full(len(x), float(np.exp(kernel.variances).sum()))
    least = JITTER * left[0]
    factor = np.zeros((len(x), count))
    chosen: list[int] = []
    for place in range(min(count, len(x))):
        row = int(left.argmax())
        if left[row] <= least:
            break
        column = kernel.exponential(x, x[[row]])[:, 0] - factor[:, :place] @ factor[row, :place]
        factor[:, place] = column / np.sqrt(left[row])
        left = np.maximum(left - factor[:, place] ** 2, 0.0)
        left[row] = 0.0
        chosen.append(row)
    return np.array(chosen)
