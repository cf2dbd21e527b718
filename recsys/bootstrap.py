"""Percentile bootstrap intervals of means over customers, alone and paired."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.errors import DataError

CELLS = 1 << 22
"""Weights held at once (float64): bounds the working memory to about 70 MB, or to one sample."""


BLOCKS = 50_000
"""The most units that are resampled: more customers are put into so many random blocks, drawn whole. The customers of a
block are as independent as those of different ones, so the interval stays what it is, and its time is bounded."""


@dataclass(frozen=True)
class Interval:
    """A mean over rows and the bounds of its bootstrap interval."""

    value: float
    low: float
    high: float


def bootstrap(
    values: np.ndarray,
    groups: np.ndarray | Sequence[str] | None = None,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Interval of the mean of `values` [N]; see `bootstrap_many`."""
    return bootstrap_many({"values": values}, groups, samples, seed, level)["values"]


def paired_bootstrap(
    a: np.ndarray,
    b: np.ndarray,
    groups: np.ndarray | Sequence[str] | None = None,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Interval of the mean of a - b, row by row: both models are judged on the same resampled customers."""
    return paired_bootstrap_many({"values": a}, {"values": b}, groups, samples, seed, level)["values"]


def paired_bootstrap_many(
    a: Mapping[str, np.ndarray],
    b: Mapping[str, np.ndarray],
    groups: np.ndarray | Sequence[str] | None = None,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Intervals of the means of a - b for every name of `a`; raises DataError if `b` lacks one or its rows differ."""
    for name in a:
        if name not in b or np.shape(a[name]) != np.shape(b[name]):
            other = f"shape {np.shape(b[name])}" if name in b else "nothing"
            raise DataError(f"{name}: pairs need the same rows on both sides, got {np.shape(a[name])} and {other}")
    differences = {name: np.asarray(a[name], dtype=np.float64) - np.asarray(b[name], dtype=np.float64) for name in a}
    return bootstrap_many(differences, groups, samples, seed, level)


def bootstrap_many(
    values: Mapping[str, np.ndarray],
    groups: np.ndarray | Sequence[str] | None = None,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Percentile bootstrap interval of the mean of each array, all from the same resamples of customers.

    values: name → [N], one row per customer and occasion; groups: the customer of each row [N] (None: every row is
    another customer). Distinct customers are drawn with replacement and bring all their rows, so a customer who
    occurs in several splits is resampled whole. A resampled mean is (sum of rows drawn) / (number of rows drawn).
    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3; resampling whole clusters as
    in Davison and Hinkley, Bootstrap Methods and their Application (1997), section 3.8.

    Raises DataError for no rows, values that are not finite, or lengths that differ.
    """
    if not values:
        return {}
    if samples < 1 or not 0 < level < 1:
        raise DataError(f"bootstrap: expected samples of 1 or more and 0 < level < 1, got {samples} and {level}")
    table = _table(values)
    means = table.mean(axis=0)
    sums, sizes = _by_customer(table, groups)
    resampled = _resampled_means(sums, sizes, samples, np.random.default_rng(seed))
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {
        name: Interval(float(value), float(bottom), float(top))
        for name, value, bottom, top in zip(values, means, low, high, strict=True)
    }


def gap(
    values: np.ndarray,
    member: np.ndarray,
    groups: np.ndarray | Sequence[str] | None = None,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Mean of `values` [N] over the rows that are `member` (bool [N]) minus the mean over the others.

    Customers are resampled as in `bootstrap_many`; a resample without one of the sides is left out.
    Raises DataError if a side has no row at all.
    """
    inside = np.asarray(member, dtype=np.float64)
    if not 0 < inside.sum() < len(inside):
        raise DataError("gap: needs rows on both sides")
    columns = {"a": values * inside, "b": values * (1 - inside), "in": inside}
    sums, sizes = _by_customer(_table(columns), groups)
    brought = np.column_stack([sums, sizes])
    rng = np.random.default_rng(seed)
    totals = np.concatenate([weights @ brought for weights in resampling_weights(len(sizes), samples, rng)])
    totals = totals[(totals[:, 2] > 0) & (totals[:, 2] < totals[:, 3])]
    drawn = totals[:, 0] / totals[:, 2] - totals[:, 1] / (totals[:, 3] - totals[:, 2])
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    whole = brought.sum(axis=0)
    return Interval(float(whole[0] / whole[2] - whole[1] / (whole[3] - whole[2])), float(low), float(high))


def _table(values: Mapping[str, np.ndarray]) -> np.ndarray:
    """The arrays as columns: float64 [N, M]."""
    columns = {name: np.asarray(column, dtype=np.float64) for name, column in values.items()}
    rows = len(next(iter(columns.values())))
    for name, column in columns.items():
        if column.shape != (rows,) or rows == 0:
            raise DataError(f"{name}: expected one value for each of {max(rows, 1)} rows, got {column.shape}")
        bad = np.flatnonzero(~np.isfinite(column))
        if len(bad):
            raise DataError(f"{name}: {len(bad)} of {rows} values are not finite (first: row {bad[0]})")
    return np.stack(list(columns.values()), axis=1)


def _by_customer(table: np.ndarray, groups: np.ndarray | Sequence[str] | None) -> tuple[np.ndarray, np.ndarray]:
    """Sums [G, M] and row counts [G] of each distinct customer, or of each block of customers."""
    if groups is not None and len(groups) != len(table):
        raise DataError(f"groups: expected {len(table)} customer ids, one per row, got {len(groups)}")
    if groups is None and len(table) <= BLOCKS:
        return table, np.ones(len(table))
    customer = np.arange(len(table)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    customer = customer.reshape(-1)
    customer = block_of(int(customer.max()) + 1)[customer]
    sizes = np.bincount(customer).astype(np.float64)
    sums = [np.bincount(customer, weights=column, minlength=len(sizes)) for column in table.T]
    return np.stack(sums, axis=1), sizes


def block_of(customers: int) -> np.ndarray:
    """int64 [customers] the unit with which each customer is drawn: their own, or a random block of many."""
    if customers <= BLOCKS:
        return np.arange(customers)
    return np.random.default_rng(0).permutation(customers) % BLOCKS


def resampling_weights(customers: int, samples: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """How often each customer is drawn, float64 [S, customers], in parts of a bounded size that sum to `samples` rows.

    For statistics that are no means over rows; whoever uses them brings each customer's sums.
    """
    height = max(1, CELLS // customers)
    for start in range(0, samples, height):
        count = min(height, samples - start)
        drawn = rng.integers(0, customers, size=(count, customers))
        drawn += np.arange(count)[:, None] * customers
        weights = np.bincount(drawn.ravel(), minlength=count * customers).reshape(count, customers)
        yield weights.astype(np.float64)


def _resampled_means(sums: np.ndarray, sizes: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Means [samples, M]: how often each customer was drawn, times what the customer brings."""
    brought = np.column_stack([sums, sizes])
    totals = np.concatenate([weights @ brought for weights in resampling_weights(len(sizes), samples, rng)])
    return totals[:, :-1] / totals[:, -1:]
