"""EASE: a linear autoencoder over products, solved in closed form, refused where it does not fit in memory."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel, ConfigDict, Field
from scipy.linalg.lapack import spotrf, spotri

from recsys.baselines.interactions import BaselineRefused, check_history, check_interactions
from recsys.baselines.popularity import customer_counts, popular_where_empty
from recsys.errors import DataError

BLOCK = 512
"""Columns of the Gram matrix counted, and mirrored, at once."""


class EASEConfig(BaseModel):
    """Regularisation, and the memory that fitting may take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    regularization: float = Field(default=50.0, gt=0)
    """The λ added to the diagonal of the Gram matrix, in customers."""
    memory: int = Field(default=8 * 2**30, ge=1)
    """Bytes that fitting may take; a catalogue that needs more is refused before anything is allocated."""


class EASE:
    """Score of product j: the sum over the customer's products i of weight_i × B_ij (Steck, WWW 2019, equation 8).

    B = I - P diag(P)⁻¹ with P = (XᵀX + λI)⁻¹, its diagonal zero; float32, one dense products × products matrix from
    the Gram matrix to B, inverted in place by Cholesky. A customer without history gets the popular products.
    """

    def __init__(self, config: EASEConfig | None = None) -> None:
        self.config = config or EASEConfig()

    def fit(self, interactions: Any) -> "EASE":
        """Solve for B [P, P]; raises BaselineRefused above the memory allowed, DataError without interactions."""
        matrix = check_interactions(interactions)
        products = matrix.shape[1]
        needed = memory_needed(products)
        if needed > self.config.memory:
            raise BaselineRefused(
                f"ease: {products:,} products need {needed / 2**30:.2f} GiB, more than the"
                f" {self.config.memory / 2**30:.2f} GiB allowed; allow more memory or leave this baseline out"
            )
        self.counts = customer_counts(matrix)
        weights = _inverse(_gram(matrix, self.config.regularization))
        weights /= -weights.diagonal()
        np.fill_diagonal(weights, 0)
        self.weights = weights
        return self

    def scores(self, history: Any) -> np.ndarray:
        """float32 [N, P] for the customers of `history` [N, P], whose values weigh the products they have."""
        matrix = check_history(history, len(self.counts))
        return popular_where_empty(matrix @ self.weights, matrix, self.counts)


def memory_needed(products: int) -> int:
    """Bytes at the peak of fitting: the dense float32 matrix and one block of its columns, sparse and dense."""
    return 4 * products * products + 16 * products * min(BLOCK, products)


def _gram(matrix: sp.csr_matrix, regularization: float) -> np.ndarray:
    """XᵀX + λI: float32 [P, P] in Fortran order, as LAPACK wants it."""
    products = matrix.shape[1]
    rows, columns = matrix.T.tocsr(), matrix.tocsc()
    gram = np.empty((products, products), dtype=np.float32, order="F")
    for start in range(0, products, BLOCK):
        block = (rows @ columns[:, start : start + BLOCK]).tocsc()
        block.toarray(out=gram[:, start : start + BLOCK])
    gram[np.diag_indices(products)] += regularization
    return gram


def _inverse(gram: np.ndarray) -> np.ndarray:
    """The inverse of a symmetric positive definite matrix, in the memory of that matrix, in C order."""
    factor, failed = spotrf(gram, lower=1, clean=0, overwrite_a=1)
    if failed == 0:
        inverse, failed = spotri(factor, lower=1, overwrite_c=1)
    if failed:
        raise DataError("ease: the Gram matrix is not positive definite in float32; a larger regularization is needed")
    products = len(inverse)
    for start in range(0, products, BLOCK):  # LAPACK leaves the upper triangle alone
        stop = min(start + BLOCK, products)
        corner = np.tril(inverse[start:stop, start:stop], -1)
        inverse[start:stop, start:stop] = corner + corner.T + np.diag(inverse.diagonal()[start:stop])
        inverse[start:stop, stop:] = inverse[stop:, start:stop].T
    return inverse.T  # symmetric: the transpose is the same matrix, and sparse @ C order copies nothing
