"""Examples and rows are paired as a join would pair them."""

import numpy as np
import polars as pl
import pytest

from recsys.features.view import matches


@pytest.mark.parametrize("seed", range(20))
def test_pairs_are_those_of_a_join(seed: int) -> None:
    draw = np.random.default_rng(seed)
    asked = draw.integers(0, 5, draw.integers(0, 12))
    given = draw.integers(-2, 5, draw.integers(0, 12))
    given = np.sort(given) if seed % 3 == 0 else given
    row, place = matches(asked, given, 5)
    left = pl.DataFrame({"code": asked}).with_row_index("row")
    right = pl.DataFrame({"code": given}).with_row_index("place")
    joined = left.join(right, on="code").sort("row", "place")
    assert list(zip(row.tolist(), place.tolist(), strict=True)) == joined.select("row", "place").rows()
