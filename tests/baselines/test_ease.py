"""EASE: the closed form, memory in place, refusal."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.baselines import EASE, BaselineRefused, EASEConfig
from recsys.baselines.ease import memory_needed
from recsys.errors import RecsysError
from tests.baselines.contract import BaselineContract, checkerboard


class TestEASE(BaselineContract):
    name = "ease"


def closed_form(matrix: np.ndarray, regularization: float) -> np.ndarray:
    """Equation 8 of the paper in float64."""
    inverse = np.linalg.inv(matrix.T @ matrix + regularization * np.eye(matrix.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


@pytest.mark.parametrize("block", [7, 512])
def test_equals_the_closed_form(block, monkeypatch):
    monkeypatch.setattr("recsys.baselines.ease.BLOCK", block)
    dense = (np.random.default_rng(0).random((200, 30)) < 0.2).astype(np.float32)
    baseline = EASE(EASEConfig(regularization=10)).fit(sp.csr_matrix(dense))
    expected = dense @ closed_form(dense.astype(np.float64), 10)
    np.testing.assert_allclose(baseline.scores(sp.csr_matrix(dense)), expected, atol=1e-5)


def test_histories_may_be_weighted():
    board = checkerboard()
    baseline = EASE().fit(board)
    np.testing.assert_allclose(baseline.scores(board * 0.5), baseline.scores(board) * 0.5, rtol=1e-6)


def test_a_catalogue_above_the_memory_allowed_is_refused_before_anything_is_allocated():
    wide = sp.csr_matrix((np.ones(1, dtype=np.float32), (np.array([0]), np.array([0]))), shape=(1, 2_000_000))
    with pytest.raises(
        BaselineRefused, match=r"ease: 2,000,000 products need [\d,]+\.\d\d GiB, more than the 8.00 GiB"
    ):
        EASE().fit(wide)
    assert issubclass(BaselineRefused, RecsysError)
    assert issubclass(BaselineRefused, MemoryError)


def test_the_memory_needed_decides():
    needed = memory_needed(20)
    EASE(EASEConfig(memory=needed)).fit(checkerboard())
    with pytest.raises(BaselineRefused):
        EASE(EASEConfig(memory=needed - 1)).fit(checkerboard())


def test_forty_thousand_products_fit_in_eight_gibibytes():
    assert 6.5e9 < memory_needed(41_000) < 8 * 2**30
