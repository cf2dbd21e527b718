"""Gradient boosting of oblivious trees: each level of a tree asks every row the same question.

A tree of depth d is d thresholds and 2^d values, so it can say less than a free tree of as many leaves, and on a few
thousand rows overfits less (Prokhorenkova et al., CatBoost, NeurIPS 2018, section 4). Splits are found on histograms,
leaf values by a Newton step with a ridge penalty (Friedman 2001; Chen and Guestrin, KDD 2016, equations 5 and 7).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys.churn.models_config import ObliviousConfig
from training.churn_blend import sigmoid
from training.churn_graph import GraphParts

WHOLE = 2.0**-18
"""Leaf values are whole multiples of it, as in `training.churn_boosting`."""

LEAST_APART = 2.0
"""Information (Fisher's, of a weight beside an intercept) that a step must have to be tested."""

MOST_CELLS = 2_000_000
"""Rows × columns that a tree is grown on at most: a larger table is sampled, which bounds time and memory."""


@dataclass(frozen=True)
class Tree:
    """A row goes to leaf Σ 2^level · (its column is above the level's threshold)."""

    columns: np.ndarray
    thresholds: np.ndarray
    """float32, so that every float32 is on the same side here and in a graph."""
    values: np.ndarray


class Oblivious:
    """Trees of the folds; the mean of their log-odds counts."""

    name = "oblivious"

    def __init__(self, folds: Sequence[tuple[float, Sequence[Tree]]]) -> None:
        self.folds = list(folds)
        """For each fold the log-odds to begin with, and trees that add to them."""

    def log_odds(self, table: np.ndarray) -> np.ndarray:
        """float32 [N, width] → float64 [N]."""
        total = np.full(len(table), sum(start for start, _ in self.folds))
        for _, trees in self.folds:
            for tree in trees:
                total += tree.values[_leaves(table[:, tree.columns] > tree.thresholds)]
        return total / len(self.folds)

    def add_to(self, parts: GraphParts) -> str:
        """Its operators; the name of its log-odds [N, 1]."""
        trees = _attributes([tree for _, trees in self.folds for tree in trees])
        total = parts.node(
            "TreeEnsembleRegressor", [parts.table()], "oblivious_sum", domain="ai.onnx.ml", n_targets=1, **trees
        )
        start = parts.constant("oblivious_start", np.array([sum(one for one, _ in self.folds)], dtype=np.float32))
        share = parts.constant("oblivious_share", np.array([1 / len(self.folds)], dtype=np.float32))
        return parts.node("Mul", [parts.node("Add", [total, start], "oblivious_all"), share], "oblivious_log_odds")


def fit_oblivious(
    config: ObliviousConfig,
    table: np.ndarray,
    outcome: np.ndarray,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    seed: int,
    refit: int = 0,
) -> tuple[Oblivious, np.ndarray]:
    """The model, and the log-odds of the held-out rows of the splits, [N], NaN where no split holds a row out.

    With `refit` the model is so many fits on all rows, with as many trees for each row as were best on average.
    """
    held_out = np.full(len(table), np.nan)
    folds = []
    for i, (fitted_on, held) in enumerate(splits):
        fold = _fit(config, table, outcome.astype(np.float64), fitted_on, held, np.random.default_rng((seed, i)))
        held_out[held] = Oblivious([fold]).log_odds(table[held])
        folds.append(fold)
    if refit:
        per_row = np.mean([len(trees) for _, trees in folds]) / np.mean([len(rows) for rows, _ in splits])
        longest = config.model_copy(update={"trees": max(1, round(per_row * len(table)))})
        seeds = [np.random.default_rng((seed, len(splits), i)) for i in range(refit)]
        everyone = np.arange(len(table))
        folds = [_fit(longest, table, outcome.astype(np.float64), everyone, None, one) for one in seeds]
    return Oblivious(folds), held_out


def _fit(
    config: ObliviousConfig,
    table: np.ndarray,
    outcome: np.ndarray,
    fitted_on: np.ndarray,
    held: np.ndarray | None,
    rng: np.random.Generator,
) -> tuple[float, list[Tree]]:
    """Trees until the held-out rows have liked none for long, those after the best dropped; all without such rows."""
    x, y = table[fitted_on], outcome[fitted_on]
    judged = np.empty(0, dtype=np.int64) if held is None else held
    held_x, sign = table[judged], 1 - 2 * outcome[judged]
    histogram = Histogram(x, config.bins)
    share = min(config.rows, MOST_CELLS / max(1, x.size))
    start = float(np.round(np.log(y.mean() / (1 - y.mean())) / WHOLE) * WHOLE)
    said, held_said = np.full(len(x), start), np.full(len(judged), start)
    trees: list[Tree] = []
    best, kept = float("inf"), 0
    while len(trees) < config.trees and len(trees) - kept < config.patience:
        p = sigmoid(said)
        gradient, hessian = y - p, p * (1 - p)
        rows = np.flatnonzero(rng.random(len(x)) < share)
        columns, thresholds, leaf = histogram.tree(gradient, hessian, rows, config.depth, config.l2)
        count = 1 << len(columns)
        up = np.bincount(leaf[rows], gradient[rows], count)
        value = config.learning_rate * up / (np.bincount(leaf[rows], hessian[rows], count) + config.l2)
        tree = Tree(columns, thresholds, np.round(value / WHOLE) * WHOLE)
        trees.append(tree)
        said += tree.values[leaf]
        held_said += tree.values[_leaves(held_x[:, columns] > thresholds)]
        loss = -float(len(trees)) if held is None else float(np.logaddexp(0.0, sign * held_said).mean())
        if loss < best:
            best, kept = loss, len(trees)
    return start, trees[:kept]


class Histogram:
    """Rows of a table float32 [N, width] by bins, in which splits are looked for."""

    def __init__(self, x: np.ndarray, bins: int) -> None:
        edges = [_edges(x[:, column], bins) for column in range(x.shape[1])]
        self.columns = np.array([column for column, found in enumerate(edges) if len(found)], dtype=np.int64)
        self.edges = [edges[column] for column in self.columns]
        self.width = max(map(len, self.edges), default=0) + 1
        codes = [
            np.searchsorted(found, x[:, column]).astype(np.int16)
            for column, found in zip(self.columns, self.edges, strict=True)
        ]
        self.codes = np.stack(codes, axis=1) if codes else np.empty((len(x), 0), np.int16)
        self.splits = np.concatenate(
            [np.arange(self.width) < len(found) for found in self.edges] or [np.empty(0, bool)]
        )

    def tree(
        self, gradient: np.ndarray, hessian: np.ndarray, rows: np.ndarray, depth: int, l2: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Columns and thresholds of a tree grown on these rows, level by level, and every row's leaf."""
        leaf = np.zeros(len(self.codes), dtype=np.int64)
        columns, thresholds = [], []
        if not len(self.columns):
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32), leaf
        flat = self.codes[rows] + np.arange(len(self.columns)) * self.width
        g, h = (np.repeat(values[rows], len(self.columns)) for values in (gradient, hessian))
        size = len(self.columns) * self.width
        for level in range(depth):
            place = (leaf[rows, None] * size + flat).ravel()
            shape = (1 << level, len(self.columns), self.width)
            below_g, below_h = (
                np.bincount(place, values, shape[0] * size).reshape(shape).cumsum(axis=2) for values in (g, h)
            )
            above_g, above_h = below_g[:, :, -1:] - below_g, below_h[:, :, -1:] - below_h
            gain = (below_g**2 / (below_h + l2) + above_g**2 / (above_h + l2)).sum(axis=0).ravel()
            best = int(np.where(self.splits, gain, -np.inf).argmax())
            column, code = divmod(best, self.width)
            columns.append(int(self.columns[column]))
            thresholds.append(self.edges[column][code])
            leaf += (self.codes[:, column] > code).astype(np.int64) << level
        return np.array(columns), np.array(thresholds, dtype=np.float32), leaf

    def best_step(self, gradient: np.ndarray, hessian: np.ndarray, taken: np.ndarray) -> int | None:
        """The step that a score test likes best, beside an intercept, as a number for `step`; None if none is left.

        `taken`: bool [steps], those that are not to be looked at.
        """
        size = len(self.columns) * self.width
        if not size:
            return None
        place = (self.codes + np.arange(len(self.columns)) * self.width).ravel()
        below_g, below_h = (
            np.bincount(place, np.repeat(values, len(self.columns)), size).reshape(-1, self.width).cumsum(axis=1)
            for values in (gradient, hessian)
        )
        all_g, all_h = gradient.sum(), max(float(hessian.sum()), 1e-9)
        apart = below_h * (all_h - below_h) / all_h
        score = (below_g - below_h / all_h * all_g) ** 2 / np.maximum(apart, 1e-9)
        score = np.where(self.splits & ~taken & (apart.ravel() >= LEAST_APART), score.ravel(), -np.inf)
        best = int(score.argmax())
        return best if score[best] > 0 else None

    def step(self, number: int) -> tuple[int, np.float32, np.ndarray]:
        """Column and threshold of a step, and bool [N], which rows are above it."""
        column, code = divmod(number, self.width)
        return int(self.columns[column]), self.edges[column][code], self.codes[:, column] > code


def _edges(values: np.ndarray, bins: int) -> np.ndarray:
    """float32 thresholds, ascending, that leave values on both sides: between few distinct values, else quantiles."""
    known = np.unique(values)
    if len(known) <= bins:
        return known[:-1]
    cuts = np.unique(np.quantile(values, np.arange(1, bins) / bins, method="lower"))
    return cuts[cuts < known[-1]]


def _leaves(above: np.ndarray) -> np.ndarray:
    """bool [N, depth] → int64 [N]."""
    return above @ (1 << np.arange(above.shape[1]))


def _attributes(trees: Sequence[Tree]) -> dict[str, Any]:
    """Attributes of a TreeEnsembleRegressor; a tree's nodes are numbered as in a heap, left is not above."""
    nodes: dict[str, list[Any]] = {name: [] for name in _NODES}
    leaves: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
    for number, tree in enumerate(trees):
        depth = len(tree.columns)
        for level in range(depth + 1):
            for place in range(1 << level):
                node = (1 << level) - 1 + place
                below = (2 * node + 1, 2 * node + 2) if level < depth else (0, 0)
                asked = (int(tree.columns[level]), float(tree.thresholds[level])) if level < depth else (0, 0.0)
                mode = "BRANCH_LEQ" if level < depth else "LEAF"
                for name, value in zip(_NODES, (number, node, *asked, mode, *below), strict=True):
                    nodes[name].append(value)
                if level == depth:  # bits from the root on are the highest of `place`, the lowest of the leaf
                    leaf = sum(((place >> (depth - 1 - bit)) & 1) << bit for bit in range(depth))
                    for name, value in zip(leaves, (number, node, 0, float(tree.values[leaf])), strict=True):
                        leaves[name].append(value)
    return {f"nodes_{name}": values for name, values in nodes.items()} | {
        f"target_{name}": values for name, values in leaves.items()
    }


_NODES = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
