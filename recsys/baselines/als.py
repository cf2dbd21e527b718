"""ALS: matrix factorisation of implicit feedback by alternating least squares, from the library implicit."""

from typing import Any

import numpy as np
from implicit.als import AlternatingLeastSquares
from pydantic import BaseModel, ConfigDict, Field
from threadpoolctl import threadpool_limits

from recsys.baselines.interactions import check_history, check_interactions
from recsys.baselines.popularity import customer_counts, popular_where_empty


class ALSConfig(BaseModel):
    """Size and regularisation of the factors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    factors: int = Field(default=256, ge=1)
    """Length of the vector of a product and of a customer; cut to the number of products, which is always enough."""
    regularization: float = Field(default=100.0, gt=0)
    """Weight of the squared length of the vectors; belongs to `alpha`, and should grow with it."""
    alpha: float = Field(default=50.0, gt=0)
    """Confidence of an interaction, against 1 for a product the customer does not have."""
    iterations: int = Field(default=15, ge=1)
    """Rounds of solving for customers, then for products."""
    seed: int = Field(default=0, ge=0)
    """Seed of the initial vectors."""
    threads: int = Field(default=1, ge=1)
    """Threads that solve rows; the result does not depend on it."""


class ALS:
    """Score of a product: the inner product of its vector with the customer's (Hu, Koren and Volinsky, ICDM 2008).

    Customers are not remembered: the vector of a scored customer is solved from the history that is passed, so
    customers who were not fitted, and histories that have grown, need no refit. A customer without history gets the
    popular products.
    """

    def __init__(self, config: ALSConfig | None = None) -> None:
        self.config = config or ALSConfig()

    def fit(self, interactions: Any) -> "ALS":
        """Learn the product vectors [P, factors]; raises DataError if there are no interactions."""
        matrix = check_interactions(interactions)
        self.counts = customer_counts(matrix)
        with threadpool_limits(1, "blas"):  # as implicit asks: two thread pools slow each other down
            self.model = AlternatingLeastSquares(
                factors=min(self.config.factors, matrix.shape[1]),
                regularization=self.config.regularization,
                alpha=self.config.alpha,
                iterations=self.config.iterations,
                num_threads=self.config.threads,
                random_state=self.config.seed,
                use_gpu=False,
            )
            self.model.fit(matrix, show_progress=False)
        return self

    def scores(self, history: Any) -> np.ndarray:
        """float32 [N, P] for the customers of `history` [N, P], whose values multiply the confidence."""
        matrix = check_history(history, len(self.counts))
        with threadpool_limits(1, "blas"):
            customers = self.model.recalculate_user(np.arange(matrix.shape[0]), matrix)
        return popular_where_empty(customers @ self.model.item_factors.T, matrix, self.counts)
