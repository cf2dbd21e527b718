"""Eight clustering algorithms behind one protocol: rows in, labels out, and the prototypes that are served."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.cluster import DBSCAN, HDBSCAN, Birch, KMeans, MiniBatchKMeans
from sklearn.manifold import spectral_embedding
from sklearn.metrics import pairwise_distances_argmin
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors, kneighbors_graph

from recsys.drift import DriftConfig
from recsys.errors import DataError

NOISE = -1
"""The label of a row that an algorithm leaves out."""

AlgorithmName = Literal[
    "k_means", "mini_batch_k_means", "gaussian_mixture", "ward", "spectral", "birch", "dbscan", "hdbscan"
]


class SegmentsConfig(BaseModel):
    """Which segments are looked for, and what an answer must be to be taken."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: Literal["embedding", "features"] = "embedding"
    """What is clustered for the answer; the other space is shown beside it."""
    algorithms: tuple[AlgorithmName, ...] = Field(default=("k_means", "gaussian_mixture", "ward"), min_length=1)
    """What is tried. All eight take minutes on ten thousand customers, the default a part of one."""
    fewest: int = Field(default=4, ge=2)
    """Fewest segments."""
    most: int = Field(default=12, ge=2, le=100)
    """Most segments."""
    smallest_share: float = Field(default=0.05, ge=0, lt=0.5)
    """Share of the customers that the smallest segment must have."""
    least_stability: float = Field(default=0.9, ge=0, le=1)
    """Mean adjusted Rand index between the segments and those of bootstrap refits that an answer must reach."""
    least_agreement: float = Field(default=0.8, ge=0, le=1)
    """Share of its rows for which the nearest prototype must say what the algorithm said."""
    bootstraps: int = Field(default=10, ge=2)
    """Refits on rows drawn with replacement, each with another seed."""
    slow_rows: int = Field(default=5000, ge=100, le=20_000)
    """The most rows for algorithms that compare rows with rows (Ward, spectral, DBSCAN, HDBSCAN): above, a sample."""
    tries: int = Field(default=4, ge=1)
    """How many settings of one algorithm are refitted, best silhouette first, until one passes."""
    least_overlap: float = Field(default=0.5, gt=0, le=1)
    """Jaccard index of the customers, old and new, from which on `recsys segments refit` keeps a segment's id."""
    drift: DriftConfig = DriftConfig()
    """From where on `recsys segments drift` raises a flag."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.fewest > self.most:
            raise ValueError(f"fewest {self.fewest} is above most {self.most}")
        if self.fewest * self.smallest_share > 1:
            raise ValueError(
                f"{self.fewest} segments of at least {self.smallest_share:.0%} each are more than all customers"
            )
        return self


Fit = Callable[[np.ndarray, Sequence[float], int], Iterator[np.ndarray]]
"""(rows float32 [n, D], settings, seed) → for each setting the labels int [n], NOISE where a row is left out."""


@dataclass(frozen=True)
class Algorithm:
    """How one algorithm is fitted, with which settings, and on how many rows at most."""

    fit: Fit
    settings: Callable[[SegmentsConfig], tuple[float, ...]]
    """What is tried: numbers of segments, or for the density algorithms what takes their place."""
    most_rows: int | None = None
    """Above, it is fitted on a seeded sample, and everybody gets the nearest prototype. None: `slow_rows`."""

    def rows(self, customers: int, config: SegmentsConfig) -> int:
        """On how many of the customers it is fitted."""
        return min(customers, self.most_rows or config.slow_rows)


def prototypes_of(name: AlgorithmName, rows: np.ndarray, settings: Sequence[float], seed: int) -> Iterator["Fitted"]:
    """Fit an algorithm on all of `rows` float32 [n, D] with each of `settings`."""
    for labels in ALGORITHMS[name].fit(rows, settings, seed):
        kept = np.unique(labels[labels != NOISE])
        means = [rows[labels == label].mean(axis=0, dtype=np.float64) for label in kept]
        found = np.stack(means) if means else rows.mean(axis=0, dtype=np.float64, keepdims=True)
        places = np.searchsorted(kept, labels) if len(kept) else np.zeros(len(labels))
        yield Fitted(np.where(labels == NOISE, NOISE, places).astype(np.int64), found.astype(np.float32))


@dataclass(frozen=True)
class Fitted:
    """What one algorithm said of the rows that it was fitted on, and what is served of it."""

    labels: np.ndarray
    """int64 [n], NOISE where it left a row out."""
    prototypes: np.ndarray
    """float32 [K, D], the mean of each label's rows; of all rows if it left all of them out."""


def nearest(rows: np.ndarray, prototypes: np.ndarray) -> np.ndarray:
    """int64 [N] the nearest prototype of each row by Euclidean distance, the first of equals."""
    return np.asarray(pairwise_distances_argmin(rows, prototypes), dtype=np.int64)


def sample(total: int, most: int, seed: int) -> np.ndarray:
    """int64 [min(total, most)] places of rows drawn without replacement, in order; all of them where they are few."""
    if total <= most:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).choice(total, most, replace=False))


def check_rows(rows: np.ndarray, name: str) -> np.ndarray:
    """`rows` as float32 [N, D]; raises DataError naming the space where they cannot be clustered."""
    found = np.ascontiguousarray(rows, dtype=np.float32)
    if found.ndim != 2 or 0 in found.shape:
        raise DataError(f"{name}: expected a row of numbers for each customer, got an array of shape {found.shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        bad = ~(np.abs(found) < LARGEST)
    if bad.any():
        lines = np.flatnonzero(bad.any(axis=1))
        columns = np.flatnonzero(bad.any(axis=0))
        raise DataError(
            f"{name}: {len(lines):,} of {len(found):,} rows hold values that are missing, infinite or beyond "
            f"{LARGEST:g}, in {len(columns)} of {found.shape[1]} columns (first: row {lines[0]}, column "
            f"{np.flatnonzero(bad[lines[0]])[0]}); fill or scale them"
        )
    return found


LARGEST = 1e15
"""Larger values have squares whose sums float32 does not hold."""


def _numbers(config: SegmentsConfig) -> tuple[float, ...]:
    return tuple(range(config.fewest, config.most + 1))


def _k_means(rows: np.ndarray, settings: Sequence[float], seed: int) -> Iterator[np.ndarray]:
    """Lloyd's algorithm, the best of ten starts by k-means++."""
    for k in settings:
        yield KMeans(int(k), n_init=10, random_state=seed).fit_predict(rows)


def _mini_batch_k_means(rows: np.ndarray, settings: Sequence[float], seed: int) -> Iterator[np.ndarray]:
    """k-means from batches of 4,096 rows (Sculley, WWW 2010), the best of ten runs.

    Ten runs, since scikit-learn's `n_init` only compares where a single run begins.
    """
    for k in settings:
        runs = (
            MiniBatchKMeans(int(k), batch_size=4096, n_init=1, random_state=start).fit(rows)
            for start in np.random.default_rng(seed).integers(1 << 31, size=10).tolist()
        )
        yield min(runs, key=lambda run: run.inertia_).labels_


def _gaussian_mixture(rows: np.ndarray, settings: Sequence[float], seed: int) -> Iterator[np.ndarray]:
    """Full covariances, begun from k-means; a ten-thousandth of the mean variance keeps constant columns regular."""
    wide = rows.astype(np.float64)
    floor = 1e-4 * float(wide.var(axis=0).mean())
    for k in settings:
        yield GaussianMixture(int(k), reg_covar=floor, random_state=seed).fit_predict(wide)


def _ward(rows: np.ndarray, settings: Sequence[float], seed: int) -> Iterator[np.ndarray]:
    """One tree (Ward, JASA 1963) cut at every number of segments; nothing in it is random."""
    tree = linkage(rows, "ward")
    for k in settings:
        yield fcluster(tree, int(k), "maxclust") - 1


def _spectral(rows: np.ndarray, settings: Sequence[float], seed: int) -> Iterator[np.ndarray]:
    """k-means on the leading eigenvectors of the graph of 15 nearest neighbours (von Luxburg, 2007)."""
    graph = kneighbors_graph(rows, min(15, len(rows) - 1), include_self=True)
    graph = 0.5 * (graph + graph.T)
    most = min(int(max(settings)), len(rows) - 2)
    vectors = spectral_embedding(graph, n_components=most, random_state=seed, drop_first=False)
    for k in settings:
        yield KMeans(int(k), n_init=10, random_state=seed).fit_predict(vectors[:, : int(k)])


def _birch(rows: np.ndarray, settings: Sequence[float], seed: int) -> Iterator[np.ndarray]:
    """Small groups as they come, then Ward among the groups (Zhang et al., SIGMOD 1996).

    A group's radius is at most the median distance from a row to its nearest neighbour among 2,000 rows.
    """
    some = rows[sample(len(rows), 2000, seed)]
    between = NearestNeighbors(n_neighbors=2).fit(some).kneighbors(some)[0][:, 1]
    tree = Birch(threshold=max(float(np.median(between)), 1e-6), n_clusters=None).fit(rows)
    for k in settings:
        tree.set_params(n_clusters=int(k)).partial_fit()
        yield tree.predict(rows)


def _distances(config: SegmentsConfig) -> tuple[float, ...]:
    return (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)


def _dbscan(rows: np.ndarray, settings: Sequence[float], seed: int) -> Iterator[np.ndarray]:
    """A core row has 2 × D rows around it (Sander et al., 1998), itself included, at most a twentieth of all rows.

    A setting is a quantile of the distances from a row to the last of these, and gives the radius `eps`.
    """
    around = max(3, min(2 * rows.shape[1], len(rows) // 20))
    reach = NearestNeighbors(n_neighbors=min(around, len(rows))).fit(rows).kneighbors(rows)[0][:, -1]
    for quantile in settings:
        eps = max(float(np.quantile(reach, quantile)), 1e-6)
        yield DBSCAN(eps=eps, min_samples=around).fit_predict(rows)


def _least_sizes(config: SegmentsConfig) -> tuple[float, ...]:
    return tuple(round(part * (config.smallest_share or 0.01), 6) for part in (1, 0.5, 0.2, 0.1))


def _hdbscan(rows: np.ndarray, settings: Sequence[float], seed: int) -> Iterator[np.ndarray]:
    """A setting is the share of the rows that a cluster has at least, `min_cluster_size`; `min_samples` is 5.

    It goes from the share that a segment must have down to a tenth of it, since the rows left out join later.
    """
    for share in settings:
        size = max(2, round(share * len(rows)))
        yield HDBSCAN(min_cluster_size=size, min_samples=min(5, len(rows)), copy=True).fit_predict(rows)


ALGORITHMS: dict[AlgorithmName, Algorithm] = {
    "k_means": Algorithm(_k_means, _numbers, most_rows=50_000),
    "mini_batch_k_means": Algorithm(_mini_batch_k_means, _numbers, most_rows=100_000),
    "gaussian_mixture": Algorithm(_gaussian_mixture, _numbers, most_rows=20_000),
    "ward": Algorithm(_ward, _numbers),
    "spectral": Algorithm(_spectral, _numbers),
    "birch": Algorithm(_birch, _numbers, most_rows=20_000),
    "dbscan": Algorithm(_dbscan, _distances),
    "hdbscan": Algorithm(_hdbscan, _least_sizes),
}
