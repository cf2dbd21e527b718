"""What an embedding holds: how well a weighted sum of it tells the features and the histories, from each part of it."""

from typing import Any

import numpy as np

from training.customers import Customers
from training.embedding import Fitted
from training.export_embedding import Embedded

ROWS = 20_000
"""Customers from whom it is told at most, every other one kept out of the fit."""
_RIDGE = 1e-3


def embedding_report(fitted: Fitted, embedded: Embedded, customers: Customers) -> dict[str, Any]:
    """Epochs and validation of both encoders, what was told ahead of who was kept out or why nothing was, and
    `told`: the share of variance that each part explains, and all of them.

    Half of the customers fit a ridge regression of the scaled features, and of the kinds of event by product in the
    history, on the embedding; the shares are those of the other half.
    """
    report: dict[str, Any] = {
        "customers": len(customers),
        "share_of_customers": customers.share,
        "autoencoder": _course(fitted.autoencoder),
        "sequence": _course(fitted.sequence) if fitted.sequence else None,
        "ahead": {"left_out": fitted.ahead} if isinstance(fitted.ahead, str) else fitted.ahead.report,
    }
    step = max(1, len(customers) // ROWS)
    vectors = embedded.vectors[::step].astype(np.float64)
    parts = {name: vectors[:, columns] for name, columns in embedded.about.parts.items()}
    if len(parts) > 1:
        parts["all"] = vectors
    wanted = {"features": embedded.features[::step].astype(np.float64)}
    if "history" in customers.arrays:
        wanted["history"] = _bags(customers, step)
    report["told"] = {
        what: {name: round(explained(part, values), 4) for name, part in parts.items()}
        for what, values in wanted.items()
    }
    return report


def explained(vectors: np.ndarray, values: np.ndarray) -> float:
    """Share of the variance of `values` [N, W] that a ridge regression on `vectors` [N, E] explains out of sample."""
    if len(vectors) < 4:
        return 0.0
    fit, judge = slice(0, None, 2), slice(1, None, 2)
    centre, mean = vectors[fit].mean(axis=0), values[fit].mean(axis=0)
    x, y = vectors[fit] - centre, values[fit] - mean
    ridge = _RIDGE * len(x) * np.eye(x.shape[1]) * max(1e-12, float((x**2).mean()))
    weights = np.linalg.solve(x.T @ x + ridge, x.T @ y)
    left = values[judge] - mean - (vectors[judge] - centre) @ weights
    spread = ((values[judge] - mean) ** 2).sum()
    return float(1 - (left**2).sum() / spread) if spread > 0 else 0.0


def _bags(customers: Customers, step: int) -> np.ndarray:
    """float64 [N, W] shares of a customer's events by kind, and by product (by up to 500 of the most frequent)."""
    found = []
    for name in ("history_kind", "history"):
        index = np.array(customers.arrays[name][::step])
        seen, counts = np.unique(index[index > 0], return_counts=True)
        kept = seen[np.argsort(-counts, kind="stable")[:500]]
        place = np.full(int(index.max(initial=0)) + 1, -1)
        place[kept] = np.arange(len(kept))
        bag = np.zeros((len(index), len(kept)))
        row, column = np.nonzero(place[index] >= 0)
        np.add.at(bag, (row, place[index[row, column]]), 1.0)
        found.append(bag / np.maximum((index > 0).sum(axis=1, keepdims=True), 1))
    return np.concatenate(found, axis=1)


def _course(fit: Any) -> dict[str, Any]:
    """A fit's course without what differs between runs."""
    return {
        "best_epoch": fit.best_epoch,
        "validation": fit.metric,
        "epochs": [{k: v for k, v in epoch.items() if "second" not in k} for epoch in fit.history],
    }
