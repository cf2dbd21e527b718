"""Novelty, popularity, diversity and Gini of lists, by hand and in both ways of counting."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys import beyond_accuracy
from recsys.beyond_accuracy import diversity, gini, novelty, popularity

HELD = sp.csr_matrix(np.array([[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0]], dtype=np.float32))
TOP = np.array([[0, 1], [2, 3], [3, -1], [-1, -1]])


def test_novelty_and_popularity_by_hand() -> None:
    information = -np.log2((np.array([4, 2, 1, 0]) + 1) / 8)
    expected = [information[:2].mean(), information[2:].mean(), information[3], 0]
    assert novelty(TOP, HELD) == pytest.approx(expected)
    assert popularity(TOP, HELD) == pytest.approx([0.75, 0.125, 0, 0])


def test_diversity_by_hand() -> None:
    # products 0 and 1: held together by 2, alone by 4 and 2; 3 is held by nobody
    assert diversity(TOP, HELD) == pytest.approx([1 - 2 / np.sqrt(8), 1, 0, 0])
    assert diversity(np.array([[0, 0]]), HELD) == pytest.approx([0])


def test_large_catalogues_are_counted_by_pair_and_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    held = sp.csr_matrix((rng.random((60, 30)) < 0.2).astype(np.float32))
    top = np.stack([rng.permutation(30)[:6] for _ in range(50)])
    top[::7, 4:] = -1
    whole = diversity(top, held)
    monkeypatch.setattr(beyond_accuracy, "DENSE", 10)
    assert diversity(top, held) == pytest.approx(whole)
    assert 0 < whole.min() < whole.max() <= 1


def test_gini_is_nothing_for_equal_shares_and_grows_as_few_take_all() -> None:
    assert gini(np.array([[0, 1], [2, 3]]), 4) == 0
    assert gini(np.array([[0], [0], [0]]), 4) == pytest.approx(0.75)
    assert gini(np.full((2, 3), -1), 4) == 0
