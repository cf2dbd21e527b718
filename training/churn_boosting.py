"""Gradient boosting by LightGBM, and its trees as one ONNX operator that decides exactly as the library does."""

from collections.abc import Sequence
from typing import Any

import lightgbm
import numpy as np

from recsys.churn.models_config import BoostingConfig
from training.churn_graph import GraphParts

_STEP = 2.0**-18
"""Leaf values are whole multiples of it: sums below 64 are then exact in float32, in whatever order they are taken."""


class Boosting:
    """Boosters of the folds; the mean of their log-odds counts."""

    def __init__(self, name: str, boosters: Sequence[lightgbm.Booster]) -> None:
        self.name, self.boosters = name, list(boosters)

    def log_odds(self, table: np.ndarray) -> np.ndarray:
        """float32 [N, width] → float64 [N]."""
        return np.mean([one.predict(table, raw_score=True, num_threads=1) for one in self.boosters], axis=0)

    def add_to(self, parts: GraphParts) -> str:
        """Its operators; the name of its log-odds [N, 1]."""
        trees, total = tree_attributes(self.boosters), f"{self.name}_sum"
        parts.node("TreeEnsembleRegressor", [parts.table()], total, domain="ai.onnx.ml", **trees)
        share = parts.constant(f"{self.name}_share", np.array([1 / len(self.boosters)], dtype=np.float32))
        return parts.node("Mul", [total, share], f"{self.name}_log_odds")


def fit_boosting(
    name: str,
    config: BoostingConfig,
    table: np.ndarray,
    outcome: np.ndarray,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    seed: int,
    threads: int,
    refit: int = 0,
) -> tuple[Boosting, np.ndarray]:
    """The model, and the log-odds of the held-out rows of the splits, [N], NaN where no split holds a row out.

    With `refit` the model is so many fits on all rows, with as many trees for each row as were best on average.
    """
    held_out = np.full(len(table), np.nan)
    boosters = []
    for i, (fitted_on, held) in enumerate(splits):
        bag = [
            _fit(config, table, outcome, fitted_on, held, np.random.SeedSequence((seed, i, j)), threads)
            for j in range(config.bag)
        ]
        held_out[held] = Boosting(name, bag).log_odds(table[held])
        boosters += bag
    if refit:
        per_row = np.mean([one.num_trees() for one in boosters]) / np.mean([len(rows) for rows, _ in splits])
        longest = config.model_copy(update={"trees": max(1, round(per_row * len(table)))})
        seeds = [np.random.SeedSequence((seed, len(splits), i)) for i in range(refit)]
        everyone = np.arange(len(table))
        boosters = [_fit(longest, table, outcome, everyone, None, one, threads) for one in seeds]
    return Boosting(name, boosters), held_out


def _fit(
    config: BoostingConfig,
    table: np.ndarray,
    outcome: np.ndarray,
    fitted_on: np.ndarray,
    held: np.ndarray | None,
    seed: np.random.SeedSequence,
    threads: int,
) -> lightgbm.Booster:
    settings: dict[str, Any] = {
        "objective": "binary",
        "num_leaves": config.leaves,
        "learning_rate": config.learning_rate,
        "min_data_in_leaf": config.least_in_leaf,
        "lambda_l2": config.l2,
        "feature_fraction": config.columns,
        "bagging_fraction": config.rows,
        "bagging_freq": 1,
        "extra_trees": config.random_thresholds,
        "seed": int(seed.generate_state(1)[0] >> 1),
        "num_threads": threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }
    learned = lightgbm.Dataset(table[fitted_on], outcome[fitted_on])
    if held is None:
        booster = lightgbm.train(settings, learned, config.trees)
        kept = lightgbm.Booster(model_str=booster.model_to_string())
    else:
        judge = lightgbm.Dataset(table[held], outcome[held], reference=learned)
        stop = lightgbm.early_stopping(config.patience, verbose=False)
        booster = lightgbm.train(settings, learned, config.trees, valid_sets=[judge], callbacks=[stop])
        kept = lightgbm.Booster(model_str=booster.model_to_string(num_iteration=booster.best_iteration))
    round_leaves(kept)
    return kept


def round_leaves(booster: lightgbm.Booster) -> None:
    """Leaf values to whole multiples of `_STEP`, in the library's own trees."""
    for tree, info in enumerate(booster.dump_model()["tree_info"]):
        for leaf in range(info["num_leaves"]):
            value = booster.get_leaf_output(tree, leaf)
            booster.set_leaf_output(tree, leaf, round(value / _STEP) * _STEP)


def tree_attributes(boosters: Sequence[lightgbm.Booster], apart: bool = False) -> dict[str, Any]:
    """Attributes of a TreeEnsembleRegressor that sums all trees; with `apart` those of each booster, [N, boosters].

    A threshold is rounded down to float32: a float32 is at most the threshold exactly where it is at most that.
    """
    nodes: dict[str, list[Any]] = {name: [] for name in _NODES}
    leaves: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
    trees = [(i, info["tree_structure"]) for i, one in enumerate(boosters) for info in one.dump_model()["tree_info"]]
    for tree, (booster, root) in enumerate(trees):
        open_nodes, count, target = [(0, root)], 1, booster if apart else 0
        while open_nodes:
            place, node = open_nodes.pop()
            split = "split_feature" in node
            below = (count, count + 1) if split else (0, 0)
            threshold = _float_below(node["threshold"]) if split else 0.0
            feature = node["split_feature"] if split else 0
            mode = "BRANCH_LEQ" if split else "LEAF"
            for name, value in zip(_NODES, (tree, place, feature, threshold, mode, *below, 0), strict=True):
                nodes[name].append(value)
            if split:
                open_nodes += [(below[0], node["left_child"]), (below[1], node["right_child"])]
                count += 2
            else:
                for name, value in zip(leaves, (tree, place, target, float(node["leaf_value"])), strict=True):
                    leaves[name].append(value)
    targets = len(boosters) if apart else 1
    found: dict[str, Any] = {f"nodes_{name}": values for name, values in nodes.items()}
    return found | {f"target_{name}": values for name, values in leaves.items()} | {"n_targets": targets}


_NODES = (
    "treeids",
    "nodeids",
    "featureids",
    "values",
    "modes",
    "truenodeids",
    "falsenodeids",
    "missing_value_tracks_true",
)


def _float_below(threshold: float) -> float:
    """The largest float32 that is not above."""
    near = np.float32(threshold)
    return float(near if float(near) <= threshold else np.nextafter(near, np.float32(-np.inf)))
