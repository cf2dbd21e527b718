"""Frames as JSON, with their column types: what is read is the frame that was written, null for null."""

import math
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

import polars as pl
from polars.datatypes import DataTypeClass

from recsys.bundle.manifest import canonical_json, parse_json
from recsys.errors import BundleError, DataError

_Type = pl.DataType | DataTypeClass
_PLAIN: dict[str, pl.DataType] = {
    str(dtype): dtype
    for dtype in (
        *(pl.String(), pl.Boolean(), pl.Date(), pl.Datetime("us"), pl.Null(), pl.Float32(), pl.Float64()),
        *(pl.Int8(), pl.Int16(), pl.Int32(), pl.Int64(), pl.UInt8(), pl.UInt16(), pl.UInt32(), pl.UInt64()),
    )
}


def write_frames(frames: Mapping[str, pl.DataFrame]) -> bytes:
    """Frames by name → JSON: of each the columns with type and values. DataError for a type that it cannot hold."""
    return canonical_json({name: _write_frame(name, frame) for name, frame in frames.items()})


def read_frames(content: bytes, where: str) -> dict[str, pl.DataFrame]:
    """The frames that `write_frames` wrote; BundleError naming `where` if the JSON is anything else."""
    value = parse_json(content, where)
    try:
        return {name: pl.DataFrame([_read_column(c) for c in frame["columns"]]) for name, frame in value.items()}
    except (AttributeError, KeyError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise BundleError(f"{where}: not frames of a parity record ({type(error).__name__}: {error})") from None


def _write_frame(name: str, frame: pl.DataFrame) -> dict[str, Any]:
    columns = []
    for column in frame.get_columns():
        if not _known(column.dtype):
            raise DataError(f"{name}.{column.name}: a column of type {column.dtype} cannot stand in a parity record")
        convert = _converter(column.dtype, _to_json)
        columns.append(
            {"name": column.name, "type": str(column.dtype), "values": [convert(value) for value in column.to_list()]}
        )
    return {"columns": columns}


def _read_column(column: Mapping[str, Any]) -> pl.Series:
    dtype = _parse_dtype(column["type"])
    convert = _converter(dtype, _from_json)
    return pl.Series(column["name"], [convert(value) for value in column["values"]], dtype=dtype, strict=True)


def _known(dtype: _Type) -> bool:
    return _known(dtype.inner) if isinstance(dtype, pl.List) else str(dtype) in _PLAIN


def _parse_dtype(text: str) -> pl.DataType:
    if text.startswith("List(") and text.endswith(")"):
        return pl.List(_parse_dtype(text[5:-1]))
    return _PLAIN[text]


def _converter(dtype: _Type, leaf: Callable[[_Type, Any], Any]) -> Callable[[Any], Any]:
    if isinstance(dtype, pl.List):
        inner = _converter(dtype.inner, leaf)
        return lambda values: None if values is None else [inner(value) for value in values]
    return lambda value: None if value is None else leaf(dtype, value)


def _to_json(dtype: _Type, value: Any) -> Any:
    if dtype == pl.Date or dtype == pl.Datetime:
        return value.isoformat()
    if dtype.is_float() and not math.isfinite(value):
        return str(value)
    return value


def _from_json(dtype: _Type, value: Any) -> Any:
    if dtype == pl.Date:
        return date.fromisoformat(value)
    if dtype == pl.Datetime:
        return datetime.fromisoformat(value)
    return float(value) if dtype.is_float() else value
