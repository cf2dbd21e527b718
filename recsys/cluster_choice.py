"""Which segments are taken: every algorithm is fitted and measured, and a declared rule chooses or refuses."""

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from recsys.cluster_quality import MEASURED, Separation, Stability, separation, stability
from recsys.clustering import (
    ALGORITHMS,
    NOISE,
    AlgorithmName,
    Fitted,
    SegmentsConfig,
    check_rows,
    nearest,
    prototypes_of,
    sample,
)
from recsys.errors import DataError
from recsys.progress import Progress

OUTLIERS = 0.01
"""A segment under this share is called a split of a few outliers."""


@dataclass(frozen=True)
class Candidate:
    """One setting of one algorithm in one space, as it would be served: everybody has the nearest prototype."""

    space: str
    algorithm: AlgorithmName
    setting: float
    """The number of segments asked for; a quantile of distances (DBSCAN) or a least share (HDBSCAN)."""
    segments: int
    """The number found."""
    separation: Separation
    """Of the served segments, on `measured_on` rows."""
    sizes: tuple[int, ...]
    """Customers of each segment, largest first."""
    noise_share: float
    """Share of the rows fitted on that the algorithm left out; they are served like everybody else."""
    agreement: float
    """Share of the rows that it did not leave out for which the nearest prototype says what it said."""
    fitted_on: int
    """Rows it was fitted on: a sample where fewer than all."""
    measured_on: int
    seconds: float
    """Time of one fit; what an algorithm's settings share is divided among them."""
    prototypes: np.ndarray = field(repr=False, compare=False)
    """float32 [segments, D]."""
    own_silhouette: float | None = None
    """Of what the algorithm itself said, without the rows it left out; None where that is what is served, and where
    it was not refitted."""
    stability: Stability | None = None
    """None where it was not refitted: it is refused by what is known without, or a better one passed."""
    refused: tuple[str, ...] = ()
    """Why the rule does not take it."""

    @property
    def smallest_share(self) -> float:
        return self.sizes[-1] / sum(self.sizes)

    @property
    def rank(self) -> float:
        """The silhouette, below every silhouette where there is none."""
        return -2.0 if self.separation.silhouette is None else self.separation.silhouette

    def as_json(self) -> dict[str, Any]:
        """Everything but the prototypes."""
        row = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "prototypes"}
        del row["separation"], row["stability"]
        row |= vars(self.separation) | {"smallest_share": self.smallest_share, "sizes": list(self.sizes)}
        row |= {"adjusted_rand": None, "adjusted_rand_low": None, "jaccard": None, "refused": list(self.refused)}
        if self.stability:
            known = self.stability
            row |= {"adjusted_rand": known.mean, "adjusted_rand_low": known.low, "jaccard": list(known.jaccard)}
        return row


@dataclass(frozen=True)
class Clustering:
    """The segments taken, and everything that they were chosen from."""

    chosen: Candidate
    forced: bool
    """Nothing passed the rule: `chosen` is the most stable k-means, and `chosen.refused` says what is wrong with it."""
    labels: np.ndarray
    """int64 [N], the place in `prototypes` of each row."""
    candidates: tuple[Candidate, ...]
    """Every setting of every algorithm in every space: the curve of silhouettes over numbers of segments."""
    failed: Mapping[str, str]
    """space/algorithm → why it was not fitted."""

    @property
    def prototypes(self) -> np.ndarray:
        """float32 [K, D], the largest segment's first."""
        return self.chosen.prototypes

    def table(self) -> list[Candidate]:
        """For every algorithm in every space what it would be taken with: what passed, else its best silhouette."""
        best: dict[tuple[str, str], Candidate] = {}
        for row in self.candidates:
            key = (row.space, row.algorithm)
            if key not in best or _order(row) < _order(best[key]):
                best[key] = row
        return list(best.values())


def find_segments(
    spaces: Mapping[str, np.ndarray], config: SegmentsConfig, seed: int, progress: Progress | None = None
) -> Clustering:
    """Fit every algorithm in every space and choose in `config.space`.

    spaces: name → float32 [N, D], the same customers in the same order. The rule refuses a number of segments out of
    bounds, a segment under the smallest share, a nearest prototype that disagrees with its algorithm, and segments
    that bootstrap refits do not find again; of the rest it takes the highest silhouette. Refits are made best
    silhouette first, until one setting of an algorithm passes. If nothing passes, the most stable k-means is taken
    and marked as forced. One thread throughout: sums over threads would make the answer depend on their number.

    Raises DataError for rows that cannot be clustered: values that are not finite, or no more distinct rows than the
    fewest segments.
    """
    if config.space not in spaces:
        raise DataError(f"segments: space {config.space} was asked for; there is {', '.join(spaces) or 'none'}")
    searches = [_Search(name, rows, config, seed) for name, rows in spaces.items()]
    if len({len(search.rows) for search in searches}) > 1:
        lengths = ", ".join(f"{search.name} {len(search.rows):,}" for search in searches)
        raise DataError(f"segments: expected the same customers in every space, got {lengths}")
    told = _Told(sum(search.steps for search in searches), progress)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="sklearn")  # too few distinct rows, unconnected graphs: both measured
        for search in searches:
            search.fit(told)
            search.refit(told)
        answer = next(search for search in searches if search.name == config.space)
        passing = [row for row in answer.candidates if row.stability and not row.refused]
        chosen = max(passing, key=lambda row: row.rank) if passing else answer.forced(told)
        labels = nearest(answer.rows, chosen.prototypes)
    candidates = tuple(row for search in searches for row in search.candidates)
    failed = {name: why for search in searches for name, why in search.failed.items()}
    return Clustering(chosen, not passing, labels, candidates, failed)


class _Told:
    """Counts steps for a progress bar; how many refits there will be is not known before."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.done, self.total, self.progress = 0, total, progress

    def __call__(self, what: str) -> None:
        self.done += 1
        if self.progress:
            self.progress(self.done, max(self.total, self.done), what)


class _Search:
    """One space: its rows, and what was found in them so far."""

    def __init__(self, name: str, rows: np.ndarray, config: SegmentsConfig, seed: int) -> None:
        self.name, self.seed = name, seed
        self.rows = check_rows(rows, name)
        distinct = _distinct(self.rows, config.most + 1)
        if distinct <= config.fewest:
            raise DataError(
                f"{name}: {len(self.rows):,} customers have {distinct} distinct rows, and {config.fewest} segments "
                f"need more; use more customers or lower segments.fewest"
            )
        self.asked = config
        self.config = config.model_copy(update={"most": min(config.most, distinct - 1)})
        self.measured = sample(len(self.rows), MEASURED, seed)
        self.candidates: list[Candidate] = []
        self.said: list[np.ndarray] = []  # what the algorithm of each candidate said of the rows it was fitted on
        self.failed: dict[str, str] = {}
        self.steps = sum(len(ALGORITHMS[algorithm].settings(self.config)) + 1 for algorithm in config.algorithms)

    def fit(self, told: _Told) -> None:
        """Fit and measure every setting of every algorithm."""
        for algorithm in self.config.algorithms:
            self._fit(algorithm, told)

    def refit(self, told: _Told) -> None:
        """Find the stability of each algorithm's settings, best first, until one passes; of its best in any case."""
        for algorithm in self.config.algorithms:
            told(f"{self.name}: {algorithm}, refits")
            places = [place for place, row in enumerate(self.candidates) if row.algorithm == algorithm]
            places.sort(key=lambda place: -self.candidates[place].rank)
            sound = [place for place in places if not self.candidates[place].refused][: self.config.tries]
            for place in sound:
                if not self._refit(place).refused:
                    break
            if places and not sound:
                self._refit(places[0])

    def forced(self, told: _Told) -> Candidate:
        """The most stable k-means, of those whose segments are large enough if there are any."""
        if not any(row.algorithm == "k_means" for row in self.candidates):
            self._fit("k_means", told)
        places = [place for place, row in enumerate(self.candidates) if row.algorithm == "k_means"]
        if not places:
            raise DataError(f"{self.name}: k-means was not fitted: {self.failed[f'{self.name}/k_means']}")
        for place in places:
            told(f"{self.name}: k_means, refits")
            self._refit(place)
        rows = [self.candidates[place] for place in places]
        large = [row for row in rows if row.smallest_share >= self.config.smallest_share]
        return max(large or rows, key=lambda row: (row.stability.mean if row.stability else 0.0, row.rank))

    def _fit(self, algorithm: AlgorithmName, told: _Told) -> None:
        settings = ALGORITHMS[algorithm].settings(self.config)
        rows = self._sample(algorithm)
        found: list[Fitted] = []
        began = time.perf_counter()
        try:
            for fitted in prototypes_of(algorithm, rows, settings, self.seed):
                found.append(fitted)
                told(f"{self.name}: {algorithm}")
        except (ValueError, RuntimeError) as error:  # a covariance or an eigenvector that was not found
            self.failed[f"{self.name}/{algorithm}"] = str(error).strip().split("\n")[0]
        seconds = (time.perf_counter() - began) / max(len(found), 1)
        for setting, fitted in zip(settings, found, strict=False):
            row = self._measured(algorithm, setting, fitted, rows, seconds)
            self.candidates.append(replace(row, refused=unsound(row, self.asked)))
            self.said.append(fitted.labels.astype(np.int16))

    def _sample(self, algorithm: AlgorithmName) -> np.ndarray:
        return self.rows[sample(len(self.rows), ALGORITHMS[algorithm].rows(len(self.rows), self.config), self.seed)]

    def _measured(
        self, algorithm: AlgorithmName, setting: float, fitted: Fitted, rows: np.ndarray, seconds: float
    ) -> Candidate:
        served = nearest(self.rows, fitted.prototypes)
        sizes = np.bincount(served, minlength=len(fitted.prototypes))
        order = np.argsort(-sizes, kind="stable")
        kept = fitted.labels != NOISE
        said = nearest(rows, fitted.prototypes)
        agreement = float((said == fitted.labels)[kept].mean()) if kept.any() else 0.0
        return Candidate(
            space=self.name,
            algorithm=algorithm,
            setting=setting,
            segments=len(order),
            separation=separation(self.rows[self.measured], served[self.measured]),
            sizes=tuple(int(size) for size in sizes[order]),
            noise_share=float(1 - kept.mean()),
            agreement=agreement,
            fitted_on=len(rows),
            measured_on=len(self.measured),
            seconds=seconds,
            prototypes=fitted.prototypes[order],
        )

    def _refit(self, place: int) -> Candidate:
        """Put beside one candidate how stable it is, and how well its algorithm's own labels separate."""
        row = self.candidates[place]
        if row.stability:
            return row
        reference = nearest(self.rows, row.prototypes)
        drawn = ALGORITHMS[row.algorithm].rows(len(self.rows), self.config)
        bounds = (self.config.bootstraps, self.config.least_stability)
        found = stability(self.rows, reference, row.segments, found_again(row), drawn, *bounds, self.seed)
        reasons = row.refused + unstable(found, self.asked)
        self.candidates[place] = replace(row, stability=found, own_silhouette=self._own(place), refused=reasons)
        return self.candidates[place]

    def _own(self, place: int) -> float | None:
        """The silhouette of what the algorithm itself said, where that is not what is served."""
        row, said = self.candidates[place], self.said[place]
        if row.agreement == 1 and row.noise_share == 0:
            return None
        kept = np.flatnonzero(said != NOISE)
        kept = kept[sample(len(kept), MEASURED, self.seed)]
        return separation(self._sample(row.algorithm)[kept], said[kept]).silhouette


def found_again(row: Candidate) -> Callable[[np.ndarray, int], np.ndarray]:
    """(rows, seed) → the prototypes that the candidate's algorithm finds with its setting."""

    def refit(rows: np.ndarray, seed: int) -> np.ndarray:
        try:
            return next(prototypes_of(row.algorithm, rows, [row.setting], seed)).prototypes
        except (ValueError, RuntimeError):  # what is not found again is as unlike as a single segment
            return rows.mean(axis=0, keepdims=True)

    return refit


def unsound(row: Candidate, config: SegmentsConfig) -> tuple[str, ...]:
    """What the rule has against a candidate before any refit."""
    reasons = []
    if not config.fewest <= row.segments <= config.most:
        found = "1 segment" if row.segments == 1 else f"{row.segments} segments"
        reasons.append(f"{found}, asked for {config.fewest} to {config.most}")
    if row.smallest_share < config.smallest_share or row.sizes[-1] == 0:
        share = f"smallest segment {row.smallest_share:.2%}, asked for {config.smallest_share:.0%}"
        reasons.append(share + (": a split of a few outliers" if row.smallest_share < OUTLIERS else ""))
    if row.agreement < config.least_agreement:
        reasons.append(f"nearest prototype agrees on {row.agreement:.0%}, asked for {config.least_agreement:.0%}")
    return tuple(reasons)


def unstable(found: Stability, config: SegmentsConfig) -> tuple[str, ...]:
    """What the rule has against a candidate after the refits."""
    if found.mean >= config.least_stability:
        return ()
    done = len(found.adjusted_rand)
    refits = f"{done} refits" if done == config.bootstraps else f"the first {done} of {config.bootstraps} refits"
    return (f"adjusted Rand {found.mean:.3f} over {refits}, asked for {config.least_stability:g}",)


def _order(row: Candidate) -> tuple[bool, bool, float]:
    return (bool(row.refused) or row.stability is None, row.stability is None, -row.rank)


def _distinct(rows: np.ndarray, enough: int) -> int:
    """The number of distinct rows, or `enough` where there are more; reads no more rows than it takes."""
    some = np.unique(rows[:1000], axis=0)
    return min(enough, len(some) if len(some) >= enough or len(rows) <= 1000 else len(np.unique(rows, axis=0)))
