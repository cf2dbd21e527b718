"""Words and their places, found as fast for the one row of a request as for a bucket's millions.

A call of Polars costs 50 to 500 µs whatever it is asked, so few values are looked up in Python.
"""

from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np
import polars as pl

FEW = 1000
"""Values that Python has looked up before Polars has begun."""
OTHER, MISSING = -1, -2
"""The place of a value that is no word, and of none."""


class Vocabulary:
    """Distinct words in an order."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words

    @classmethod
    def of(cls, values: pl.Series) -> "Vocabulary":
        """The distinct values that are known, sorted."""
        if len(values) <= FEW:
            return cls(sorted({*values.to_list()} - {None}))
        return cls(values.unique().drop_nulls().sort().to_list())

    def __len__(self) -> int:
        return len(self.words)

    def listed(self, values: pl.Series) -> list[int]:
        """The place of each value among the words, OTHER or MISSING; values are texts or nulls."""
        place = self._index.get
        return [place(value, OTHER) for value in values.to_list()]

    def places(self, values: pl.Series) -> np.ndarray:
        """`listed` as int64 [N]."""
        if len(values) <= FEW:
            return np.array(self.listed(values), dtype=np.int64)
        found = values.cast(self._enum, strict=False).to_physical().cast(pl.Int64)
        found = found.fill_null(OTHER) if found.null_count() else found
        if not values.null_count():
            return found.to_numpy()
        return np.where(values.is_null().to_numpy(), MISSING, found.to_numpy())

    @cached_property
    def _index(self) -> dict[str | None, int]:
        return {**dict(zip(self.words, range(len(self.words)), strict=True)), None: MISSING}

    @cached_property
    def _enum(self) -> pl.Enum:
        return pl.Enum(list(self.words))


@lru_cache(maxsize=64)
def vocabulary(words: tuple[str, ...]) -> Vocabulary:
    """The vocabulary of these words, made once."""
    return Vocabulary(words)


def flatten(lists: pl.Series) -> tuple[np.ndarray, pl.Series]:
    """Lists [N] → (row, value), flat; empty and null lists give nothing."""
    if len(lists) == 1:
        (only,) = lists
        flat = pl.Series(lists.name, dtype=lists.dtype.inner) if only is None else only  # type: ignore[attr-defined]
        return np.zeros(len(flat), dtype=np.int64), flat
    return np.repeat(np.arange(len(lists)), lengths(lists)), lists.explode(empty_as_null=False, keep_nulls=False)


def lengths(lists: pl.Series) -> np.ndarray:
    """int64 [N] how many values each list has, a null list none."""
    if len(lists) == 1:
        (only,) = lists
        return np.array([0 if only is None else len(only)])
    found = lists.list.len().to_numpy()
    return (np.where(np.isnan(found), 0, found) if lists.null_count() else found).astype(np.int64)
