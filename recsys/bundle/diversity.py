"""Re-ranking for variety: the next product is good by itself and unlike those before it."""

import numpy as np

POOL = 5
"""Candidates for each place: of a list of k, the k · POOL best are re-ranked."""
LAST = -9.0
"""The value of a place without a product: below every other, which are -1 at least."""
ROWS = 512
"""Customers at once: with lists of 10 and 64 dimensions about 7 MB."""


def mmr(
    scores: np.ndarray, index: np.ndarray, directions: np.ndarray, k: int, diversity: float
) -> tuple[np.ndarray, np.ndarray]:
    """The k products of each customer by maximal marginal relevance, in the order in which they were chosen.

    scores float32 [N, M] and index int64 [N, M], best first, -inf where there is none; directions float32 [P, D], the
    products' vectors of length 1. The first product is the best one; each next one has the largest
    (1 - diversity) · relevance - diversity · (largest cosine with those before it), relevance being the score scaled to
    0 … 1 within the row. Ties go to the better score. Returns the scores as they were and the index, [N, k]. A row
    depends on no other. Source: Carbonell and Goldstein, SIGIR 1998.
    """
    width = min(k, scores.shape[1])
    picked = np.zeros((len(scores), width), dtype=np.int64)
    for start in range(0, len(scores), ROWS):
        rows = slice(start, start + ROWS)
        picked[rows] = _picked(scores[rows], directions[index[rows]], width, diversity)
    return np.take_along_axis(scores, picked, axis=1), np.take_along_axis(index, picked, axis=1)


def _picked(scores: np.ndarray, directions: np.ndarray, k: int, diversity: float) -> np.ndarray:
    """int64 [N, k] places in the row, in the order of choice; directions [N, M, D]."""
    known = scores > -np.inf
    low = np.where(known, scores, np.inf).min(axis=1, keepdims=True)
    span = np.where(known, scores, -np.inf).max(axis=1, keepdims=True) - low
    with np.errstate(invalid="ignore", divide="ignore"):
        relevance = np.where(known & (span > 0), (scores - low) / span, 0.0)
    every = np.arange(len(scores))
    free, nearest = np.ones_like(known), np.zeros_like(relevance)
    picked = np.zeros((len(scores), k), dtype=np.int64)
    for place in range(k):
        value = np.where(known, (1 - diversity) * relevance - diversity * nearest, LAST)
        value = np.where(free, value, -np.inf)
        best = value.argmax(axis=1)
        picked[:, place], free[every, best] = best, False
        cosine = (directions * directions[every, best][:, None, :]).sum(axis=2)
        nearest = cosine if place == 0 else np.maximum(nearest, cosine)
    return picked
