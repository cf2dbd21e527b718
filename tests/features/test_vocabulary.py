"""Words are found alike whether Python or Polars looks them up."""

import numpy as np
import polars as pl
import pytest

from recsys.features import vocabulary as module
from recsys.features.vocabulary import MISSING, OTHER, Vocabulary, flatten, vocabulary


@pytest.mark.parametrize("few", [0, 1000])
def test_a_value_has_the_place_of_its_word_or_none(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FEW", few)
    words = Vocabulary(["b", "a"])
    assert words.places(pl.Series(["a", None, "b", "c"])).tolist() == [1, MISSING, 0, OTHER]
    assert words.places(pl.Series([], dtype=pl.String)).tolist() == []
    assert Vocabulary([]).places(pl.Series(["a", None])).tolist() == [OTHER, MISSING]


@pytest.mark.parametrize("few", [0, 1000])
def test_the_words_of_values_are_those_known_in_order(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FEW", few)
    assert list(Vocabulary.of(pl.Series(["z", None, "é", "a", "z"])).words) == ["a", "z", "é"]


def test_a_vocabulary_is_made_once() -> None:
    assert vocabulary(("x", "y")) is vocabulary(("x", "y"))


@pytest.mark.parametrize("lists", [[["a", "b"]], [[]], [None], [["a"], [], None, ["b", None]]])
def test_lists_become_rows_and_values(lists: list[list[str | None] | None]) -> None:
    row, flat = flatten(pl.Series(lists, dtype=pl.List(pl.String)))
    wanted = [(i, value) for i, values in enumerate(lists) for value in values or []]
    assert list(zip(row.tolist(), flat.to_list(), strict=True)) == wanted
    assert row.dtype == np.int64 and flat.dtype == pl.String
