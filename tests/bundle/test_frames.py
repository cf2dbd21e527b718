"""A frame comes back from JSON as it went in."""

from datetime import date, datetime
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from recsys.bundle.frames import read_frames, write_frames
from recsys.errors import BundleError, DataError


def test_every_type_and_null_comes_back() -> None:
    frame = pl.DataFrame(
        {
            "text": ["a", None, 'é "\n'],
            "day": [date(2024, 2, 29), None, date(1900, 1, 1)],
            "at": [datetime(2024, 1, 1, 23, 59, 59, 123456), None, datetime(1969, 12, 31)],
            "flag": [True, None, False],
            "whole": pl.Series([2**63 - 1, None, -1], dtype=pl.Int64),
            "small": pl.Series([1, None, 2], dtype=pl.Int32),
            "money": [0.1, None, -1e300],
            "special": [float("nan"), float("inf"), float("-inf")],
            "single": pl.Series([0.1, None, 3.4e38], dtype=pl.Float32),
            "tags": pl.Series([["a", None], None, []], dtype=pl.List(pl.String)),
            "ages": pl.Series([[1], None, []], dtype=pl.List(pl.Int32)),
            "days": pl.Series([[date(2024, 1, 1)], None, []], dtype=pl.List(pl.Date)),
            "nothing": pl.Series([None, None, None], dtype=pl.Null),
            "unknown day": pl.Series([None, None, None], dtype=pl.Date),
        }
    )
    frames = {"some": frame, "empty": frame.clear()}
    found = read_frames(write_frames(frames), "tables.json")
    assert list(found) == ["empty", "some"]
    for name, expected in frames.items():
        assert found[name].schema == expected.schema
        assert_frame_equal(found[name], expected, check_exact=True)
    assert write_frames(found) == write_frames(frames)


@pytest.mark.parametrize(
    "column",
    [
        pl.Series("x", [b"bytes"]),
        pl.Series("x", [{"a": 1}]),
        pl.Series("x", ["a"], dtype=pl.Categorical),
        pl.Series("x", [datetime(2024, 1, 1)], dtype=pl.Datetime("ns")),
        pl.Series("x", [datetime(2024, 1, 1)], dtype=pl.Datetime("us", "UTC")),
    ],
)
def test_other_types_are_refused_by_name(column: pl.Series) -> None:
    with pytest.raises(DataError, match=r"customers\.x: a column of type"):
        write_frames({"customers": column.to_frame()})


@pytest.mark.parametrize(
    "column",
    [
        {"name": "x", "type": "Object", "values": [1]},
        {"name": "x", "type": "Int64", "values": ["one"]},
        {"name": "x", "type": "Date", "values": ["31/12/2024"]},
        {"name": "x", "values": [1]},
        "x",
    ],
)
def test_other_json_is_refused(column: Any) -> None:
    import json

    with pytest.raises(BundleError, match=r"tables\.json: not frames"):
        read_frames(json.dumps({"customers": {"columns": [column]}}).encode(), "tables.json")
