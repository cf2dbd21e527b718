"""Item-kNN: products similar to those a customer has, by cosine over customers with shrinkage."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel, ConfigDict, Field

from recsys.baselines.interactions import check_history, check_interactions
from recsys.baselines.popularity import customer_counts

BLOCK = 1024
"""Products whose neighbours are found at once: memory grows with BLOCK × products, not with products²."""


class ItemKNNConfig(BaseModel):
    """Which similarities are kept, and how far they are trusted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    neighbours: int = Field(default=200, ge=1)
    """Most similar products kept for each product."""
    shrinkage: float = Field(default=50.0, ge=0)
    """Added to the denominator of the cosine, in customers: similarities that rest on few shrink toward zero."""


class ItemKNN:
    """Score of product j: the sum over the customer's products i of weight_i × similarity(i, j).

    similarity(i, j) = x_i·x_j / (|x_i| |x_j| + shrinkage), x_i the column of product i over customers; for each j only
    the most similar i are kept (Deshpande and Karypis, ACM TOIS 2004; shrinkage as in Ferrari Dacrema et al., RecSys
    2019). A product with no neighbour in the history scores below every other one, by popularity, between -1 and 0:
    a customer without history gets the popular products.
    """

    def __init__(self, config: ItemKNNConfig | None = None) -> None:
        self.config = config or ItemKNNConfig()

    def fit(self, interactions: Any) -> "ItemKNN":
        """Keep the nearest products of each product; raises DataError if there are no interactions."""
        matrix = check_interactions(interactions)
        columns = matrix.tocsc()
        norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=0), dtype=np.float64).ravel())
        rows = matrix.T.tocsr()
        products = matrix.shape[1]
        blocks = [
            self._nearest(rows @ columns[:, start : start + BLOCK], norms, start) for start in range(0, products, BLOCK)
        ]
        self.similarity = sp.hstack(blocks, format="csr", dtype=np.float32)
        counts = customer_counts(matrix)
        self.fallback = (counts / (counts.max() + 1.0) - 1.0).astype(np.float32)
        return self

    def scores(self, history: Any) -> np.ndarray:
        """float32 [N, P] for the customers of `history` [N, P], whose values weigh the products they have."""
        matrix = check_history(history, len(self.fallback))
        found = (matrix @ self.similarity).toarray()
        return np.where(found > 0, found, self.fallback)

    def _nearest(self, products: sp.spmatrix, norms: np.ndarray, start: int) -> sp.csc_matrix:
        """The strongest similarities of each column of a block of inner products [P, BLOCK] that begins at `start`."""
        pairs = products.tocoo()
        other = pairs.row != pairs.col + start
        row, column = pairs.row[other], pairs.col[other]
        similarity = pairs.data[other] / (norms[row] * norms[column + start] + self.config.shrinkage)
        order = np.lexsort((row, -similarity, column))  # ties by product index
        row, column, similarity = row[order], column[order], similarity[order]
        counts = np.bincount(column, minlength=pairs.shape[1])
        place = np.arange(len(column)) - np.repeat(np.cumsum(counts) - counts, counts)
        kept = place < self.config.neighbours
        return sp.csc_matrix((similarity[kept], (row[kept], column[kept])), shape=pairs.shape)
