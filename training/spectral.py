"""Starts of tables by singular value decomposition: products by who takes them, tags by which products have them."""

import numpy as np
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

from recsys.features.encoder import FIRST
from training.batches import Examples

LENGTH = 4.0
"""Mean length of a product's row: far above what the other parts of a tower start with."""
_SMOOTHING = 10.0
"""Products added to each example and twice as many examples to each product, so that few say less."""
_SHARPENING = 4.0
"""A direction of singular value s, 1 being the largest, weighs exp(4 s)."""
_LEAST = 0.01
"""Directions of a smaller singular value are left out: they would only be noise made large."""
_ITERATIONS = 3
_SLICE = 1 << 16
_CONTENT_LENGTH = 0.3
"""Mean length of what the tags of a product say at the start: a little above the other parts of the product tower."""


def spectral_table(examples: Examples, products: int, dim: int, seed: int) -> np.ndarray:
    """float32 [products, dim], the rows of indices 0 and 1 (no product, unknown) and surplus directions being zero.

    Customers × products, 1 where a product is a target, held or in the history of an example, is normalised by the
    square roots of both sums; from its truncated singular value decomposition U s Vᵀ a product gets V √(exp(4 s) / s).
    The dot product of a product with the weighted sum of a customer's products is then U exp(4 s) Vᵀ. Sources: GF-CF
    (Shen et al., CIKM 2021, arXiv 2108.07567) for the filter, SVD-GCN (Peng et al., CIKM 2022, arXiv 2208.12689,
    equations 7 and 10) for its weights and the smoothing.
    """
    held = _matrix(examples, products)
    rows, columns = (np.asarray(held.sum(axis=axis)).ravel() for axis in (1, 0))
    scaled = sparse.diags_array(1 / np.sqrt(rows + _SMOOTHING)) @ held
    scaled = (scaled @ sparse.diags_array(1 / np.sqrt(columns + 2 * _SMOOTHING))).astype(np.float32)
    found = min(dim, min(scaled.shape) - 1)
    table = np.zeros((products, dim), dtype=np.float32)
    if found < 1 or not held.nnz:
        return table
    _, singular, directions = randomized_svd(scaled, found, n_iter=_ITERATIONS, random_state=seed)
    share = singular / singular[0]
    weight = np.where(share < _LEAST, 0.0, np.sqrt(np.exp(_SHARPENING * share) / np.maximum(share, _LEAST)))
    table[:, :found] = directions.T * weight
    table[:FIRST] = 0.0
    lengths = np.linalg.norm(table, axis=1)
    return table * np.float32(LENGTH / lengths[lengths > 0].mean())


def tag_table(tags: np.ndarray, words: int, dim: int, seed: int) -> np.ndarray:
    """float32 [words, dim] whose means over the tags of two products are alike where their tags are; padding zero.

    tags: int32 [P, K], 0 for padding. Products × tags, 1 where a product has the tag, is weighted by the inverse
    document frequency, log(1 + P / products that have the tag), and its rows scaled to length 1; a tag gets its row of
    V from the truncated decomposition U s Vᵀ, times its weight (latent semantic indexing, Deerwester et al., JASIS
    1990). From small random rows content is learned from sales alone, and what is rare hardly moves.
    """
    row, place = np.nonzero(tags)
    held = sparse.csr_array((np.ones(len(row)), (row, tags[row, place])), shape=(len(tags), words))
    held.sum_duplicates()
    held.data[:] = 1.0
    having = held.sum(axis=0)
    weight = np.where(having > 0, np.log1p(len(tags) / np.maximum(having, 1)), 0.0)
    weighted = held @ sparse.diags_array(weight)
    lengths = np.sqrt((weighted**2).sum(axis=1))
    scaled = (sparse.diags_array(1 / np.maximum(lengths, 1e-9)) @ weighted).astype(np.float32)
    found = min(dim, min(scaled.shape) - 1)
    table = np.zeros((words, dim), dtype=np.float32)
    if found < 1 or not held.nnz:
        return table
    directions = randomized_svd(scaled, found, n_iter=_ITERATIONS, random_state=seed)[2]
    table[:, :found] = directions.T * weight[:, None]
    counts = np.maximum(held.sum(axis=1), 1)
    content = np.linalg.norm((held @ table) / counts[:, None], axis=1)
    return (table * (_CONTENT_LENGTH / content[content > 0].mean())).astype(np.float32)


def _matrix(examples: Examples, products: int) -> sparse.csr_array:
    """float64 [examples, products], 1 where an example names the product."""
    parts = []
    for start in range(0, len(examples), _SLICE):
        rows = slice(start, start + _SLICE)
        lists = [examples.targets[rows]]
        lists += [examples.arrays[name][rows] for name in ("held", "history") if name in examples.arrays]
        together = np.concatenate(lists, axis=1)
        row, place = np.nonzero(together >= FIRST)
        column = together[row, place]
        if "holdings" in examples.arrays:
            more, held = np.nonzero(examples.arrays["holdings"][rows])
            known = held >= FIRST
            row, column = np.concatenate([row, more[known]]), np.concatenate([column, held[known]])
        shape = (len(together), products)
        parts.append(sparse.csr_array((np.ones(len(row)), (row, column)), shape=shape))
    matrix = sparse.vstack(parts, format="csr")
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix
