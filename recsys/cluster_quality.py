"""How good segments are: separation on the rows, and stability under refits on bootstrap samples."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import adjusted_rand_score, calinski_harabasz_score, davies_bouldin_score, silhouette_score

from recsys.clustering import nearest

MEASURED = 10_000
"""The most rows on which separation is measured: above, a seeded sample of so many. The silhouette needs rows²."""


@dataclass(frozen=True)
class Separation:
    """Three indices of how far segments lie apart, None where a single segment is all there is."""

    silhouette: float | None
    """Mean over rows, -1 to 1, higher is better (Rousseeuw, J. Comput. Appl. Math. 1987)."""
    davies_bouldin: float | None
    """0 and above, lower is better (Davies and Bouldin, IEEE TPAMI 1979)."""
    calinski_harabasz: float | None
    """0 and above, higher is better (Caliński and Harabasz, Commun. Stat. 1974)."""


@dataclass(frozen=True)
class Stability:
    """How alike segments are when the rows are drawn again."""

    adjusted_rand: tuple[float, ...]
    """One value a bootstrap refit: its segments beside the reference, over all rows (Hubert and Arabie, 1985)."""
    jaccard: tuple[float, ...]
    """For each segment the mean over refits of its likeness to the most alike refitted one (Hennig, CSDA 2007)."""

    @property
    def mean(self) -> float:
        return float(np.mean(self.adjusted_rand))

    @property
    def low(self) -> float:
        return float(np.min(self.adjusted_rand))


def separation(rows: np.ndarray, labels: np.ndarray) -> Separation:
    """The indices of `labels` int [n] on `rows` float32 [n, D]; n² time, a bounded part of n² memory."""
    found = len(np.unique(labels))
    if not 2 <= found < len(rows):
        return Separation(None, None, None)
    return Separation(
        float(silhouette_score(rows, labels)),
        float(davies_bouldin_score(rows, labels)),
        float(calinski_harabasz_score(rows, labels)),
    )


def stability(
    rows: np.ndarray,
    reference: np.ndarray,
    segments: int,
    refit: Callable[[np.ndarray, int], np.ndarray],
    drawn: int,
    bootstraps: int,
    least: float,
    seed: int,
) -> Stability:
    """Refit `bootstraps` times on `drawn` rows with replacement, extend each to all rows, compare with `reference`.

    rows: float32 [N, D]; reference: int [N] in 0…segments-1; refit: (rows, seed) → prototypes float32 [K, D]. Ends
    after three or more refits once the mean adjusted Rand could not reach `least` were all further ones perfect.
    """
    rands, likeness = [], []
    for draw in range(bootstraps):
        rng = np.random.default_rng([seed, draw])
        some = rows[np.sort(rng.integers(0, len(rows), drawn))]
        again = nearest(rows, refit(some, int(rng.integers(1 << 31))))
        rands.append(float(adjusted_rand_score(reference, again)))
        likeness.append(jaccard(reference, again, segments))
        if draw >= 2 and (sum(rands) + bootstraps - draw - 1) / bootstraps < least:
            break
    return Stability(tuple(rands), tuple(float(value) for value in np.mean(likeness, axis=0)))


def jaccard(reference: np.ndarray, other: np.ndarray, segments: int) -> np.ndarray:
    """float64 [segments] common rows over rows in either, for the segment of `other` where this is greatest."""
    others = int(other.max()) + 1
    common = np.bincount(reference * others + other, minlength=segments * others).reshape(segments, others)
    either = common.sum(axis=1, keepdims=True) + common.sum(axis=0) - common
    return np.asarray((common / np.maximum(either, 1)).max(axis=1))
