"""Small cells are hidden, and nobody can work them out from what is shown."""

import numpy as np
import pytest

from recsys.segment_cards.suppression import FEWEST, hidden_cells, hidden_parts, hidden_shares


def worked_out(counts: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """bool [K, V]: hidden cells that the shown cells and all totals determine, by linear algebra."""
    cells = list(zip(*np.nonzero(hidden), strict=True))
    found = np.zeros(counts.shape, dtype=bool)
    if not cells:
        return found
    rows = [[float(cell[0] == r) for cell in cells] for r in range(counts.shape[0])]
    columns = [[float(cell[1] == c) for cell in cells] for c in range(counts.shape[1])]
    _, values, directions = np.linalg.svd(np.array(rows + columns))
    free = directions[np.count_nonzero(values > 1e-9) :]
    for place, cell in enumerate(cells):
        found[cell] = np.abs(free[:, place]).max(initial=0) < 1e-9
    return found


@pytest.mark.parametrize("seed", range(60))
def test_no_small_cell_is_shown_or_can_be_worked_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = rng.integers(2, 7, 2)
    counts = rng.poisson(rng.choice([8, 30, 200], size=shape)).astype(float)
    counts[rng.random(shape) < 0.2] = 0
    hidden = hidden_cells(counts)
    assert hidden[(counts > 0) & (counts < FEWEST)].all()
    assert not worked_out(counts, hidden).any()
    for axis in (0, 1):
        sums = np.where(hidden, counts, 0).sum(axis=axis)
        everything = counts.sum(axis=axis)
        lines = hidden.any(axis=axis)
        assert ((sums >= FEWEST) | (sums == everything))[lines].all()


def test_without_its_complement_a_lone_cell_can_be_worked_out() -> None:
    counts = np.array([[3.0, 40, 50], [60, 70, 80], [90, 20, 30]])
    alone = counts < FEWEST
    assert worked_out(counts, alone)[0, 0]
    hidden = hidden_cells(counts)
    assert hidden.sum() == 4
    assert not worked_out(counts, hidden).any()


def test_large_cells_and_empty_ones_are_shown() -> None:
    assert not hidden_cells(np.array([[10.0, 0], [0, 500]])).any()


def test_most_of_a_table_stays_where_few_cells_are_small() -> None:
    counts = np.random.default_rng(0).integers(50, 500, (8, 24)).astype(float)
    counts[[0, 3, 5], [2, 2, 9]] = 4
    assert hidden_cells(counts).sum() < 20  # of 192


def test_a_share_near_one_tells_of_the_few_without() -> None:
    hidden = hidden_shares(np.array([[995.0], [500], [400], [15]]), np.array([1000.0, 1000, 1000, 1000]))
    assert hidden[0, 0]
    assert hidden[:, 0].sum() == 2


def test_a_mean_of_few_takes_a_second_one_with_it() -> None:
    hidden = hidden_parts(np.array([[4.0, 400], [300, 300], [20, 200]]))
    assert hidden[:, 0].tolist() == [True, False, True]
    assert not hidden[:, 1].any()
