"""What every baseline promises, as tests that each baseline's test class inherits."""

from typing import Any, ClassVar

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.baselines import BASELINES
from recsys.errors import DataError
from recsys.metrics import top_k

PRODUCTS = 20


def checkerboard(customers: int = 60, products: int = PRODUCTS) -> sp.csr_matrix:
    """Even customers have the even products, odd customers the odd ones, but for the product that is held back.

    Customer u lacks product 2 × (u // 2) + u % 2 (modulo products), of their own colour: the right answer is known.
    """
    dense = np.add.outer(np.arange(customers), np.arange(products)) % 2 == 0
    dense[np.arange(customers), held_back(customers, products)] = False
    return sp.csr_matrix(dense.astype(np.float32))


def held_back(customers: int = 60, products: int = PRODUCTS) -> np.ndarray:
    """The product of their own colour that each customer of the checkerboard lacks: [customers]."""
    customer = np.arange(customers)
    return (2 * (customer // 2) + customer % 2) % products


class BaselineContract:
    """Inherit, name the baseline, and every promise is tested."""

    name: ClassVar[str]
    learns: ClassVar[bool] = True
    """Whether the baseline looks at the customer, and so must learn a checkerboard; else everyone gets the same."""

    def fitted(self, interactions: sp.csr_matrix, config: Any = None) -> Any:
        return BASELINES[self.name](config).fit(interactions)

    def scores(self, baseline: Any, history: sp.csr_matrix) -> np.ndarray:
        return baseline.scores(history)

    def test_default_construction_and_config_round_trip(self):
        config = BASELINES[self.name]().config
        assert type(config).model_validate_json(config.model_dump_json()) == config
        with pytest.raises(ValueError, match="extra_forbidden|Extra inputs"):
            type(config)(no_such_setting=1)
        with pytest.raises(ValueError, match="frozen"):
            config.anything = 1

    @pytest.mark.parametrize("fitted_from", [0, 20])
    def test_learns_the_checkerboard_for_customers_fitted_or_not(self, fitted_from):
        board = checkerboard()
        scores = self.scores(self.fitted(board[fitted_from:]), board[:20])
        if self.learns:
            assert (top_k(scores, board[:20].toarray() == 0, 1)[:, 0] == held_back()[:20]).all()
        else:
            assert (scores == scores[0]).all()

    def test_scores_are_finite_float32_of_every_customer_and_product(self):
        scores = self.scores(self.fitted(checkerboard()), checkerboard()[:7])
        assert scores.shape == (7, PRODUCTS)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()

    def test_a_customer_without_history_gets_the_popular_products(self):
        board = checkerboard().tolil()
        board[:, 3] = 1
        scores = self.scores(self.fitted(board.tocsr()), sp.csr_matrix((2, PRODUCTS), dtype=np.float32))
        assert np.isfinite(scores).all()
        assert top_k(scores, np.ones(scores.shape, dtype=bool), 1).tolist() == [[3], [3]]

    def test_a_product_nobody_has_is_scored_and_does_not_come_first(self):
        wide = sp.hstack([checkerboard(), sp.csr_matrix((60, 1), dtype=np.float32)], format="csr")
        scores = self.scores(self.fitted(wide), wide)
        assert np.isfinite(scores).all()
        assert (top_k(scores, wide.toarray() == 0, 1) != PRODUCTS).all()

    def test_fitting_twice_gives_the_same_bytes(self):
        board = checkerboard()
        first, second = (self.scores(self.fitted(board), board) for _ in range(2))
        assert first.tobytes() == second.tobytes()

    def test_the_callers_matrices_stay_as_they_are(self):
        pieces = np.ones(3, dtype=np.float32), np.array([1, 1, 0]), np.array([0, 2, 3])  # a duplicate entry
        board = sp.csr_matrix(pieces, shape=(2, 2))
        data, indices = board.data.copy(), board.indices.copy()
        self.scores(self.fitted(board), board)
        assert np.array_equal(board.data, data)
        assert np.array_equal(board.indices, indices)

    def test_sparse_arrays_work_like_sparse_matrices(self):
        board = checkerboard()
        baseline = self.fitted(sp.csr_array(board))
        assert np.array_equal(self.scores(baseline, sp.csr_array(board)), self.scores(self.fitted(board), board))

    def test_no_customers_to_score_give_no_rows(self):
        assert self.scores(self.fitted(checkerboard()), checkerboard()[:0]).shape == (0, PRODUCTS)

    @pytest.mark.parametrize("shape", [(0, 5), (5, 0), (3, 3)])
    def test_nothing_to_fit_on_is_an_error(self, shape):
        with pytest.raises(DataError, match="nothing to fit on"):
            self.fitted(sp.csr_matrix(shape, dtype=np.float32))

    def test_a_history_over_other_products_is_an_error(self):
        baseline = self.fitted(checkerboard())
        with pytest.raises(DataError, match="7 products, but the baseline was fitted on 20"):
            self.scores(baseline, sp.csr_matrix((2, 7), dtype=np.float32))

    @pytest.mark.parametrize("weight", [np.nan, -1.0, np.inf])
    def test_weights_must_be_positive_numbers(self, weight):
        board = checkerboard()
        board.data[12] = weight
        with pytest.raises(
            DataError, match=r"interactions: 1 of \d+ weights are not positive numbers \(first: row 1\)"
        ):
            self.fitted(board)

    def test_a_dense_matrix_is_an_error(self):
        with pytest.raises(DataError, match="expected a scipy sparse matrix"):
            self.fitted(np.ones((3, 3)))  # type: ignore[arg-type]
