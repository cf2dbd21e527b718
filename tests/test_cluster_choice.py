"""The rule: the best separated answer that is whole and stable is taken, and what is refused says why."""

import json

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from recsys.cluster_choice import find_segments
from recsys.clustering import ALGORITHMS, SegmentsConfig, nearest
from recsys.errors import DataError
from tests.test_clustering import blobs

QUICK = SegmentsConfig(algorithms=("k_means", "ward"), most=7, bootstraps=3)


def test_every_algorithm_is_in_the_table_of_every_space_and_the_known_groups_are_taken():
    rows, kind = blobs(250)
    both = {"embedding": rows, "features": np.concatenate([rows, rows], axis=1)}
    found = find_segments(both, SegmentsConfig(algorithms=tuple(ALGORITHMS), most=7, bootstraps=2), 0)
    assert [(row.space, row.algorithm) for row in found.table()] == [(s, a) for s in both for a in ALGORITHMS]
    assert all(row.stability for row in found.table())
    assert not found.failed and not found.forced and not found.chosen.refused
    assert found.chosen.space == "embedding" and found.chosen.segments == 5
    assert adjusted_rand_score(kind, found.labels) == 1.0
    assert found.chosen.stability.mean == 1.0
    passing = [row for row in found.table() if row.space == "embedding" and not row.refused]
    assert found.chosen.rank == max(row.rank for row in passing)


def test_everybody_has_the_nearest_prototype_and_the_largest_segment_is_first():
    rows, _ = blobs(400, spread=1.5)
    found = find_segments({"embedding": rows}, QUICK, 0)
    assert found.prototypes.dtype == np.float32 and found.prototypes.shape == (found.chosen.segments, 6)
    np.testing.assert_array_equal(found.labels, nearest(rows, found.prototypes))
    assert tuple(np.bincount(found.labels)) == found.chosen.sizes == tuple(sorted(found.chosen.sizes, reverse=True))


def test_the_same_seed_gives_the_same_answer_whatever_the_threads():
    rows, _ = blobs(1200, spread=2.0)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(find_segments({"embedding": rows}, QUICK, 5))
    one, two = found
    np.testing.assert_array_equal(one.prototypes, two.prototypes)
    np.testing.assert_array_equal(one.labels, two.labels)
    for a, b in zip(one.candidates, two.candidates, strict=True):
        assert a.as_json() | {"seconds": 0} == b.as_json() | {"seconds": 0}


def test_a_split_of_a_few_outliers_is_refused_and_says_so():
    rows, kind = blobs(1000, spread=0.5)
    rows[:3] += 500.0
    found = find_segments({"embedding": rows}, QUICK, 0)
    assert found.forced
    reasons = " ".join(reason for row in found.candidates for reason in row.refused)
    assert "a split of a few outliers" in reasons and "asked for 5%" in reasons
    six = next(row for row in found.candidates if row.algorithm == "ward" and row.segments == 6)
    assert six.refused == ("smallest segment 0.30%, asked for 5%: a split of a few outliers",)


def test_where_the_best_silhouette_is_refused_the_next_is_taken():
    rows, kind = blobs(1000, spread=0.5)
    rare = kind == 4
    rows, kind = np.concatenate([rows[~rare], rows[rare][:20]]), np.concatenate([kind[~rare], kind[rare][:20]])
    found = find_segments({"embedding": rows}, QUICK.model_copy(update={"least_stability": 0.0}), 0)
    best = max((row for row in found.candidates if row.algorithm == "k_means"), key=lambda row: row.rank)
    assert best.segments == 5 and "smallest segment 2." in best.refused[0]
    assert not found.forced and found.chosen.segments == 4 and found.chosen.smallest_share >= 0.05


def test_unstable_segments_are_refused_and_the_most_stable_k_means_is_forced():
    rows = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
    found = find_segments({"embedding": rows}, QUICK, 0)
    assert found.forced and found.chosen.algorithm == "k_means"
    assert any("adjusted Rand" in reason and "asked for 0.9" in reason for reason in found.chosen.refused)
    k_means = [row for row in found.candidates if row.algorithm == "k_means"]
    assert all(row.stability for row in k_means)
    assert found.chosen.stability.mean == max(r.stability.mean for r in k_means if r.smallest_share >= 0.05)
    assert len(np.unique(found.labels)) == found.chosen.segments


def test_k_means_is_forced_even_where_it_was_not_asked_for():
    rows = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    found = find_segments({"embedding": rows}, QUICK.model_copy(update={"algorithms": ("dbscan",)}), 0)
    assert found.forced and found.chosen.algorithm == "k_means"


def test_a_number_of_segments_out_of_bounds_is_refused():
    rows, _ = blobs(400, spread=0.2)
    config = SegmentsConfig(algorithms=("k_means", "dbscan"), fewest=6, most=8, bootstraps=2)
    found = find_segments({"embedding": rows}, config, 0)
    density = [row for row in found.candidates if row.algorithm == "dbscan"]
    assert any("5 segments, asked for 6 to 8" in row.refused for row in density)
    assert found.chosen.segments >= 6


def test_an_algorithm_fitted_on_a_sample_says_so_and_labels_everybody():
    rows, kind = blobs(1500)
    found = find_segments({"embedding": rows}, QUICK.model_copy(update={"slow_rows": 200}), 0)
    ward = next(row for row in found.table() if row.algorithm == "ward")
    assert ward.fitted_on == 200 and sum(ward.sizes) == 1500
    assert next(row for row in found.table() if row.algorithm == "k_means").fitted_on == 1500
    assert adjusted_rand_score(kind, nearest(rows, ward.prototypes)) == 1.0


def test_a_result_is_plain_json():
    rows, _ = blobs(300)
    row = find_segments({"embedding": rows}, QUICK, 0).chosen.as_json()
    assert json.loads(json.dumps(row)) == row
    assert row["adjusted_rand"] == 1.0 and len(row["jaccard"]) == len(row["sizes"]) == row["segments"] == 5
    assert row["silhouette"] > 0.5 and row["smallest_share"] > 0.1


def test_progress_ends_where_it_said():
    rows, _ = blobs(300)
    told: list[tuple[int, int, str]] = []
    find_segments({"embedding": rows}, QUICK, 0, lambda *now: told.append(now))
    assert [done for done, _, _ in told] == list(range(1, len(told) + 1))
    assert told[-1][0] == told[-1][1] and "k_means" in told[0][2]


def test_fewer_distinct_customers_than_the_most_segments_lower_the_bound():
    rows, _ = blobs(7, spread=0.4)
    found = find_segments({"embedding": rows}, SegmentsConfig(bootstraps=2, tries=1), 0)
    assert 4 <= found.chosen.segments <= 6
    assert len(found.labels) == 7


@pytest.mark.parametrize(
    ("rows", "distinct"),
    [(np.ones((1, 5)), 1), (np.ones((500, 5)), 1), (np.eye(3), 3), (np.repeat(np.eye(4), 400, axis=0), 4)],
    ids=["one customer", "identical customers", "fewer customers than segments", "no more distinct than segments"],
)
def test_too_few_distinct_customers_are_refused(rows, distinct):
    with pytest.raises(DataError, match=f"{len(rows):,} customers have {distinct} distinct rows, and 4 segments need"):
        find_segments({"embedding": rows}, QUICK, 0)


def test_spaces_of_other_customers_or_of_another_name_are_refused():
    rows, _ = blobs(50)
    with pytest.raises(DataError, match="embedding 50, features 40"):
        find_segments({"embedding": rows, "features": rows[:40]}, QUICK, 0)
    with pytest.raises(DataError, match="space embedding was asked for; there is features"):
        find_segments({"features": rows}, QUICK, 0)
    rows[4, 2] = np.nan
    with pytest.raises(DataError, match="features: 1 of 50 rows"):
        find_segments({"embedding": blobs(50)[0], "features": rows}, QUICK, 0)
