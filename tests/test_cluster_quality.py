"""Stability is 1 for what is always found again, low for what is not; likeness is counted by hand."""

import numpy as np
import pytest

from recsys.cluster_quality import jaccard, separation, stability
from recsys.clustering import nearest
from tests.test_clustering import blobs


def centres(rows: np.ndarray, seed: int) -> np.ndarray:
    """Means of the rows by the nearest of the five known centres."""
    known = 4 * np.eye(5, rows.shape[1], dtype=np.float32)
    labels = nearest(rows, known)
    return np.stack([rows[labels == k].mean(axis=0) for k in range(5)])


def test_distant_groups_are_found_again_by_every_refit():
    rows, kind = blobs()
    found = stability(rows, kind, 5, centres, len(rows), 8, 0.9, 0)
    assert found.adjusted_rand == pytest.approx([1.0] * 8)
    assert found.mean == found.low == 1.0
    assert found.jaccard == pytest.approx([1.0] * 5)


def test_refits_end_once_the_bar_is_out_of_reach():
    rows, kind = blobs()

    def anywhere(some: np.ndarray, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).normal(size=(5, some.shape[1])).astype(np.float32)

    ended = stability(rows, kind, 5, anywhere, len(rows), 10, 0.9, 0)
    assert len(ended.adjusted_rand) == 3
    whole = stability(rows, kind, 5, anywhere, len(rows), 10, 0.0, 0)
    assert len(whole.adjusted_rand) == 10
    assert whole.adjusted_rand[: len(ended.adjusted_rand)] == ended.adjusted_rand
    assert whole.mean < 0.8 and whole.low == min(whole.adjusted_rand)


def test_likeness_is_that_of_the_most_alike_segment():
    reference = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    other = np.array([0, 0, 0, 1, 1, 1, 0, 0])
    assert jaccard(reference, other, 3) == pytest.approx([3 / 6, 2 / 3, 2 / 5])
    assert jaccard(reference, np.zeros(8, dtype=np.int64), 3) == pytest.approx([4 / 8, 2 / 8, 2 / 8])


def test_separation_of_distant_groups_and_of_one_group():
    rows, kind = blobs(spread=0.1)
    found = separation(rows, kind)
    assert found.silhouette > 0.9 and found.davies_bouldin < 0.2 and found.calinski_harabasz > 1000
    shuffled = separation(rows, np.random.default_rng(0).permutation(kind))
    assert shuffled.silhouette < 0 < found.davies_bouldin < shuffled.davies_bouldin
    alone = separation(rows, np.zeros(len(rows), dtype=np.int64))
    assert alone.silhouette is alone.davies_bouldin is alone.calinski_harabasz is None
