"""What the best single column says by itself: what a model has to beat to be worth its trouble."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import rankdata

from recsys.bundle.churn import Churn
from training.churn_measures import beside_column


def single_column(
    churn: Churn, validation: pl.DataFrame, test: pl.DataFrame, p: np.ndarray, samples: int, seed: int
) -> dict[str, Any] | None:
    """The column that is best on validation, its AUC on the test, and the model's less it, with paired intervals.

    A number ranks by value, in the direction that is better on validation, a category by the share that left there;
    what is not known has the share of all. `p` [N] are the model's probabilities on the test. None without columns.
    """
    y = validation["outcome"].to_numpy().astype(np.int64)
    names = [*churn.definition.categories, *churn.definition.numbers]
    best = max(names, key=lambda name: _auc(_scores(validation[name], validation[name], y), y), default=None)
    if best is None:
        return None
    scores = _scores(test[best], validation[best], y)
    outcome = test["outcome"].to_numpy().astype(np.int64)
    return {"column": best, **beside_column(p, scores, outcome, samples, seed)}


def _scores(values: pl.Series, learned: pl.Series, y: np.ndarray) -> np.ndarray:
    """float64 [N] scores of `values` by what `learned` values and their outcomes say."""
    if values.dtype == pl.String:
        rates = _rates(learned, y)
        return np.array([rates.get(value, float(y.mean())) for value in values.to_list()])
    middle = learned.drop_nulls().median()
    known = [
        s.fill_null(middle if middle is not None else 0.0).to_numpy().astype(np.float64) for s in (learned, values)
    ]
    return known[1] if _auc(known[0], y) >= 0.5 else -known[1]


def _rates(values: pl.Series, y: np.ndarray) -> Mapping[Any, float]:
    """Share that left by value, one customer of the common share added."""
    frame = pl.DataFrame({"value": values, "y": y})
    rate = (pl.col("y").sum() + float(y.mean())) / (pl.len() + 1)
    return dict(frame.group_by("value").agg(rate.alias("rate")).iter_rows())


def _auc(scores: np.ndarray, y: np.ndarray) -> float:
    ranks, ones = rankdata(scores), int(y.sum())
    return float((ranks[y == 1].sum() - ones * (ones + 1) / 2) / (ones * (len(y) - ones)))
