"""What every baseline accepts: a sparse matrix customers × products of positive weights, checked."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys.errors import DataError, RecsysError


class BaselineRefused(RecsysError, MemoryError):
    """A baseline that would need more memory than it was allowed; nothing was allocated."""


def check_interactions(interactions: Any) -> sp.csr_matrix:
    """The matrix a baseline is fitted on, float32 [U, P] without duplicates; DataError if it holds nothing."""
    matrix = _canonical(interactions, "interactions")
    if matrix.nnz == 0:
        users, products = matrix.shape
        raise DataError(f"interactions: nothing to fit on, {users} customers × {products} products hold no entry")
    return matrix


def check_history(history: Any, products: int) -> sp.csr_matrix:
    """The matrix of the customers to score, float32 [N, P]; rows may be empty; DataError if P is not the fitted one."""
    matrix = _canonical(history, "history")
    if matrix.shape[1] != products:
        raise DataError(f"history: {matrix.shape[1]} products, but the baseline was fitted on {products}")
    return matrix


def _canonical(given: Any, name: str) -> sp.csr_matrix:
    if not sp.issparse(given) or given.ndim != 2:
        raise DataError(f"{name}: expected a scipy sparse matrix customers × products, got {type(given).__name__}")
    matrix = sp.csr_matrix(given, dtype=np.float32)
    if not matrix.has_canonical_format or not matrix.data.all():
        matrix = matrix.copy()  # the caller's matrix stays as it is
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
    bad = np.flatnonzero(~((matrix.data > 0) & np.isfinite(matrix.data)))
    if len(bad):
        row = int(np.searchsorted(matrix.indptr, bad[0], side="right")) - 1
        raise DataError(f"{name}: {len(bad)} of {matrix.nnz} weights are not positive numbers (first: row {row})")
    return matrix
