"""Ids persist where a segment is still itself; what is new, merged, split or vanished is called so."""

import json

import numpy as np
import pytest

from recsys.errors import DataError
from training.segment_matching import Matching, contingency, match

IDS = ["S1", "S2", "S3"]


def matched(overlap: list[list[int]], ids: list[str] = IDS, highest: int = 0) -> Matching:
    return match(np.array(overlap), ids, highest)


def fates(found: Matching) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {old.id: (old.fate, old.into) for old in found.old}


def origins(found: Matching) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {new.id: (new.origin, new.of) for new in found.new}


def test_segments_that_only_changed_places_keep_their_ids() -> None:
    rng = np.random.default_rng(0)
    old = rng.integers(0, 6, 1000)
    order = rng.permutation(6)
    found = match(contingency(old, order[old], (6, 6)), [f"S{i}" for i in range(1, 7)])
    for i in range(6):
        assert found.new[order[i]].id == f"S{i + 1}" and found.new[order[i]].matched == i
    assert found.kept == 1 and found.highest == 6 and {old.fate for old in found.old} == {"persists"}
    assert all(old.overlap == 1 for old in found.old)


def test_a_segment_in_two_halves_is_split() -> None:
    found = matched([[48, 52, 0, 0], [0, 0, 90, 0], [0, 0, 0, 110]])
    assert found.new[1].id == "S1", "52 of 100 is still itself"
    halves = matched([[50, 48, 10, 0], [0, 0, 90, 0], [0, 0, 0, 110]])
    assert fates(halves)["S1"] == ("split", ("S4", "S5")) and halves.highest == 5
    assert origins(halves)["S4"] == ("split", ("S1",)) and origins(halves)["S5"] == ("split", ("S1",))
    assert [new.id for new in halves.new] == ["S4", "S5", "S2", "S3"]
    assert halves.kept == 200 / 308


def test_a_part_that_comes_off_is_split_from_a_segment_that_stays() -> None:
    found = matched([[80, 0, 0, 20], [0, 90, 0, 0], [0, 0, 110, 0]])
    assert fates(found)["S1"] == ("persists", ("S1",)) and origins(found)["S4"] == ("split", ("S1",))


def test_two_segments_in_one_are_merged() -> None:
    even = matched([[100, 0], [105, 0], [0, 110]])
    assert even.new[0].id == "S2", "105 of 205 customers are S2's: it is still S2, and S1 went into it"
    assert fates(even)["S1"] == ("merged", ("S2",))
    neither = matched([[100, 0], [100, 0], [10, 100]])
    assert origins(neither)["S4"] == ("merged", ("S1", "S2"))
    assert fates(neither)["S1"] == fates(neither)["S2"] == ("merged", ("S4",)) and neither.new[1].id == "S3"


def test_one_that_scatters_vanishes_and_one_from_everywhere_is_new() -> None:
    found = matched([[90, 0, 0, 30], [0, 90, 0, 30], [0, 0, 90, 30]])
    assert origins(found)["S4"] == ("new", ())
    gone = match(np.array([[90, 0, 0], [0, 90, 0], [0, 0, 90], [30, 30, 30]]), [*IDS, "S6"])
    assert fates(gone)["S6"] == ("vanished", ()) and gone.highest == 6


def test_an_id_is_never_used_again() -> None:
    assert matched([[10, 0, 90], [90, 0, 0], [0, 90, 0]], highest=9).highest == 9
    overlap = [[30, 30, 30, 30], [0, 90, 0, 0], [0, 0, 90, 0], [0, 0, 0, 90]]
    found = matched(overlap, ["S2", "S4", "S5", "S6"])
    assert [new.id for new in found.new] == ["S7", "S4", "S5", "S6"] and found.highest == 7
    assert [new.id for new in matched(overlap, ["S2", "S4", "S5", "S6"], highest=11).new][0] == "S12"


def test_who_is_in_no_segment_does_not_count() -> None:
    overlap = contingency(np.array([0, 1, -1, 1]), np.array([1, 0, 0, -1]), (2, 3))
    assert overlap.tolist() == [[0, 1, 0], [1, 0, 0]]
    found = match(overlap, ["S1", "S2"])
    assert [new.id for new in found.new] == ["S2", "S1", "S3"] and found.new[2].origin == "new"


def test_the_least_overlap_is_declared() -> None:
    overlap = np.array([[60, 40], [40, 60]])  # Jaccard 60 / 140
    assert {new.id for new in match(overlap, ["S1", "S2"]).new} == {"S3", "S4"}
    kept = match(overlap, ["S1", "S2"], least_overlap=0.4)
    assert [new.id for new in kept.new] == ["S1", "S2"] and kept.kept == 0.6


def test_everyone_in_one_segment_and_a_bucket_of_nobody() -> None:
    assert match(np.zeros((2, 2), dtype=np.int64), ["S1", "S2"]).new[0].origin == "new"
    one = match(np.array([[7]]), ["S1"])
    assert one.new[0].id == "S1" and json.loads(json.dumps(one.as_json()))["kept"] == 1.0


def test_contingencies_add_up_over_buckets() -> None:
    rng = np.random.default_rng(1)
    old, new = rng.integers(-1, 4, 500), rng.integers(-1, 5, 500)
    parts = [contingency(old[i::3], new[i::3], (4, 5)) for i in range(3)]
    assert (sum(parts) == contingency(old, new, (4, 5))).all()


@pytest.mark.parametrize("ids", [["S1"], ["S1", "S1", "S2"], ["S1", "S2", "C3"], ["S1", "S2", "S"]])
def test_ids_that_are_none(ids: list[str]) -> None:
    with pytest.raises(DataError):
        match(np.eye(3, dtype=np.int64), ids)
