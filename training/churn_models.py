"""Churn models: candidates fitted on the same folds, blended and calibrated on rows they have not seen, one graph."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from recsys.calibration import Knots, expected_calibration_error
from recsys.churn.models_config import ChurnModelsConfig, NetworkConfig
from recsys.errors import DataError
from recsys.features.encoder import ArrayShape
from recsys.progress import Progress
from training.churn_blend import blend_weights, fit_knots, log_loss, sigmoid
from training.churn_boosting import fit_boosting
from training.churn_gaussian_process import fit_gaussian_process
from training.churn_graph import GraphParts, finish
from training.churn_inputs import Columns
from training.churn_logistic import fit_logistic
from training.churn_network import OnEpoch, fit_network
from training.churn_oblivious import fit_oblivious
from training.churn_steps import fit_steps

LEAST_PER_FOLD = 2
"""Customers who left, and who stayed, that each fold needs."""
_BATCH = 65_536

Split = tuple[np.ndarray, np.ndarray]
"""Rows that are fitted on, rows that are held out."""


@dataclass(frozen=True)
class ChurnData:
    """Customers and what became of them."""

    arrays: dict[str, np.ndarray]
    """The encoder's customer arrays."""
    outcome: np.ndarray
    """int8 [N]: 1 left, 0 stayed."""
    customers: np.ndarray | None = None
    """int64 [N]: rows of equal number are of one customer and never on both sides of a fold; None: all differ."""

    def __len__(self) -> int:
        return len(self.outcome)


@dataclass(frozen=True)
class HeldOut:
    """What the candidates say of rows that they were not fitted on: what thresholds and reports may be made from.

    The served model has seen these rows, where it is fitted again; its own answers about them would flatter it.
    """

    rows: np.ndarray
    """int64 [M] places among the rows of the training part followed by those of the validation part."""
    outcome: np.ndarray
    log_odds: np.ndarray
    probability: np.ndarray


class Candidate(Protocol):
    """A fitted candidate."""

    @property
    def name(self) -> str: ...

    def log_odds(self, table: np.ndarray) -> np.ndarray: ...

    def add_to(self, parts: GraphParts) -> str: ...


class ChurnModel:
    """Candidates with their weights, and the calibration of their sum."""

    def __init__(
        self,
        shape: ArrayShape,
        columns: Columns,
        candidates: Mapping[str, Candidate],
        weights: Mapping[str, float],
        intercept: float,
        knots: Knots,
        held_out: HeldOut,
        report: dict[str, Any],
    ) -> None:
        self.shape, self.columns, self.knots = shape, columns, knots
        self.candidates, self.weights, self.intercept = dict(candidates), dict(weights), intercept
        self.held_out = held_out
        self.report = report
        """`candidates`: metrics of each and of the blend on held-out rows; `weights`, `intercept`, `knots`."""

    @property
    def arrays(self) -> tuple[str, ...]:
        """The customer arrays that the graph reads."""
        return self.columns.arrays

    def log_odds(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """float64 [N] as the fitted models answer; sigmoid of it is the probability before the knots."""
        count = len(arrays[self.arrays[0]])
        found = np.empty(count)
        for start in range(0, count, _BATCH):
            rows = slice(start, start + _BATCH)
            table = self.columns.table({name: arrays[name][rows] for name in self.arrays})
            found[rows] = self.intercept + sum(
                weight * self.candidates[name].log_odds(table) for name, weight in self.weights.items()
            )
        return found

    def probability(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """float64 [N] calibrated."""
        return self.knots.apply(sigmoid(self.log_odds(arrays)))

    def graph(self) -> bytes:
        """Customer arrays, those that are read → `log_odds` float32 [N], `probability` float32 [N]."""
        parts = GraphParts(self.columns)
        blend = {self.candidates[name].add_to(parts): weight for name, weight in self.weights.items()}
        return finish(parts, self.shape, self.arrays, blend, self.intercept, self.knots)


def fit_churn_models(
    config: ChurnModelsConfig,
    shape: ArrayShape,
    train: ChurnData,
    validation: ChurnData,
    *,
    seed: int,
    threads: int,
    work: Path,
    progress: Progress,
) -> ChurnModel:
    """Fit the candidates of the configuration, weigh and calibrate them.

    Raises DataError where a fold would have too few customers who left, or who stayed.
    """
    outcome = np.concatenate([train.outcome, validation.outcome]).astype(np.int8)
    splits = _splits(config.folds, train, validation, outcome, seed)
    columns = Columns.of(shape, train.arrays)
    table = np.concatenate([columns.table(train.arrays), columns.table(validation.arrays)])
    candidates: dict[str, Candidate] = {}
    said: dict[str, np.ndarray] = {}
    for done, name in enumerate(config.candidates):
        progress(done, len(config.candidates), f"churn: {name}")
        if name == "logistic":
            candidates[name], said[name] = fit_logistic(config.logistic, table, outcome, splits, config.refit > 0)
        elif name == "oblivious":
            candidates[name], said[name] = fit_oblivious(config.oblivious, table, outcome, splits, seed, config.refit)
        elif name == "steps":
            candidates[name], said[name] = fit_steps(config.steps, table, outcome, splits, seed, config.refit > 0)
        elif name == "gaussian_process":
            candidates[name], said[name] = fit_gaussian_process(
                config.gaussian_process,
                table,
                outcome,
                splits,
                seed=seed,
                threads=threads,
                progress=progress,
                refit=config.refit > 0,
            )
        elif name == "network":
            candidates[name], said[name] = fit_network(
                config.network,
                shape,
                columns,
                table,
                outcome,
                splits,
                seed=seed,
                threads=threads,
                work=work / "network",
                progress=progress,
                refit=config.refit,
            )
        else:
            settings = {"additive": config.additive, "randomised": config.randomised}.get(name, config.boosting)
            candidates[name], said[name] = fit_boosting(
                name, settings, table, outcome, splits, seed, threads, config.refit
            )
    rows = np.flatnonzero(~np.isnan(said[config.candidates[0]]))
    said = {name: values[rows] for name, values in said.items()}
    weights, intercept = blend_weights(said, outcome[rows])
    log_odds = intercept + sum(weight * said[name] for name, weight in weights.items())
    knots = fit_knots(np.asarray(log_odds), outcome[rows], seed)
    held_out = HeldOut(rows, outcome[rows], np.asarray(log_odds), knots.apply(sigmoid(np.asarray(log_odds))))
    report = _report(said, weights, intercept, knots, held_out)
    return ChurnModel(shape, columns, candidates, weights, intercept, knots, held_out, report)


def network_on_validation(
    config: NetworkConfig,
    shape: ArrayShape,
    train: ChurnData,
    validation: ChurnData,
    *,
    seed: int,
    threads: int,
    work: Path,
    progress: Progress,
    on_epoch: OnEpoch,
) -> float:
    """Fit one network on the training part; the best log-likelihood of a row of the validation part, a mean."""
    found: list[float] = []

    def noted(epoch: int, value: float) -> None:
        found.append(value)
        on_epoch(epoch, value)

    outcome = np.concatenate([train.outcome, validation.outcome]).astype(np.int8)
    columns = Columns.of(shape, train.arrays)
    fit_network(
        config.model_copy(update={"bag": 1}),
        shape,
        columns,
        np.concatenate([columns.table(train.arrays), columns.table(validation.arrays)]),
        outcome,
        _splits(0, train, validation, outcome, seed),
        seed=seed,
        threads=threads,
        work=work,
        progress=progress,
        on_epoch=noted,
    )
    return max(found)


def _splits(folds: int, train: ChurnData, validation: ChurnData, outcome: np.ndarray, seed: int) -> list[Split]:
    """The rows of each fit and those it is judged on."""
    if not folds:
        for part, data in (("training", train), ("validation", validation)):
            _check(part, data.outcome, LEAST_PER_FOLD)
        return [(np.arange(len(train)), np.arange(len(train), len(outcome)))]
    _check("training and validation", outcome, LEAST_PER_FOLD * folds)
    fold = _folds(folds, _groups(train, validation), outcome, seed)
    return [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(folds)]


def _check(part: str, outcome: np.ndarray, least: int) -> None:
    left, rows = int((outcome == 1).sum()), len(outcome)
    if min(left, rows - left) < least:
        raise DataError(
            f"churn: in the {part} part {left} of {rows} rows left and {rows - left} stayed; "
            f"at least {least} of each are needed"
        )


def _groups(train: ChurnData, validation: ChurnData) -> np.ndarray:
    """int64 [N] a number for each customer."""
    if train.customers is None or validation.customers is None:
        return np.arange(len(train) + len(validation))
    return np.unique(np.concatenate([train.customers, validation.customers]), return_inverse=True)[1]


def _folds(folds: int, groups: np.ndarray, outcome: np.ndarray, seed: int) -> np.ndarray:
    """int64 [N] the fold of each row: customers at random, those who ever left spread evenly."""
    count = int(groups.max()) + 1
    left = np.zeros(count, dtype=bool)
    left[groups[outcome == 1]] = True
    order = np.random.default_rng(seed).permutation(count)
    order = order[np.argsort(left[order], kind="stable")]
    fold = np.empty(count, dtype=np.int64)
    fold[order] = np.arange(count) % folds
    return fold[groups]


def _report(
    said: Mapping[str, np.ndarray], weights: Mapping[str, float], intercept: float, knots: Knots, held_out: HeldOut
) -> dict[str, Any]:
    outcome = held_out.outcome
    table = {name: metrics(_platt(values, outcome), outcome) for name, values in said.items()}
    total = max(sum(weights.values()), 1e-12)
    return {
        "rows": len(outcome),
        "base_rate": float(outcome.mean()),
        "candidates": table | {"blend": metrics(held_out.probability, outcome)},
        "shares": {name: weights.get(name, 0.0) / total for name in said},
        "weights": dict(weights),
        "intercept": intercept,
        "knots": knots.model_dump(mode="json"),
    }


def _platt(log_odds: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """Calibrated by a sigmoid as the blend is, so that candidates are compared by what they know."""
    weights, intercept = blend_weights({"one": log_odds}, outcome)
    return sigmoid(weights["one"] * log_odds + intercept)


def metrics(probability: np.ndarray, outcome: np.ndarray) -> dict[str, float]:
    """`auc`, `pr_auc` (average precision), `brier`, `log_loss`, `ece` of probabilities [N] for 0/1 outcomes [N]."""
    y = outcome.astype(np.float64)
    return {
        "auc": float(roc_auc_score(y, probability)),
        "pr_auc": float(average_precision_score(y, probability)),
        "brier": float(np.mean((probability - y) ** 2)),
        "log_loss": float(log_loss(probability, y).mean()),
        "ece": expected_calibration_error(probability, y),
    }
