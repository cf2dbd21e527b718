"""Popularity: the products most customers have, over all customers or within the customer's group."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel, ConfigDict, Field

from recsys.baselines.interactions import check_history, check_interactions
from recsys.errors import DataError


class PopularityConfig(BaseModel):
    """Popularity has nothing to set."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Popularity:
    """Score of a product: the number of distinct customers who have it."""

    def __init__(self, config: PopularityConfig | None = None) -> None:
        self.config = config or PopularityConfig()

    def fit(self, interactions: Any) -> "Popularity":
        """Count the customers [U] of each product [P]; raises DataError if there are no interactions."""
        self.counts = customer_counts(check_interactions(interactions))
        return self

    def scores(self, history: Any) -> np.ndarray:
        """The same float32 scores [P] for each of the N customers of `history` [N, P]."""
        rows = check_history(history, len(self.counts)).shape[0]
        return np.tile(self.counts.astype(np.float32), (rows, 1))


class PopularityByGroupConfig(BaseModel):
    """How far a group is trusted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    smoothing: float = Field(default=20.0, gt=0)
    """Customers of average taste added to every group: a group much smaller than this ranks as the whole bank does."""


class PopularityByGroup:
    """Score of a product: the share of the customer's group that has it, smoothed toward the share of all customers.

    share(product | group) = (customers of the group who have it + smoothing × share of all) / (customers + smoothing),
    additive smoothing toward the whole.
    """

    def __init__(self, config: PopularityByGroupConfig | None = None) -> None:
        self.config = config or PopularityByGroupConfig()

    def fit(self, interactions: Any, groups: Sequence[Hashable] | np.ndarray) -> "PopularityByGroup":
        """Count within the group of each customer [U]; None: without a group, counted in the whole."""
        matrix = check_interactions(interactions)
        names = _names(groups, matrix.shape[0])
        known = sorted({name for name in names if name is not None}, key=str)
        self.rows = {name: row for row, name in enumerate(known)}
        member = np.array([self.rows.get(name, len(known)) for name in names], dtype=np.int64)
        users = len(member)
        belongs = sp.csr_matrix((np.ones(users), (member, np.arange(users))), shape=(len(known) + 1, users))
        counts = (belongs @ (matrix > 0).astype(np.float64)).toarray()
        sizes = np.bincount(member, minlength=len(known) + 1)[:, None]
        overall = customer_counts(matrix) / users
        shares = (counts + self.config.smoothing * overall) / (sizes + self.config.smoothing)
        shares[-1] = overall  # the last row serves unseen groups
        self.shares = shares.astype(np.float32)
        return self

    def scores(self, history: Any, groups: Sequence[Hashable] | np.ndarray) -> np.ndarray:
        """float32 [N, P] for customers of these groups [N]; None and unseen groups get the shares of all."""
        names = _names(groups, check_history(history, self.shares.shape[1]).shape[0])
        unseen = len(self.rows)
        return self.shares[np.array([self.rows.get(name, unseen) for name in names], dtype=np.int64)]


def customer_counts(matrix: sp.csr_matrix) -> np.ndarray:
    """Distinct customers of each product: int64 [P]."""
    return np.bincount(matrix.indices, minlength=matrix.shape[1])


def popular_where_empty(scores: np.ndarray, history: sp.csr_matrix, counts: np.ndarray) -> np.ndarray:
    """`scores` with the rows of customers without any history replaced, in place, by popularity."""
    scores[np.diff(history.indptr) == 0] = counts.astype(np.float32)
    return scores


def _names(groups: Sequence[Hashable] | np.ndarray, customers: int) -> list[Hashable]:
    names = groups.tolist() if isinstance(groups, np.ndarray) else list(groups)
    if len(names) != customers:
        raise DataError(f"groups: expected one for each of {customers} customers, got {len(names)}")
    return names
