"""Old segments follow their customers, stay where nothing changed, and are given up where they no longer stand."""

import numpy as np
import pytest

from recsys.clustering import AlgorithmName, SegmentsConfig, nearest, prototypes_of
from recsys.warm_start import follow, offsets, standing

CENTRES = np.array([[0, 0, 0], [6, 0, 0], [0, 6, 0], [0, 0, 6], [6, 6, 6]], dtype=np.float32)
CONFIG = SegmentsConfig(algorithms=("k_means",), bootstraps=3)


def people(
    n: int, seed: int, weights: tuple[float, ...] = (0.3, 0.25, 0.2, 0.15, 0.1), wide: float = 2.2
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = CENTRES[rng.choice(5, n, p=weights)] + rng.normal(0, wide, (n, 3))
    return rows.astype(np.float32)


def found(rows: np.ndarray, algorithm: AlgorithmName = "k_means") -> np.ndarray:
    return next(prototypes_of(algorithm, rows, [5], 0)).prototypes


@pytest.mark.parametrize("algorithm", ["k_means", "ward", "gaussian_mixture"])
def test_on_the_same_rows_nobody_moves_whatever_the_algorithm(algorithm: AlgorithmName) -> None:
    rows = people(2000, 0)
    old = found(rows, algorithm)
    kept = offsets(rows, old)
    again = follow(rows, old, kept)
    assert (nearest(rows, again) == nearest(rows, old)).mean() > 0.999
    if algorithm != "k_means":
        assert np.abs(kept).max() > 0.05, "these prototypes are not the middle of who is nearest"


@pytest.mark.parametrize("algorithm", ["k_means", "ward", "gaussian_mixture"])
def test_most_stay_on_a_bootstrap_sample_and_with_new_customers(algorithm: AlgorithmName) -> None:
    rows = people(4000, 0)
    old = found(rows, algorithm)
    kept = offsets(rows, old)
    drawn = rows[np.random.default_rng(1).integers(0, 4000, 4000)]
    more = np.concatenate([rows, people(400, 2)])
    for other in (drawn, more):
        again = follow(other, old, kept)
        assert (nearest(rows, again) == nearest(rows, old)).mean() > 0.95


def test_prototypes_follow_customers_who_move() -> None:
    rows = people(3000, 0)
    old = found(rows)
    again = follow(rows + np.float32(0.8), old)
    assert np.allclose(again, old + 0.8, atol=0.05)


def test_one_that_nobody_is_near_stays_where_it_was() -> None:
    rows = people(500, 0)
    far = np.vstack([found(rows), [[100, 100, 100]]]).astype(np.float32)
    assert np.array_equal(follow(rows, far)[5], far[5])


def test_segments_stand_on_the_rows_they_were_found_on() -> None:
    rows = people(2000, 0, wide=1.0)
    still = standing(rows, found(rows), None, ("k_means", 5.0), CONFIG, seed=1)
    assert not still.fallen and still.candidate.segments == 5
    assert still.candidate.stability is not None and still.candidate.stability.mean > 0.95


def test_a_segment_that_has_left_is_a_reason() -> None:
    old = found(people(2000, 0, wide=1.0))
    now = people(2000, 1, weights=(0.33, 0.25, 0.2, 0.21, 0.01), wide=1.0)
    assert any("smallest segment" in why for why in standing(now, old, None, ("k_means", 5.0), CONFIG, 0).fallen)


def test_segments_of_another_population_do_not_stand() -> None:
    old = found(people(2000, 0, wide=1.0))
    shapeless = np.random.default_rng(1).normal(0, 1, (2000, 3)).astype(np.float32)
    assert standing(shapeless, old, None, ("k_means", 5.0), CONFIG, 0).fallen


def test_a_start_that_has_become_a_bad_one_is_a_reason() -> None:
    """Two old segments share a blob, and two blobs share an old segment: Lloyd's algorithm does not get out of it."""
    rows = people(3000, 0, weights=(0.2, 0.2, 0.2, 0.2, 0.2), wide=0.5)
    stuck = np.array([[-0.3, 0, 0], [0.3, 0, 0], [0, 6, 0], [3, 0, 3], [6, 6, 6]], dtype=np.float32)
    reasons = standing(rows, stuck, None, ("k_means", 5.0), CONFIG, 0).fallen
    assert any("begun anew, 5 segments lie closer" in why for why in reasons)
