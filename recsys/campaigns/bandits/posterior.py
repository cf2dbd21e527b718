"""What a bandit believes: a normal posterior over the coefficients of a linear or logistic model of the reward.

Linear (Bishop 2006, Pattern Recognition and Machine Learning, equations 3.50 and 3.51): with noise variance s² a batch
of features X and rewards r takes precision P to P + X'X / s² and the mean m to P⁻¹ (P_before m_before + X'r / s²).
Logistic: the batch's posterior mode by Newton's method from the prior N(m, P⁻¹), precision P + X' diag(p (1 - p)) X
(Laplace; Chapelle and Li 2011, algorithm 3, with the whole precision in place of its diagonal).
Batches in any order, and one batch or many, end in the same linear posterior.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ConfigError, DataError

Floats = NDArray[np.float64]
Kind = Literal["linear", "logistic"]
KINDS: tuple[Kind, ...] = ("linear", "logistic")
NEWTON_STEPS = 25
CONVERGED = 1e-8


@dataclass(frozen=True)
class Posterior:
    """Normal with this mean [D] and precision [D, D]; `noise` is the variance of a linear reward."""

    kind: Kind
    mean: Floats
    precision: Floats
    noise: float
    seen: int = 0
    """Rewards that it has learned from."""

    @property
    def size(self) -> int:
        return len(self.mean)


def prior(kind: Kind, size: int, variance: float = 1.0, noise: float = 1.0) -> Posterior:
    """Independent coefficients around 0 with this variance. Raises ConfigError for what no posterior can start from."""
    if kind not in KINDS:
        raise ConfigError(f"model {kind!r}: it is one of {', '.join(KINDS)}")
    if size < 1 or not variance > 0 or not noise > 0:
        raise ConfigError(f"prior: size {size}, variance {variance} and noise {noise} must all be above 0")
    return Posterior(kind, np.zeros(size), np.eye(size) / variance, float(noise))


def updated(before: Posterior, features: Floats, rewards: Floats) -> Posterior:
    """The posterior after a batch: features [N, D], rewards [N], 0 or 1 for logistic. An empty batch changes nothing.

    Raises DataError for shapes that do not fit, values that are not finite, and logistic rewards outside [0, 1].
    """
    x, r = np.asarray(features, dtype=np.float64), np.asarray(rewards, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] != before.size or r.shape != (len(x),):
        raise DataError(f"rewards: expected features [N, {before.size}] and N rewards, got {x.shape} and {r.shape}")
    if not np.isfinite(x).all() or not np.isfinite(r).all():
        raise DataError("rewards: features and rewards must be finite")
    if not len(x):
        return before
    if before.kind == "linear":
        precision = before.precision + x.T @ x / before.noise
        moment = before.precision @ before.mean + x.T @ r / before.noise
        return replace(
            before, mean=np.asarray(np.linalg.solve(precision, moment)), precision=precision, seen=before.seen + len(x)
        )
    if ((r < 0) | (r > 1)).any():
        raise DataError("rewards: a logistic model learns from rewards in [0, 1]")
    mean = before.mean.copy()
    for _ in range(NEWTON_STEPS):
        chance = sigmoid(x @ mean)
        slope = x.T @ (r - chance) - before.precision @ (mean - before.mean)
        curve = before.precision + (x * (chance * (1 - chance))[:, None]).T @ x
        step = np.linalg.solve(curve, slope)
        mean = mean + step * min(1.0, 4.0 / max(float(np.abs(step).max()), 1e-12))
        if float(np.abs(step).max()) < CONVERGED:
            break
    chance = sigmoid(x @ mean)
    precision = before.precision + (x * (chance * (1 - chance))[:, None]).T @ x
    return replace(before, mean=mean, precision=precision, seen=before.seen + len(x))


def expected(belief: Posterior, features: Floats) -> Floats:
    """The reward expected at the mean, features [..., D] → [...]."""
    score: Floats = features @ belief.mean
    return sigmoid(score) if belief.kind == "logistic" else score


def spread(belief: Posterior, features: Floats) -> Floats:
    """Standard deviation of the expected reward, [..., D] → [...]; logistic by the delta method."""
    root = np.linalg.cholesky(belief.precision)
    flat = features.reshape(-1, belief.size)
    width = np.sqrt((np.linalg.solve(root, flat.T) ** 2).sum(axis=0)).reshape(features.shape[:-1])
    if belief.kind == "logistic":
        chance = expected(belief, features)
        width = width * chance * (1 - chance)
    return np.asarray(width, dtype=np.float64)


def drawn(belief: Posterior, features: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """Rewards expected under `draws` coefficients from the posterior, [N, A, D] → [draws, N, A]."""
    root = np.linalg.cholesky(belief.precision)
    noise = np.linalg.solve(root.T, rng.standard_normal((belief.size, draws)))
    score = np.moveaxis(features @ (belief.mean[:, None] + noise), -1, 0)
    return sigmoid(score) if belief.kind == "logistic" else np.asarray(score, dtype=np.float64)


def sigmoid(score: Floats) -> Floats:
    """1 / (1 + exp(-score)), without overflow."""
    chance: Floats = 1 / (1 + np.exp(-np.clip(score, -35, 35)))
    return chance
