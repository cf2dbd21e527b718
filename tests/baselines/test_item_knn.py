"""Item-kNN: similarities by hand, neighbours kept, order of the rest."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.baselines import ItemKNN, ItemKNNConfig
from tests.baselines.contract import BaselineContract, checkerboard


class TestItemKNN(BaselineContract):
    name = "item_knn"


def history(*products: int, of: int) -> sp.csr_matrix:
    row = np.zeros((1, of), dtype=np.float32)
    row[0, list(products)] = 1
    return sp.csr_matrix(row)


def test_similarity_is_the_shrunken_cosine():
    held = sp.csr_matrix(np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 1]], dtype=np.float32))
    scores = ItemKNN(ItemKNNConfig(shrinkage=3)).fit(held).scores(history(0, of=3))
    assert scores[0, 1] == pytest.approx(2 / (np.sqrt(3 * 2) + 3))


def test_only_the_nearest_count():
    held = sp.csr_matrix(np.array([[1, 1, 1]] * 3 + [[1, 0, 1]] * 3, dtype=np.float32))  # 2 is nearer to 0 than 1 is
    one = ItemKNN(ItemKNNConfig(neighbours=1, shrinkage=0)).fit(held)
    both = ItemKNN(ItemKNNConfig(neighbours=2, shrinkage=0)).fit(held)
    assert one.scores(history(1, of=3))[0, 0] < 0 < both.scores(history(1, of=3))[0, 0]
    assert one.scores(history(2, of=3))[0, 0] == pytest.approx(1)


def test_products_without_a_neighbour_follow_by_popularity():
    held = sp.csr_matrix(np.array([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1]], dtype=np.float32))
    scores = ItemKNN().fit(held).scores(history(0, of=4))[0]
    assert scores[1] > 0 > scores[3] > scores[2]


def test_blocks_of_products_change_nothing(monkeypatch):
    whole = ItemKNN(ItemKNNConfig(neighbours=4)).fit(checkerboard()).scores(checkerboard())
    monkeypatch.setattr("recsys.baselines.item_knn.BLOCK", 3)
    assert ItemKNN(ItemKNNConfig(neighbours=4)).fit(checkerboard()).scores(checkerboard()).tobytes() == whole.tobytes()
