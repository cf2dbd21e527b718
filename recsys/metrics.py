"""Ranking metrics per customer, from scores, the mask of allowed products and the true products."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys.errors import DataError

CELLS = 1 << 22
"""Scores compared at once: bounds the working memory to about 100 MB whatever the number of customers."""


def rank_metrics(
    scores: np.ndarray, allowed: np.ndarray, targets: Any, ks: Sequence[int] = (1, 3, 5, 10, 20)
) -> dict[str, np.ndarray]:
    """Metrics of every customer (row): `hr@k`, `recall@k`, `precision@k`, `f1@k`, `map@k`, `ndcg@k` and `mrr`.

    scores: float [N, P]; allowed: bool [N, P], False for products that must not be recommended; targets: the true
    products, bool [N, P] dense or scipy sparse. Returns float64 [N] for each name; average over customers last.
    Formulas and sources: docs/evaluation.md. Rows are independent, so chunks of rows may be concatenated.

    Raises DataError for a NaN score, for a row without targets, and for shapes that differ.
    """
    if any(k < 1 for k in ks):
        raise DataError(f"k must be 1 or more: got {sorted(ks)}")
    rows, ranks = target_ranks(scores, allowed, targets)
    order = np.lexsort((ranks, rows))
    rows, ranks = rows[order], ranks[order]
    counts = np.bincount(rows, minlength=len(scores))
    nth = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts) + 1.0  # 1, 2, … within each customer

    def per_customer(values: np.ndarray) -> np.ndarray:
        return np.bincount(rows, weights=values, minlength=len(scores))

    metrics = {}
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(max(ks)) + 2.0))])
    for k in ks:
        hit, least = ranks <= k, np.minimum(counts, k)
        hits = per_customer(hit)
        metrics[f"hr@{k}"] = (hits > 0).astype(np.float64)
        metrics[f"recall@{k}"] = hits / counts
        metrics[f"precision@{k}"] = hits / k
        metrics[f"f1@{k}"] = 2 * hits / (counts + k)
        metrics[f"map@{k}"] = per_customer(np.where(hit, nth / ranks, 0.0)) / least
        metrics[f"ndcg@{k}"] = per_customer(np.where(hit, 1 / np.log2(1 + ranks), 0.0)) / ideal[least]
    metrics["mrr"] = per_customer(np.where(nth == 1, 1 / ranks, 0.0))
    return metrics


def metric_names(ks: Sequence[int]) -> list[str]:
    """The names that `rank_metrics` gives for these k."""
    return [f"{name}@{k}" for k in ks for name in ("hr", "recall", "precision", "f1", "map", "ndcg")] + ["mrr"]


def target_ranks(scores: np.ndarray, allowed: np.ndarray, targets: Any) -> tuple[np.ndarray, np.ndarray]:
    """Row and rank (from 1) of every target: one more than the allowed products that come before it.

    A product comes before another if its score is higher, or equal with a lower column index. A target that is not
    allowed has rank infinity. Minus infinity counts as the lowest finite score. Returns int64 [T] rows (ascending)
    and float64 [T] ranks. Raises as `rank_metrics` does.
    """
    scores, allowed = _checked(scores, allowed)
    found = _target_matrix(targets, scores.shape)
    counts = np.diff(found.indptr)
    if (counts == 0).any():
        empty = np.flatnonzero(counts == 0)
        raise DataError(f"targets: {len(empty)} of {len(counts)} rows have none (first: row {empty[0]})")
    rows = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    columns = found.indices.astype(np.int64)
    ranks = np.empty(len(rows))
    position = np.arange(scores.shape[1])
    width = max(1, CELLS // max(1, scores.shape[1]))
    for start in range(0, len(rows), width):
        r, c = rows[start : start + width], columns[start : start + width]
        first = r[0]
        masked = _masked(scores, allowed, slice(first, r[-1] + 1))
        if len(masked) < len(r):  # a row with several targets is compared with each
            masked = masked[r - first]
        own = masked[np.arange(len(r)), c]
        before = _count(masked > own[:, None])
        tied = np.flatnonzero(_count(masked == own[:, None]) > 1)
        before[tied] += np.count_nonzero((masked[tied] == own[tied, None]) & (position < c[tied, None]), axis=1)
        ranks[start : start + width] = np.where(allowed[r, c], before + 1.0, np.inf)
    return rows, ranks


def top_k(scores: np.ndarray, allowed: np.ndarray, k: int) -> np.ndarray:
    """Columns of the k best allowed products of every row, best first, ties by lower column: int64 [N, k].

    Places that cannot be filled, because fewer than k products are allowed, hold -1. Raises DataError for NaN scores.
    """
    if k < 1:
        raise DataError(f"k must be 1 or more: got {k}")
    scores, allowed = _checked(scores, allowed)
    products = scores.shape[1]
    kept = min(k, products)
    top = np.full((len(scores), k), -1, dtype=np.int64)
    for part in _chunks(*scores.shape):
        masked = _masked(scores, allowed, part)
        least = np.partition(masked, products - kept, axis=1)[:, products - kept, None]
        above, equal = masked > least, masked == least
        room = kept - np.count_nonzero(above, axis=1)[:, None]
        chosen = above | (equal & (np.cumsum(equal, axis=1, dtype=np.int32) <= room))
        index = np.nonzero(chosen)[1].reshape(-1, kept)
        best = np.take_along_axis(masked, index, axis=1)
        order = np.argsort(-best, axis=1, kind="stable")
        best, index = np.take_along_axis(best, order, axis=1), np.take_along_axis(index, order, axis=1)
        top[part, :kept] = np.where(np.isneginf(best), -1, index)
    return top


def coverage(top: np.ndarray, n_products: int) -> float:
    """Share of the catalogue that is recommended to anyone: distinct columns in `top` [N, k] over `n_products`.

    Entries below 0 are places left empty. Coverage@k is the coverage of the first k columns of `top`.
    """
    if n_products < 1:
        raise DataError(f"coverage needs a catalogue of at least one product: got {n_products}")
    recommended = np.unique(top)
    if recommended.size and recommended[-1] >= n_products:
        raise DataError(f"top: column {recommended[-1]} is outside the catalogue of {n_products} products")
    return float(np.count_nonzero(recommended >= 0) / n_products)


def _count(found: np.ndarray) -> np.ndarray:
    """bool [N, P] → int64 [N], how many are true: a third of the time of `count_nonzero` along an axis."""
    return np.bitwise_count(np.packbits(found, axis=1)).sum(axis=1, dtype=np.int64)


def _checked(scores: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, allowed = np.asarray(scores), np.asarray(allowed)
    if scores.ndim != 2 or scores.shape[1] == 0 or not np.issubdtype(scores.dtype, np.floating):
        raise DataError(f"scores: expected floats [customers, products], got {scores.dtype} {list(scores.shape)}")
    if allowed.shape != scores.shape or allowed.dtype != np.bool_:
        raise DataError(f"allowed: expected bool {list(scores.shape)}, got {allowed.dtype} {list(allowed.shape)}")
    for part in _chunks(*scores.shape):
        bad = np.flatnonzero(np.isnan(scores[part]).any(axis=1))
        if len(bad):
            raise DataError(f"scores: NaN in row {part.start + bad[0]}; every score must be a number")
    return scores, allowed


def _target_matrix(targets: Any, shape: tuple[int, ...]) -> sp.csr_matrix:
    if targets.shape != shape:
        raise DataError(f"targets: expected {list(shape)} like the scores, got {list(targets.shape)}")
    found = sp.csr_matrix(targets != 0)
    found.sum_duplicates()
    return found


def _masked(scores: np.ndarray, allowed: np.ndarray, rows: slice) -> np.ndarray:
    lowest = np.finfo(scores.dtype).min
    return np.where(allowed[rows], np.maximum(scores[rows], lowest), -np.inf).astype(scores.dtype, copy=False)


def _chunks(rows: int, products: int) -> Iterator[slice]:
    height = max(1, CELLS // products)
    for start in range(0, rows, height):
        yield slice(start, min(start + height, rows))
