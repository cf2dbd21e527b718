"""What accuracy does not say of a list of recommendations: how new, how varied and how popular its products are.

Lists are columns of the catalogue, int [N, k], -1 where a place is empty; what was held before is a sparse matrix of
customers × products, which training could see. Sources: Castells, Hurley and Vargas, Novelty and Diversity in
Recommender Systems (Recommender Systems Handbook, 2022), sections 3.2 and 3.3; for popularity Abdollahpouri et al.,
arXiv 1907.13286; Gini as in Fleder and Hosanagar, Management Science 2009.
"""

import numpy as np
import scipy.sparse as sp

DENSE = 4096
"""The largest catalogue whose products are all compared with each other; of larger ones only the pairs in the lists."""


def novelty(top: np.ndarray, held: sp.csr_matrix) -> np.ndarray:
    """float64 [N]: mean self-information -log2 P(product) of each list, P by who holds it plus one; 0 if empty."""
    customers, products = held.shape
    share = (np.asarray(held.sum(axis=0)).ravel() + 1) / (customers + products)
    return _mean_over_list(-np.log2(share), top)


def popularity(top: np.ndarray, held: sp.csr_matrix) -> np.ndarray:
    """float64 [N]: mean share of customers who already hold the products of each list; 0 for an empty one."""
    return _mean_over_list(np.asarray(held.sum(axis=0)).ravel() / max(1, held.shape[0]), top)


def diversity(top: np.ndarray, held: sp.csr_matrix) -> np.ndarray:
    """float64 [N]: mean distance of the pairs of each list, 1 - cosine of who holds the two; 0 for fewer than two.

    The distance is that of the data, not of a model, so that it is the same for every model.
    """
    first, second = np.triu_indices(top.shape[1], k=1)
    a, b = top[:, first], top[:, second]
    present = (a >= 0) & (b >= 0)
    low, high = np.minimum(a, b)[present], np.maximum(a, b)[present]
    distance = np.zeros(a.shape)
    distance[present] = 1 - _cosines(low, high, held)
    return distance.sum(axis=1) / np.maximum(1, present.sum(axis=1))


def gini(top: np.ndarray, products: int) -> float:
    """0 if every product of the catalogue is recommended equally often, towards 1 if few take all places."""
    counts = np.sort(np.bincount(top[top >= 0], minlength=products))
    if not counts.sum():
        return 0.0
    place = np.arange(1, products + 1)
    return float(((2 * place - products - 1) * counts).sum() / (products * counts.sum()))


def _mean_over_list(values: np.ndarray, top: np.ndarray) -> np.ndarray:
    present = top >= 0
    found: np.ndarray = np.where(present, values[np.maximum(top, 0)], 0.0).sum(axis=1) / np.maximum(1, present.sum(1))
    return found


def _cosines(low: np.ndarray, high: np.ndarray, held: sp.csr_matrix) -> np.ndarray:
    """float64 [M]: the cosine of the two products' columns."""
    columns = sp.csc_matrix(held, dtype=np.float64)
    lengths = np.sqrt(np.asarray(columns.multiply(columns).sum(axis=0)).ravel())
    products = columns.shape[1]
    if products <= DENSE:
        together = (columns.T @ columns).toarray()[low, high]
    else:
        pairs, back = np.unique(low.astype(np.int64) * products + high, return_inverse=True)
        both = columns[:, pairs // products].multiply(columns[:, pairs % products])
        together = np.asarray(both.sum(axis=0)).ravel()[back]
    scale = lengths[low] * lengths[high]
    return np.divide(together, scale, out=np.zeros(len(low)), where=scale > 0)
