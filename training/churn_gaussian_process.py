"""A Gaussian process for who leaves: a smooth function of all columns together, for tables of some columns.

Where what moves customers is smooth, trees need many steps and networks many rows to say what a Gaussian process says
from few (Rasmussen and Williams, Gaussian Processes for Machine Learning 2006). The log-odds are f, a priori of mean 0
and of covariance

    k(x, z) = a · exp(-Σ (x - z)² / 2l²) + b · exp(-Σ (x - z)² / 2m²) + Σ w² x z + 1

with a length for each column in each of the first two parts. Lengths and variances are those that make the outcomes
likeliest (`training.churn_kernel`). f itself is drawn between `points` rows, those that tell most about all others,
beside the linear part; its most likely weights are found by Newton's steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto
from scipy.linalg import cho_solve, cholesky, solve_triangular
from threadpoolctl import threadpool_limits

from recsys.churn.models_config import GaussianProcessConfig
from recsys.progress import Progress
from training.churn_blend import sigmoid
from training.churn_graph import GraphParts
from training.churn_kernel import JITTER, NEWTON, STILL, Kernel, learned, telling

_SHARED = 0.2
"""A value that so many rows share is a column of its own beside its number: no money, one product."""
_BATCH = 16_384


@dataclass(frozen=True)
class Inputs:
    """What the process reads of a table: its columns and shared values, standardised."""

    shared: tuple[tuple[int, float], ...]
    """(column, value): 1 where the column has this value."""
    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, table: np.ndarray) -> "Inputs":
        """Those of the rows that are fitted on, float32 [N, width]."""
        shared = tuple((c, float(v)) for c in range(table.shape[1]) for v in _shared(table[:, c]))
        plain = cls(shared, np.zeros(table.shape[1] + len(shared)), np.ones(table.shape[1] + len(shared)))
        read = plain(table)
        scale = read.std(axis=0)
        return cls(shared, read.mean(axis=0), np.where(scale > 0, scale, 1.0))

    def __call__(self, table: np.ndarray) -> np.ndarray:
        """float32 [N, width] → float64 [N, D]."""
        parts = [table, *([table[:, [c]] == np.float32(v) for c, v in self.shared])]
        return np.asarray((np.concatenate(parts, axis=1, dtype=np.float64) - self.mean) / self.scale)


def _shared(values: np.ndarray) -> np.ndarray:
    """The values that many rows share, of a column of more than two values."""
    found, counts = np.unique(values, return_counts=True)
    return found[counts >= _SHARED * len(values)] if len(found) > 2 else found[:0]


@dataclass(frozen=True)
class Fit:
    """f of one fit: inputs, kernel, points [M, D] and their weights [M], linear weights [D], constant."""

    inputs: Inputs
    kernel: Kernel
    points: np.ndarray
    weights: np.ndarray
    linear: np.ndarray
    constant: float

    def __call__(self, table: np.ndarray) -> np.ndarray:
        """float32 [N, width] → log-odds float64 [N]."""
        found = np.empty(len(table))
        for start in range(0, len(table), _BATCH):
            x = self.inputs(table[start : start + _BATCH])
            near = self.kernel.exponential(x, self.points)
            found[start : start + _BATCH] = near @ self.weights + x @ self.linear + self.constant
        return found


class GaussianProcess:
    """Fits of the folds, or one; the mean of their log-odds counts."""

    name = "gaussian_process"

    def __init__(self, fits: Sequence[Fit]) -> None:
        self.fits = list(fits)

    def log_odds(self, table: np.ndarray) -> np.ndarray:
        """float32 [N, width] → float64 [N]."""
        return np.asarray(np.mean([fit(table) for fit in self.fits], axis=0))

    def add_to(self, parts: GraphParts) -> str:
        """Its operators, in double precision; the name of its log-odds float32 [N, 1]."""
        table = parts.node("Cast", [parts.table()], "gp_table", to=TensorProto.DOUBLE)
        total = parts.constant("gp_nothing", np.zeros((1, 1)))
        for place, fit in enumerate(self.fits):
            one = _Nodes(parts, f"gp{place}").log_odds(fit, table)
            total = parts.node("Add", [total, one], f"gp{place}_added")
        mean = parts.node("Div", [total, parts.constant("gp_fits", np.array(float(len(self.fits))))], "gp_mean")
        return parts.node("Cast", [mean], "gp_log_odds", to=TensorProto.FLOAT)


class _Nodes:
    """Operators of one fit, named apart from those of others."""

    def __init__(self, parts: GraphParts, name: str) -> None:
        self._parts, self._name = parts, name

    def log_odds(self, fit: Fit, table: str) -> str:
        x = self._inputs(fit.inputs, table)
        square = self._node("Mul", x, x)
        total = self._node("Add", self._node("MatMul", x, fit.linear[:, None]), np.array(fit.constant))
        for lengths, variance in zip(fit.kernel.lengths, fit.kernel.variances, strict=True):
            near = np.exp(-2 * lengths)
            product = self._node("MatMul", x, (fit.points * near).T)
            own = self._node("MatMul", square, -near[:, None] / 2)
            theirs = self._node("Add", self._node("Add", product, own), -(fit.points**2 @ near) / 2)
            below = self._node("Add", self._node("Min", theirs, np.array(0.0)), np.array(float(variance)))
            total = self._node("Add", total, self._node("MatMul", self._node("Exp", below), fit.weights[:, None]))
        return total

    def _inputs(self, inputs: Inputs, table: str) -> str:
        read = [table]
        if inputs.shared:
            columns, values = zip(*inputs.shared, strict=True)
            numbers = self._node("Gather", table, np.array(columns), axis=1)
            found = self._node("Equal", numbers, np.array(values))
            read.append(self._node("Cast", found, to=TensorProto.DOUBLE))
        return self._node("Div", self._node("Sub", self._node("Concat", *read, axis=1), inputs.mean), inputs.scale)

    def _node(self, kind: str, *inputs: str | np.ndarray, **attributes: Any) -> str:
        """An operator of names and constants; its name."""
        output = f"{self._name}_{len(self._parts.nodes)}"
        names = [
            one if isinstance(one, str) else self._parts.constant(f"{output}_{place}", one)
            for place, one in enumerate(inputs)
        ]
        return self._parts.node(kind, names, output, **attributes)


def fit_gaussian_process(
    config: GaussianProcessConfig,
    table: np.ndarray,
    outcome: np.ndarray,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    seed: int,
    threads: int,
    progress: Progress,
    refit: bool,
) -> tuple[GaussianProcess, np.ndarray]:
    """The model, and the log-odds of the held-out rows of the splits, [N], NaN where no split holds a row out.

    The model is the mean of the folds' fits. With `refit` it is one fit on all rows, with the inputs and covariance of
    the fold whose held-out rows were likeliest: what is learned anew is judged by nobody.
    """
    held_out = np.full(len(table), np.nan)
    fits, losses = [], []
    count = len(splits) + refit
    with threadpool_limits(threads, "blas"):
        for place, (fitted_on, held) in enumerate(splits):
            one = fit(config, table[fitted_on], outcome[fitted_on], np.random.default_rng((seed, place)))
            held_out[held] = one(table[held])
            fits.append(one)
            losses.append(np.logaddexp(0.0, (1 - 2 * outcome[held].astype(np.float64)) * held_out[held]).mean())
            progress(place + 1, count, "churn: Gaussian processes")
        if refit:
            best = fits[int(np.argmin(losses))]
            fits = [fit(config, table, outcome, np.random.default_rng((seed, len(splits))), best)]
            progress(count, count, "churn: Gaussian processes")
    return GaussianProcess(fits), held_out


def fit(
    config: GaussianProcessConfig,
    table: np.ndarray,
    outcome: np.ndarray,
    rng: np.random.Generator,
    like: Fit | None = None,
) -> Fit:
    """One fit on these rows, its inputs and covariance those of another fit if one is given."""
    rows = rng.permutation(len(table))[: config.most]
    inputs = like.inputs if like else Inputs.of(table[rows])
    x, y = inputs(table[rows]), outcome[rows].astype(np.float64)
    kernel = like.kernel if like else learned(config, x, y, rng)
    points = x[telling(kernel, x, config.points)]
    own = kernel.exponential(points, points)
    lower = cholesky(own + JITTER * np.exp(kernel.variances).sum() * np.eye(len(points)), lower=True)
    exponential = solve_triangular(lower, kernel.exponential(points, x), lower=True, check_finite=False).T
    scale = np.exp(kernel.linear)
    basis = np.concatenate([exponential, x * scale, np.ones((len(x), 1))], axis=1)
    weights = _likeliest(basis, y, np.zeros(basis.shape[1]))
    count = len(points)
    by_point = solve_triangular(lower, weights[:count], lower=True, trans="T", check_finite=False)
    return Fit(inputs, kernel, points, by_point, weights[count:-1] * scale, float(weights[-1]))


def _likeliest(basis: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weights of the highest posterior, each a priori of mean 0 and variance 1, by Newton's steps from these."""
    f = basis @ weights
    for _ in range(NEWTON):
        p = sigmoid(f)
        curved = basis.T @ ((p * (1 - p))[:, None] * basis)
        curved[np.diag_indices_from(curved)] += 1.0
        lower = cholesky(curved, lower=True, check_finite=False)
        weights = weights + cho_solve((lower, True), basis.T @ (y - p) - weights, check_finite=False)
        before, f = f, basis @ weights
        if np.abs(f - before).max() < STILL:
            break
    return weights
