"""What a churn model goes by: importance of groups of features, and how the probability moves with one column."""

from typing import Any

import numpy as np
import polars as pl

from recsys.bundle.churn import Churn
from recsys.bundle.churn_reasons import ChurnReasons
from recsys.segment_cards.labels import WHOLE_CURRENCIES, Labels
from recsys.segment_cards.suppression import FEWEST
from recsys.shapley import importance

EXPLAINED = 400
"""Customers whose log-odds are attributed to groups of features."""
FOLLOWED = 400
"""Customers of whom one column is changed at a time."""
CURVES = 9
"""Columns that are followed, those that move the probability most."""
TRIED = 40
"""Columns that are tried at most, those that go most with the log-odds."""
GRID = 15
"""Values of a number, or of a category the most frequent."""


def importance_table(churn: Churn, rows: pl.DataFrame, seed: int) -> list[dict[str, Any]]:
    """Mean size of the reasons that `/churn` gives, by group, over a sample of rows, with intervals of size and place.

    Empty for a bundle that keeps nothing to measure reasons against.
    """
    why = ChurnReasons.of(churn)
    if why is None:
        return []
    found = why.values(churn.encoder.encode(rows[_sample(rows.height, EXPLAINED, seed)]), rounds=1)
    return [dict(entry) for entry in importance(found.values, [group.name for group in why.groups], seed=seed)]


def dependence(churn: Churn, rows: pl.DataFrame, labels: Labels, seed: int) -> list[dict[str, Any]]:
    """Partial dependence: the mean probability when one column has a value and all else stays as it is.

    For the columns that move it most: `column`, `label`, `kind` (number or category), and points with `value` (money in
    whole units of the currency), `mean` and the 95 % interval of the mean over the sample (Friedman, Annals of
    Statistics 2001, section 8.2). Values that fewer than ten customers have are left out.
    """
    sample = rows[_sample(rows.height, FOLLOWED, seed)]
    found: list[dict[str, Any]] = []
    for column in _columns(churn, rows):
        values = _grid(rows[column])
        if len(values) < 2:
            continue
        points, (text, scale) = [], _spoken(labels, column)
        for value in values:
            changed = sample.with_columns(pl.lit(value, dtype=rows.schema[column]).alias(column))
            p = churn.log_odds(changed)[1].astype(np.float64)
            half = 1.96 * float(p.std()) / np.sqrt(len(p))
            points.append(
                {"value": _told(value, scale), "mean": float(p.mean()), "low": p.mean() - half, "high": p.mean() + half}
            )
        kind = "category" if rows.schema[column] == pl.String else "number"
        found.append({"column": column, "label": text, "kind": kind, "points": points})
    moved = [max(p["mean"] for p in one["points"]) - min(p["mean"] for p in one["points"]) for one in found]
    order = np.argsort(-np.array(moved), kind="stable")[:CURVES]
    return [found[i] for i in order]


def _spoken(labels: Labels, column: str) -> tuple[str, float]:
    """A column's label, with the currency of money, and by what its values are divided."""
    label = labels.label(column)
    if label.unit not in ("money", "trend") or labels.currency is None:
        return label.full, 1.0
    return f"{label.full} ({labels.currency})", 1.0 if labels.currency in WHOLE_CURRENCIES else 100.0


def _told(value: Any, scale: float) -> Any:
    return value if isinstance(value, str) else value / scale


def _columns(churn: Churn, rows: pl.DataFrame) -> list[str]:
    """Categories, and the numbers that go most with the log-odds (Spearman's rank correlation)."""
    log_odds = pl.Series(churn.log_odds(rows)[0]).rank()
    numbers = []
    for name in churn.definition.numbers:
        values = rows[name]
        if values.null_count() < rows.height and values.n_unique() > 1:
            ranks = pl.DataFrame({"x": values.fill_null(strategy="mean").rank(), "y": log_odds})
            numbers.append((-abs(ranks.select(pl.corr("x", "y")).item() or 0.0), name))
    return [*churn.definition.categories, *(name for _, name in sorted(numbers)[:TRIED])]


def _grid(values: pl.Series) -> list[Any]:
    known = values.drop_nulls()
    if values.dtype == pl.String:
        counts = known.value_counts().sort(["count", values.name], descending=[True, False])
        return counts.filter(pl.col("count") >= FEWEST)[values.name].head(GRID).to_list()
    if known.n_unique() <= GRID:
        counts = known.value_counts().filter(pl.col("count") >= FEWEST)
        return sorted(counts[values.name].to_list())
    quantiles = np.quantile(known.to_numpy(), np.linspace(0.02, 0.98, GRID))
    return sorted({float(f"{value:.4g}") for value in quantiles})


def _sample(rows: int, most: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).permutation(rows)[:most])
