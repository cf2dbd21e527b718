"""Re-ranking for variety: by hand, against the plain loop of the paper, and row by row."""

import numpy as np
import pytest

from recsys.bundle.diversity import mmr

INF = np.float32(-np.inf)


def by_the_paper(scores: np.ndarray, index: np.ndarray, directions: np.ndarray, k: int, diversity: float) -> list[int]:
    """One customer, product by product."""
    known = [(float(s), int(i)) for s, i in zip(scores, index, strict=True) if s > -np.inf]
    low, high = min(s for s, _ in known), max(s for s, _ in known)
    relevance = {i: (s - low) / (high - low) if high > low else 0.0 for s, i in known}
    chosen: list[int] = []
    while len(chosen) < min(k, len(known)):

        def value(i: int) -> float:
            near = max((float(directions[i] @ directions[j]) for j in chosen), default=0.0)
            return (1 - diversity) * relevance[i] - diversity * near

        chosen.append(max((i for _, i in known if i not in chosen), key=value))
    return chosen


@pytest.mark.parametrize("diversity", [0.1, 0.5, 0.9, 1.0])
def test_it_is_the_papers_loop(diversity: float) -> None:
    rng = np.random.default_rng(1)
    directions = rng.normal(size=(40, 6))
    directions = (directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(np.float32)
    scores = -np.sort(-rng.normal(size=(700, 20)).astype(np.float32), axis=1)
    scores[::5, 12:] = INF
    scores[1::5, 3:] = INF
    index = np.stack([rng.permutation(40)[:20] for _ in range(700)])
    found, columns = mmr(scores, index, directions, 5, diversity)
    for row in range(700):
        expected = by_the_paper(scores[row], index[row], directions, 5, diversity)
        assert columns[row][: len(expected)].tolist() == expected
        assert np.isneginf(found[row][len(expected) :]).all()
        assert len(set(columns[row].tolist())) == 5, "places without a product name others"
        place = {int(i): s for s, i in zip(scores[row], index[row], strict=True)}
        assert [place[i] for i in expected] == found[row][: len(expected)].tolist()


def test_a_twin_of_the_best_product_loses_its_place_to_another_kind() -> None:
    directions = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    scores = np.array([[3.0, 2.9, 1.0]], dtype=np.float32)
    index = np.array([[0, 1, 2]])
    assert mmr(scores, index, directions, 2, 0.0)[1].tolist() == [[0, 1]]
    assert mmr(scores, index, directions, 2, 0.6)[1].tolist() == [[0, 2]]
    assert mmr(scores, index, directions, 2, 0.6)[0].tolist() == [[3.0, 1.0]]


def test_equal_scores_and_nobody_left_are_no_error() -> None:
    directions = np.eye(3, dtype=np.float32)
    scores = np.array([[1, 1, 1], [INF, INF, INF]], dtype=np.float32)
    found, columns = mmr(scores, np.array([[0, 1, 2]] * 2), directions, 3, 0.5)
    assert columns[0].tolist() == [0, 1, 2] and np.isneginf(found[1]).all() and (found[0] == 1).all()
