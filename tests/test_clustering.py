"""Each algorithm finds what is there; what cannot be clustered is refused by name."""

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.metrics import adjusted_rand_score

from recsys.clustering import ALGORITHMS, NOISE, SegmentsConfig, check_rows, nearest, prototypes_of, sample
from recsys.errors import DataError

KINDS = 5
pytestmark = pytest.mark.filterwarnings("ignore:Graph is not fully connected")


def blobs(rows: int = 400, columns: int = 6, spread: float = 0.4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows around five distant centres, float32 [N, D], and the centre of each [N]."""
    rng = np.random.default_rng(seed)
    centres = 4 * np.eye(KINDS, columns)
    kind = rng.integers(0, KINDS, rows)
    return (centres[kind] + spread * rng.normal(size=(rows, columns))).astype(np.float32), kind


@pytest.mark.parametrize("name", ALGORITHMS)
def test_known_groups_are_found(name):
    rows, kind = blobs()
    config = SegmentsConfig(most=7)
    settings = ALGORITHMS[name].settings(config)
    found = list(prototypes_of(name, rows, settings, 0))
    rands = [adjusted_rand_score(kind, nearest(rows, fitted.prototypes)) for fitted in found]
    assert len(found) == len(settings)
    assert max(rands) >= 0.99
    if config.fewest in settings:
        assert rands[KINDS - config.fewest] >= 0.99
        assert [len(fitted.prototypes) for fitted in found] == list(settings)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_same_seed_gives_the_same_answer(name):
    rows, _ = blobs(spread=2.0)
    settings = ALGORITHMS[name].settings(SegmentsConfig())[:3]
    once, again = (list(prototypes_of(name, rows, settings, 3)) for _ in range(2))
    for one, other in zip(once, again, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.prototypes, other.prototypes)


@pytest.mark.parametrize("name", ["dbscan", "hdbscan"])
def test_what_a_density_algorithm_leaves_out_is_no_part_of_a_prototype(name):
    rows, _ = blobs()
    far = np.full((1, rows.shape[1]), 100.0, dtype=np.float32)
    everyone = np.concatenate([rows, far])
    for fitted in prototypes_of(name, everyone, ALGORITHMS[name].settings(SegmentsConfig()), 0):
        assert fitted.labels[-1] == NOISE
        assert np.abs(fitted.prototypes).max() < 10


@pytest.mark.parametrize("name", ALGORITHMS)
def test_constant_columns_and_repeated_rows_do_no_harm(name):
    rows, kind = blobs(200)
    rows = np.concatenate([np.repeat(rows, 2, axis=0), np.full((400, 2), 7.0)], axis=1).astype(np.float32)
    found = prototypes_of(name, rows, ALGORITHMS[name].settings(SegmentsConfig(most=6)), 0)
    rands = [adjusted_rand_score(np.repeat(kind, 2), nearest(rows, fitted.prototypes)) for fitted in found]
    assert max(rands) >= 0.99


def test_a_sample_is_seeded_and_in_order():
    assert sample(5, 10, 0).tolist() == [0, 1, 2, 3, 4]
    drawn = sample(1000, 100, 1)
    assert len(set(drawn.tolist())) == 100 and (np.diff(drawn) > 0).all()
    assert drawn.tolist() == sample(1000, 100, 1).tolist() != sample(1000, 100, 2).tolist()


def test_values_that_cannot_be_clustered_are_counted():
    rows = np.zeros((20, 4), dtype=np.float32)
    rows[3, 1], rows[5, 2], rows[5, 1] = np.nan, np.inf, -np.inf
    with pytest.raises(DataError, match=r"embedding: 2 of 20 rows .* in 2 of 4 columns \(first: row 3, column 1\)"):
        check_rows(rows, "embedding")
    with pytest.raises(DataError, match="features: 1 of 1 rows .* beyond 1e\\+15"):
        check_rows(np.array([[1.0, 1e20]]), "features")


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (4,)])
def test_an_array_without_rows_or_columns_is_refused(shape):
    with pytest.raises(DataError, match="expected a row of numbers"):
        check_rows(np.zeros(shape), "embedding")


def test_bounds_that_no_answer_can_meet_are_refused():
    with pytest.raises(ValidationError, match="fewest 6 is above most 5"):
        SegmentsConfig(fewest=6, most=5)
    with pytest.raises(ValidationError, match="more than all customers"):
        SegmentsConfig(fewest=4, smallest_share=0.3)
    with pytest.raises(ValidationError, match="k_means"):
        SegmentsConfig(algorithms=("kmeans",))
