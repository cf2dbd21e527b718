"""Old segments on new rows: prototypes that follow their customers, and whether they still stand up to the rule."""

from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from recsys.cluster_choice import Candidate, found_again, unsound, unstable
from recsys.cluster_quality import MEASURED, separation, stability
from recsys.clustering import ALGORITHMS, AlgorithmName, SegmentsConfig, check_rows, nearest, prototypes_of, sample

ROUNDS = 100
"""Most rounds in which prototypes follow their customers."""
SLACK = 0.1
"""How far old segments may fall short of the rule, as a share of what it asks, before they are given up: chance alone
takes a segment from just above a bound to just below it, and must not rename everybody."""


@dataclass(frozen=True)
class Standing:
    """Old segments on new rows."""

    candidate: Candidate
    """As the rule sees them; `candidate.prototypes` are where they are now."""
    fallen: tuple[str, ...]
    """Why they no longer stand; empty where they do."""


def offsets(rows: np.ndarray, prototypes: np.ndarray) -> np.ndarray:
    """float32 [K, D]: each prototype less the mean of the rows nearest to it; zero after k-means on all rows.

    An algorithm that is not k-means, or that saw a sample, leaves its prototypes elsewhere than in the middle of who
    is nearest. Zero too where nobody is.
    """
    return (prototypes - _means(rows, prototypes, prototypes)).astype(np.float32)


def follow(rows: np.ndarray, prototypes: np.ndarray, kept: np.ndarray | None = None) -> np.ndarray:
    """float32 [K, D]: prototypes moved until each is the mean of the rows nearest to it, plus its offset.

    rows: float32 [N, D]; kept: `offsets` where the prototypes were found. This is Lloyd's algorithm (IEEE Trans.
    Information Theory 1982) from the old prototypes; with offsets, prototypes stay where they are on the rows that
    they were found on, whatever algorithm found them. One that nobody is nearest to stays.
    """
    shift = np.zeros_like(prototypes) if kept is None else kept
    places = prototypes.astype(np.float32)
    for _ in range(ROUNDS):
        moved = (_means(rows, places, places - shift) + shift).astype(np.float32)
        if np.array_equal(moved, places):
            break
        places = moved
    return places


def standing(
    rows: np.ndarray,
    prototypes: np.ndarray,
    kept: np.ndarray | None,
    found_by: tuple[AlgorithmName, float],
    config: SegmentsConfig,
    seed: int,
) -> Standing:
    """Let old segments follow the customers, and judge them as if they had been found now.

    found_by: the algorithm and its setting. Refused are what the rule of `find_segments` refuses, with `SLACK`, and
    segments that the same algorithm with the same setting, begun anew, beats: whose squared distances to the
    prototypes are more than `SLACK` above those of the new ones.
    """
    algorithm, setting = found_by
    rows = check_rows(rows, config.space)
    eased = config.model_copy(
        update={
            "smallest_share": config.smallest_share * (1 - SLACK),
            "least_stability": config.least_stability * (1 - SLACK),
        }
    )
    with threadpool_limits(1):
        places = follow(rows, prototypes, kept)
        row = _candidate(rows, places, config.space, algorithm, setting, seed)
        drawn = ALGORITHMS[algorithm].rows(len(rows), config)
        found = stability(
            rows,
            nearest(rows, places),
            len(places),
            found_again(row),
            drawn,
            config.bootstraps,
            eased.least_stability,
            seed,
        )
        fresh = _fresh(rows, algorithm, setting, drawn, seed)
        fallen = (*unsound(row, eased), *unstable(found, eased), *_beaten(rows, places, fresh))
    return Standing(replace(row, stability=found, refused=fallen), fallen)


def _fresh(rows: np.ndarray, algorithm: AlgorithmName, setting: float, drawn: int, seed: int) -> np.ndarray:
    return next(prototypes_of(algorithm, rows[sample(len(rows), drawn, seed)], [setting], seed)).prototypes


def _beaten(rows: np.ndarray, places: np.ndarray, fresh: np.ndarray) -> tuple[str, ...]:
    if len(fresh) != len(places):
        return ()
    old, new = (_spread(rows, prototypes) for prototypes in (places, fresh))
    if old <= new * (1 + SLACK):
        return ()
    return (f"begun anew, {len(fresh)} segments lie closer: squared distances {old / max(new, 1e-12) - 1:.0%} above",)


def _candidate(
    rows: np.ndarray, places: np.ndarray, space: str, algorithm: AlgorithmName, setting: float, seed: int
) -> Candidate:
    labels = nearest(rows, places)
    sizes = np.bincount(labels, minlength=len(places))
    measured = sample(len(rows), MEASURED, seed)
    return Candidate(
        space=space,
        algorithm=algorithm,
        setting=setting,
        segments=len(places),
        separation=separation(rows[measured], labels[measured]),
        sizes=tuple(int(size) for size in np.sort(sizes)[::-1]),
        noise_share=0.0,
        agreement=1.0,
        fitted_on=len(rows),
        measured_on=len(measured),
        seconds=0.0,
        prototypes=places,
    )


def _means(rows: np.ndarray, prototypes: np.ndarray, without: np.ndarray) -> np.ndarray:
    """float64 [K, D]: the mean of the rows nearest to each prototype; `without` where there is none."""
    labels = nearest(rows, prototypes)
    sizes = np.bincount(labels, minlength=len(prototypes))
    sums = [np.bincount(labels, weights=column, minlength=len(prototypes)) for column in rows.T]
    means = np.stack(sums, axis=1) / np.maximum(sizes, 1)[:, None]
    return np.where(sizes[:, None] > 0, means, without)


def _spread(rows: np.ndarray, prototypes: np.ndarray) -> float:
    gaps = rows - prototypes[nearest(rows, prototypes)]
    return float(np.square(gaps, dtype=np.float64).sum())
