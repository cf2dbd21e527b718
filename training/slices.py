"""Whom a recommender serves well, by number of events and by declared group, and what its lists are like."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys.beyond_accuracy import diversity, gini, novelty, popularity
from recsys.bootstrap import bootstrap_many, gap, paired_bootstrap

EVENTS = {"0": (0, 0), "1": (1, 1), "2 to 5": (2, 5), "6 and more": (6, None)}
"""Slices by how many products are in the history, or held where there is no history."""
LEAST = 20
"""Test rows that a slice needs to be shown."""
LISTS = 5000
"""Lists that are looked at for what accuracy does not say; drawn by the seed where there are more."""


def event_slice(rows: pl.DataFrame) -> np.ndarray:
    """str [N]: the slice of `EVENTS` of each feature row."""
    count = rows.select(
        pl.max_horizontal(pl.col("history").list.len(), pl.col("holdings").list.len()).alias("n")
    ).to_series()
    name = pl.lit(None, dtype=pl.String)
    for label, (low, high) in EVENTS.items():
        inside = (pl.col("n") >= low) if high is None else pl.col("n").is_between(low, high)
        name = pl.when(inside).then(pl.lit(label)).otherwise(name)
    return count.to_frame().select(name).to_series().to_numpy()


def slice_report(
    values: Mapping[str, np.ndarray],
    model: str,
    labels: np.ndarray,
    customers: np.ndarray,
    samples: int,
    seed: int,
) -> dict[str, Any]:
    """For each label: how many rows, each model's mean with its interval, and `model` minus the best of the others.

    values: model → float64 [N] of one metric; labels: [N], None for unknown. `gap` is the mean of `model` in the slice
    minus its mean outside.
    """
    found = {}
    order = list(EVENTS)
    for label in sorted(
        {str(one) for one in labels if one is not None}, key=lambda n: (order.index(n) if n in order else 99, n)
    ):
        inside = labels == label
        if inside.sum() < LEAST:
            continue
        intervals = bootstrap_many({name: v[inside] for name, v in values.items()}, customers[inside], samples, seed)
        means = {name: asdict(interval) for name, interval in intervals.items()}
        one: dict[str, Any] = {"rows": int(inside.sum()), "models": means}
        others = [name for name in means if name != model]
        if others:
            best = max(others, key=lambda name: means[name]["value"])
            ahead = paired_bootstrap(values[model][inside], values[best][inside], customers[inside], samples, seed)
            one |= {"best_baseline": best, "difference": asdict(ahead)}
        if inside.sum() < len(labels):
            one["gap"] = asdict(gap(values[model], inside, customers, samples, seed))
        found[label] = one
    return found


def list_report(
    top: Mapping[str, np.ndarray], held: sp.csr_matrix, customers: np.ndarray, samples: int, seed: int
) -> dict[str, Any]:
    """For each model, of its lists int32 [N, k]: `novelty`, `diversity`, `popularity` with intervals, and `gini`."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(customers))[:LISTS])
    found: dict[str, Any] = {}
    for name, lists in top.items():
        chosen = lists[rows]
        values = {
            "novelty": novelty(chosen, held),
            "diversity": diversity(chosen, held),
            "popularity": popularity(chosen, held),
        }
        intervals = bootstrap_many(values, customers[rows], samples, seed)
        found[name] = {metric: asdict(interval) for metric, interval in intervals.items()}
        found[name]["gini"] = gini(lists, held.shape[1])
    return found
