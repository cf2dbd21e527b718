"""Ranking metrics: hand-computed values, ties, a slow reference, bad input."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.errors import DataError
from recsys.metrics import coverage, rank_metrics, target_ranks, top_k

LOG2 = np.log2


def one(scores: list[float], targets: list[int], allowed: list[int] | None = None, ks: tuple[int, ...] = (1, 2, 3)):
    """Metrics of a single customer as floats."""
    row = np.array([scores], dtype=np.float32)
    wanted = np.zeros(row.shape, dtype=bool)
    wanted[0, targets] = True
    mask = np.ones(row.shape, dtype=bool)
    if allowed is not None:
        mask[:] = False
        mask[0, allowed] = True
    return {name: values.item() for name, values in rank_metrics(row, mask, wanted, ks).items()}


def slow(scores: np.ndarray, allowed: np.ndarray, targets: np.ndarray, ks: tuple[int, ...]) -> dict[str, list[float]]:
    """The definitions of docs/evaluation.md word for word, one customer and one product at a time."""
    found: dict[str, list[float]] = {}
    for row, mask, wanted in zip(scores, allowed, targets, strict=True):
        ranked = sorted(np.flatnonzero(mask), key=lambda j, row=row: (-row[j], j))
        total = int(wanted.sum())
        values = {"mrr": next((1 / place for place, j in enumerate(ranked, 1) if wanted[j]), 0.0)}
        for k in ks:
            hits = [place for place, j in enumerate(ranked[:k], 1) if wanted[j]]
            precision, recall = len(hits) / k, len(hits) / total
            values[f"hr@{k}"] = float(bool(hits))
            values[f"recall@{k}"] = recall
            values[f"precision@{k}"] = precision
            values[f"f1@{k}"] = 2 * precision * recall / (precision + recall) if hits else 0.0
            values[f"map@{k}"] = sum(n / place for n, place in enumerate(hits, 1)) / min(total, k)
            ideal = sum(1 / LOG2(1 + place) for place in range(1, min(total, k) + 1))
            values[f"ndcg@{k}"] = sum(1 / LOG2(1 + place) for place in hits) / ideal
        for name, value in values.items():
            found.setdefault(name, []).append(value)
    return found


def random_case(seed: int, rows: int = 40, products: int = 17, levels: int = 4):
    """Scores with many ties, some products not allowed, one to five targets a row."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, (rows, products)).astype(np.float32)
    allowed = rng.random((rows, products)) < 0.7
    targets = np.zeros((rows, products), dtype=bool)
    for row in targets:
        row[rng.choice(products, rng.integers(1, 6), replace=False)] = True
    return scores, allowed, targets


def test_single_target_in_third_place():
    got = one([0.9, 0.1, 0.5, 0.7], [2])
    assert got["hr@1"] == got["hr@2"] == got["recall@2"] == got["ndcg@2"] == got["map@2"] == 0
    assert got["hr@3"] == got["recall@3"] == 1
    assert got["precision@3"] == pytest.approx(1 / 3)
    assert got["f1@3"] == pytest.approx(2 * (1 / 3) / (4 / 3))
    assert got["ndcg@3"] == pytest.approx(1 / LOG2(4))
    assert got["map@3"] == got["mrr"] == pytest.approx(1 / 3)


def test_two_targets_in_first_and_third_place():
    got = one([0.9, 0.1, 0.5, 0.7], [0, 2])
    assert got["precision@1"] == got["ndcg@1"] == got["map@1"] == got["mrr"] == 1
    assert got["recall@1"] == 0.5
    assert got["f1@1"] == pytest.approx(2 / 3)
    assert got["map@2"] == 0.5
    assert got["map@3"] == pytest.approx((1 + 2 / 3) / 2)
    assert got["ndcg@3"] == pytest.approx((1 + 1 / LOG2(4)) / (1 + 1 / LOG2(3)))


def test_products_not_allowed_make_room_for_the_others():
    assert one([0.9, 0.8, 0.7], [2], allowed=[2])["hr@1"] == 1


def test_a_target_that_is_not_allowed_is_missed_but_still_counted():
    got = one([0.9, 0.8, 0.7], [0, 1], allowed=[1, 2])
    assert got["recall@3"] == 0.5
    assert got["mrr"] == 1
    assert set(one([0.9, 0.8, 0.7], [0], allowed=[1, 2]).values()) == {0.0}


def test_ties_go_to_the_lower_column():
    same = np.ones((3, 3), dtype=np.float32)
    rows, ranks = target_ranks(same, same > 0, np.eye(3, dtype=bool))
    assert rows.tolist() == [0, 1, 2]
    assert ranks.tolist() == [1, 2, 3]


def test_constant_scores_do_not_flatter_a_model():
    products = 50
    same = np.zeros((products, products), dtype=np.float32)
    hits = rank_metrics(same, same == 0, np.eye(products, dtype=bool))["hr@5"]
    assert hits.mean() == 5 / products


def test_minus_infinity_ranks_last_among_the_allowed_and_infinity_first():
    scores = np.array([[-np.inf, np.inf, 0.0, -np.inf]], dtype=np.float32)
    allowed = np.array([[True, True, True, False]])
    assert target_ranks(scores, allowed, np.ones((1, 4), dtype=bool))[1].tolist() == [3, 1, 2, np.inf]
    assert top_k(scores, allowed, 4).tolist() == [[1, 2, 0, -1]]


@pytest.mark.parametrize("seed", range(8))
def test_equal_to_the_slow_reference(seed):
    scores, allowed, targets = random_case(seed)
    ks = (1, 3, 5, 30)
    fast, reference = rank_metrics(scores, allowed, sp.csr_matrix(targets), ks), slow(scores, allowed, targets, ks)
    assert fast.keys() == reference.keys()
    for name, values in fast.items():
        assert values.dtype == np.float64
        np.testing.assert_allclose(values, reference[name], atol=1e-12, err_msg=name)


@pytest.mark.parametrize("cells", [1, 20, 100])
def test_chunks_change_nothing(cells, monkeypatch):
    scores, allowed, targets = random_case(1)
    whole, best = rank_metrics(scores, allowed, targets), top_k(scores, allowed, 5)
    monkeypatch.setattr("recsys.metrics.CELLS", cells)
    for name, values in rank_metrics(scores, allowed, targets).items():
        assert values.tobytes() == whole[name].tobytes()
    assert np.array_equal(top_k(scores, allowed, 5), best)


def test_sparse_and_dense_targets_agree():
    scores, allowed, targets = random_case(2)
    dense = rank_metrics(scores, allowed, targets)
    for given in (sp.csr_matrix(targets), sp.csr_array(targets.astype(np.float32)), sp.coo_matrix(targets)):
        for name, values in rank_metrics(scores, allowed, given).items():
            assert np.array_equal(values, dense[name])


def test_a_stored_zero_is_no_target():
    targets = sp.csr_matrix((np.array([1.0, 0.0]), (np.array([0, 0]), np.array([0, 1]))), shape=(1, 3))
    assert rank_metrics(np.zeros((1, 3), dtype=np.float32), np.ones((1, 3), dtype=bool), targets)["recall@1"] == 1


@pytest.mark.parametrize("seed", range(4))
def test_more_recommendations_never_lower_hits_and_never_raise_above_one(seed):
    metrics = rank_metrics(*random_case(seed), ks=(1, 2, 4, 8))
    for name in ("hr", "recall"):
        for lower, higher in ((1, 2), (2, 4), (4, 8)):
            assert (metrics[f"{name}@{lower}"] <= metrics[f"{name}@{higher}"]).all()
    assert all((values >= 0).all() and (values <= 1).all() for values in metrics.values())


@pytest.mark.parametrize("seed", range(4))
def test_a_perfect_ranking_scores_one(seed):
    _, _, targets = random_case(seed)
    metrics = rank_metrics(targets.astype(np.float32), np.ones(targets.shape, dtype=bool), targets, ks=(1, 3, 5))
    for name in ("ndcg@1", "ndcg@5", "map@3", "hr@1", "mrr", "recall@5"):
        np.testing.assert_allclose(metrics[name], 1)


@pytest.mark.parametrize("k", [1, 3, 17, 25])
def test_top_k_is_the_head_of_the_sorted_row(k):
    scores, allowed, _ = random_case(3)
    for row, mask, best in zip(scores, allowed, top_k(scores, allowed, k), strict=True):
        ranked = sorted(np.flatnonzero(mask), key=lambda j, row=row: (-row[j], j))[:k]
        assert best.tolist() == ranked + [-1] * (k - len(ranked))


def test_coverage_counts_distinct_products_and_ignores_empty_places():
    assert coverage(np.array([[0, 1], [1, -1]]), 4) == 0.5
    assert coverage(np.empty((0, 3), dtype=np.int64), 4) == 0


def test_nan_scores_name_their_row():
    scores = np.zeros((5, 3), dtype=np.float32)
    scores[3, 1] = np.nan
    allowed = np.ones((5, 3), dtype=bool)
    for call in (lambda: rank_metrics(scores, allowed, allowed), lambda: top_k(scores, allowed, 2)):
        with pytest.raises(DataError, match="NaN in row 3"):
            call()


def test_rows_without_targets_are_an_error():
    targets = np.eye(3, dtype=bool)
    targets[1] = False
    with pytest.raises(DataError, match=r"1 of 3 rows have none \(first: row 1\)"):
        rank_metrics(np.zeros((3, 3), dtype=np.float32), np.ones((3, 3), dtype=bool), targets)


@pytest.mark.parametrize(
    ("scores", "allowed", "targets", "message"),
    [
        (np.zeros((2, 3)), np.ones((2, 2), dtype=bool), np.ones((2, 3)), "allowed: expected bool"),
        (np.zeros((2, 3)), np.ones((2, 3)), np.ones((2, 3)), "allowed: expected bool"),
        (np.zeros((2, 3)), np.ones((2, 3), dtype=bool), np.ones((3, 2)), "targets: expected"),
        (np.zeros((2, 3), dtype=int), np.ones((2, 3), dtype=bool), np.ones((2, 3)), "scores: expected floats"),
        (np.zeros((2, 0)), np.ones((2, 0), dtype=bool), np.ones((2, 0)), "scores: expected floats"),
    ],
)
def test_shapes_and_types_that_differ_are_refused(scores, allowed, targets, message):
    with pytest.raises(DataError, match=message):
        rank_metrics(scores, allowed, targets)


def test_k_below_one_and_products_outside_the_catalogue_are_refused():
    scores, allowed, targets = random_case(0)
    with pytest.raises(DataError, match="k must be"):
        rank_metrics(scores, allowed, targets, ks=(0, 5))
    with pytest.raises(DataError, match="k must be"):
        top_k(scores, allowed, 0)
    with pytest.raises(DataError, match="outside the catalogue"):
        coverage(np.array([[4]]), 4)
    with pytest.raises(DataError, match="at least one product"):
        coverage(np.array([[0]]), 0)


def test_no_customers_give_empty_metrics():
    empty = np.zeros((0, 3), dtype=np.float32)
    assert all(len(values) == 0 for values in rank_metrics(empty, empty > 0, empty > 0).values())
