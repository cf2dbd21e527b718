"""Logistic regression on the table of customers: the candidate that everybody knows."""

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression

from recsys.churn.models_config import LogisticConfig
from training.churn_graph import GraphParts, linear

_STEPS = 2000


class Logistic:
    """The mean of the folds' linear models, which is one."""

    name = "logistic"

    def __init__(self, weights: np.ndarray, intercept: float) -> None:
        self.weights, self.intercept = weights, intercept

    def log_odds(self, table: np.ndarray) -> np.ndarray:
        """float32 [N, width] → float64 [N]."""
        return table.astype(np.float64) @ self.weights + self.intercept

    def add_to(self, parts: GraphParts) -> str:
        """Its operators; the name of its log-odds [N, 1]."""
        return linear(parts, self.name, self.weights, self.intercept)


def fit_logistic(
    config: LogisticConfig,
    table: np.ndarray,
    outcome: np.ndarray,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    refit: bool = False,
) -> tuple[Logistic, np.ndarray]:
    """The model, and the log-odds of the held-out rows of the splits, [N], NaN where no split holds a row out.

    The model is the mean of the folds' fits, or with `refit` one fit on all rows.
    """
    held_out = np.full(len(table), np.nan)
    found = []
    for fitted_on, held in splits:
        one = _fit(config, table[fitted_on], outcome[fitted_on])
        held_out[held] = one.log_odds(table[held])
        found.append(one)
    if refit:
        return _fit(config, table, outcome), held_out
    weights = np.mean([one.weights for one in found], axis=0)
    return Logistic(weights, float(np.mean([one.intercept for one in found]))), held_out


def _fit(config: LogisticConfig, table: np.ndarray, outcome: np.ndarray) -> Logistic:
    mean, scale = table.mean(axis=0, dtype=np.float64), table.std(axis=0, dtype=np.float64)
    scale = np.where(scale > 0, scale, 1.0)
    model = LogisticRegression(C=1 / config.l2, max_iter=_STEPS)
    model.fit((table - mean) / scale, outcome)
    weights = model.coef_[0] / scale
    return Logistic(weights, float(model.intercept_[0] - weights @ mean))
