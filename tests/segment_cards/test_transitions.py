"""Moves between two days: counts, shares with intervals, and nothing that tells of few."""

import numpy as np
import pytest

from recsys.segment_cards.transitions import Transitions


def moves(counts: list[list[int]], new: list[int]) -> Transitions:
    table = Transitions(len(counts))
    for r, row in enumerate(counts):
        for c, count in enumerate(row):
            table.update(np.full(count, r), np.full(count, c))
    for c, count in enumerate(new):
        table.update(np.full(count, -1), np.full(count, c))
    return table


def test_counts_and_shares() -> None:
    found = moves([[80, 20], [30, 170]], [40, 60]).table()
    assert found["counts"] == [[80, 20], [30, 170], [40, 60]]
    assert found["stayed"] == pytest.approx(250 / 300, abs=1e-4)
    assert (found["customers"], found["new"]) == (300, 100)
    assert found["low"][0][0] < 0.8 < found["high"][0][0]
    assert found["share"][1] == pytest.approx([30.5 / 201, 170.5 / 201], abs=1e-4)


def test_few_movers_are_hidden_and_cannot_be_worked_out() -> None:
    found = moves([[80, 3], [30, 170]], [0, 0]).table()
    assert found["counts"][0] == [None, None]
    assert found["counts"][1] == [None, None]  # or 3 would be the column's total less 170
    assert found["stayed"] is None
    assert found["new"] == 0


def test_few_newcomers_are_not_told() -> None:
    assert moves([[80, 20], [30, 170]], [4, 0]).table()["new"] is None


def test_merging_is_adding() -> None:
    one, other = moves([[80, 20], [30, 170]], [40, 60]), moves([[5, 6], [7, 8]], [9, 10])
    one.merge(other)
    assert one.table() == moves([[85, 26], [37, 178]], [49, 70]).table()


def test_lengths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="2 earlier segments for 3 customers"):
        Transitions(2).update(np.zeros(2, dtype=np.int64), np.zeros(3, dtype=np.int64))
