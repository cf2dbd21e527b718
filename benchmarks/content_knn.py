"""Content-kNN: products are ranked by how like, in tags and words, they are to what the customer has; tuned."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys.features.definition import Column
from recsys.features.profile import text_tokens
from recsys.metrics import rank_metrics

PRICES = 10
"""Numbers become a word for each tenth of the products."""
GRID = tuple(product((0.5, 1.0, 1.5), (1.0, 0.9, 0.7, 0.5), (1, 2, 4)))
"""Powers of the idf, weights of an event relative to the next one, powers of the cosine."""
CHUNK = 1000


@dataclass(frozen=True)
class ContentKNN:
    """Score = Σ over the history of recency weight × cosine^sharpness; with sharpness 1, the mean of its vectors.

    counts: CSR [P, W] which words each product has.
    """

    counts: sp.csr_matrix
    idf_power: float
    recency: float
    sharpness: int

    def scores(self, histories: list[np.ndarray], candidates: np.ndarray) -> np.ndarray:
        """float32 [N, C] from each customer's rows of `counts`, oldest first, for the rows that are candidates."""
        vectors = tf_idf(self.counts, self.idf_power)
        weights = _weights(histories, self.recency, self.counts.shape[0])
        found = np.zeros((len(histories), len(candidates)), dtype=np.float32)
        seen = np.unique(weights.indices)
        weights = weights[:, seen]
        for start in range(0, len(candidates), CHUNK):
            part = candidates[start : start + CHUNK]
            likeness = (vectors[seen] @ vectors[part].T).toarray() ** self.sharpness
            found[:, start : start + len(part)] = weights @ likeness
        return found


def tuned(
    counts: sp.csr_matrix, histories: list[np.ndarray], candidates: np.ndarray, targets: np.ndarray, allowed: np.ndarray
) -> ContentKNN:
    """The setting with the best mean recall@10 on validation customers."""
    found = []
    for setting in GRID:
        model = ContentKNN(counts, *setting)
        metrics = rank_metrics(model.scores(histories, candidates), allowed, targets, (10,))
        found.append((float(metrics["recall@10"].mean()), model))
    return max(found, key=lambda pair: pair[0])[1]


def word_counts(products: pl.DataFrame, columns: tuple[Column, ...]) -> sp.csr_matrix:
    """CSR [P, W] of ones: tags, words of texts, categories, and which tenth of the products a number falls into."""
    words = []
    for column in columns:
        values = pl.col(column.name)
        if column.kind == "text":
            listed = text_tokens(values)
        elif column.kind == "tags":
            listed = values
        elif column.kind in ("number", "flag", "date"):
            tenth = (values.cast(pl.Float64).rank("dense") * PRICES // (values.n_unique() + 1)).cast(pl.Int64)
            listed = pl.concat_list(tenth.cast(pl.String))
        else:
            listed = pl.concat_list(values)
        named = products.select(listed.alias("word")).with_row_index("row").explode("word").drop_nulls()
        words.append(named.with_columns(word=column.name + ":" + pl.col("word")).unique())
    every = pl.concat(words)
    codes = every["word"].rank("dense").to_numpy() - 1
    shape = (products.height, int(codes.max()) + 1)
    return sp.csr_matrix((np.ones(len(codes), dtype=np.float32), (every["row"].to_numpy(), codes)), shape=shape)


def tf_idf(counts: sp.csr_matrix, power: float) -> sp.csr_matrix:
    """Rows of length 1, each word weighing log(P / products that have it) to a power."""
    frequency = np.maximum(np.asarray(counts.sum(axis=0)).ravel(), 1)
    weighted = counts @ sp.diags(np.log1p(counts.shape[0] / frequency) ** power)
    length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    return (sp.diags(1 / np.maximum(length, 1e-9)) @ weighted).tocsr().astype(np.float32)


def _weights(histories: list[np.ndarray], recency: float, products: int) -> sp.csr_matrix:
    rows = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    age = np.concatenate([np.arange(len(history))[::-1] for history in histories])
    columns = np.concatenate(histories).astype(np.int64)
    return sp.csr_matrix(((recency**age).astype(np.float32), (rows, columns)), shape=(len(histories), products))
