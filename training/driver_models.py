"""The black box and the glass box beside it: boosted trees, judged on customers they never saw."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
from scipy.stats import rankdata, t

from recsys.drivers.columns import Columns
from recsys.progress import Progress

SPLITS = 15
"""Random splits by customer, each with models of its own."""
HELD = 0.2
"""Share of the customers of a split who judge."""
JUDGED = 4_000
"""Rows of a split at most on which columns are shuffled."""
TOP = 10
BLACK = {"num_leaves": 15, "learning_rate": 0.05, "feature_fraction": 0.6}
BLACK_ROUNDS = 120
GLASS = {"num_leaves": 4, "learning_rate": 0.1, "feature_fraction": 0.5}
GLASS_ROUNDS = 200
SHARED = {"min_data_in_leaf": 40, "bagging_fraction": 0.8, "bagging_freq": 1, "lambda_l2": 5.0, "max_bin": 63}
SHARED |= {"min_data_per_group": 40, "cat_smooth": 20.0}
FIXED = {"objective": "binary", "num_threads": 1, "deterministic": True, "force_row_wise": True, "verbosity": -1}
"""One thread and one order of sums: the same rows and seed give the same trees."""


@dataclass(frozen=True)
class Interval:
    """A mean over splits with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Importance:
    """What a column is worth to the black box."""

    column: str
    lost: Interval
    """AUC lost when the column is shuffled among customers the model never saw."""
    rank: Interval
    """Mean rank over splits, and where 9 in 10 of them lie."""
    in_top: float
    """Share of the splits in which it is among the first TOP."""


@dataclass(frozen=True)
class Validated:
    """How well the outcome can be told, and from what."""

    black: Interval
    glass: Interval
    cost: Interval
    """AUC that the glass box gives away, paired by split."""
    importances: tuple[Importance, ...]
    """Most important first."""


def validate(columns: Columns, outcome: np.ndarray, customer: np.ndarray, seed: int, progress: Progress) -> Validated:
    """AUC of both models and importances, over random splits by customer.

    Intervals over splits are those of Nadeau and Bengio (Machine Learning 2003), which count that the splits share
    most of their customers.
    """
    aucs, lost = [], []
    rng = np.random.default_rng(seed)
    for split in range(SPLITS):
        held = np.isin(customer, rng.permutation(int(customer.max()) + 1)[: max(1, int(HELD * (customer.max() + 1)))])
        if len(np.unique(outcome[held])) == 2 and len(np.unique(outcome[~held])) == 2:
            black = fit(columns, outcome, np.flatnonzero(~held), seed + split, glass=False)
            glass = fit(columns, outcome, np.flatnonzero(~held), seed + split, glass=True)
            judged = columns.values[held]
            aucs.append([auc(score(model, judged), outcome[held]) for model in (black, glass)])
            lost.append(_shuffled(black, judged[:JUDGED], outcome[held][:JUDGED], rng))
        progress(split + 1, SPLITS, "validating")
    scores, losses = np.array(aucs), np.array(lost)
    ranks = rankdata(-losses, axis=1)
    found = [
        Importance(
            name,
            over_splits(losses[:, place]),
            Interval(float(ranks[:, place].mean()), *(float(q) for q in np.quantile(ranks[:, place], [0.05, 0.95]))),
            float((ranks[:, place] <= TOP).mean()),
        )
        for place, name in enumerate(columns.names)
    ]
    found.sort(key=lambda one: (-one.lost.value, one.column))
    black_, glass_ = scores.T
    return Validated(over_splits(black_), over_splits(glass_), over_splits(black_ - glass_), tuple(found))


def over_splits(values: np.ndarray) -> Interval:
    """Mean of a figure over splits [J], with the corrected resampled t interval."""
    mean, count = float(values.mean()), len(values)
    spread = np.sqrt((1 / count + HELD / (1 - HELD)) * values.var(ddof=1)) if count > 1 else np.nan
    half = float(t.ppf(0.975, max(count - 1, 1)) * spread)
    return Interval(mean, mean - half, mean + half)


def fit(
    columns: Columns,
    outcome: np.ndarray,
    rows: np.ndarray,
    seed: int,
    *,
    glass: bool,
    rounds: int | None = None,
) -> lightgbm.Booster:
    """Boosted trees on some rows. A glass box's trees look at one column each, so that it is a sum of curves."""
    settings: dict[str, Any] = {**FIXED, **SHARED, **(GLASS if glass else BLACK), "seed": seed}
    if glass:
        settings["interaction_constraints"] = [[place] for place in range(len(columns.names))]
    data = lightgbm.Dataset(
        columns.values[rows], outcome[rows], categorical_feature=columns.categories, params={"verbosity": -1}
    )
    return lightgbm.train(settings, data, rounds or (GLASS_ROUNDS if glass else BLACK_ROUNDS))


def score(model: lightgbm.Booster, values: np.ndarray) -> np.ndarray:
    """float64 [n]: the probability of the outcome, [n, F] columns in."""
    return np.asarray(model.predict(values), dtype=np.float64)


def curves(model: lightgbm.Booster, columns: Columns, rows: np.ndarray) -> np.ndarray:
    """float64 [n, F]: what each column adds to a glass box's log-odds, mean zero over the rows; they sum to it."""
    told: np.ndarray = np.asarray(model.predict(columns.values[rows], pred_contrib=True))[:, :-1]
    return told - told.mean(axis=0)


def cross_folds(customer: np.ndarray, folds: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of the other folds, rows of the fold; a customer's rows are in one fold."""
    fold = np.random.default_rng(seed).permutation(np.arange(int(customer.max()) + 1) % folds)[customer]
    for place in range(folds):
        yield np.flatnonzero(fold != place), np.flatnonzero(fold == place)


def auc(scores: np.ndarray, outcome: np.ndarray) -> float:
    """Area under the ROC curve by ranks (Mann and Whitney, 1947); ties count half."""
    positive = outcome == 1
    ones = int(positive.sum())
    return float((rankdata(scores)[positive].sum() - ones * (ones + 1) / 2) / (ones * (len(outcome) - ones)))


def _shuffled(model: lightgbm.Booster, values: np.ndarray, outcome: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float64 [F]: AUC lost when each column is shuffled in turn; nothing for a column that no tree asks about."""
    whole = auc(score(model, values), outcome)
    lost = np.zeros(values.shape[1])
    for place in np.flatnonzero(model.feature_importance() > 0):
        changed = values.copy()
        changed[:, place] = rng.permutation(values[:, place])
        lost[place] = whole - auc(score(model, changed), outcome)
    return lost
