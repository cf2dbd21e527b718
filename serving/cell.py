"""One value of JSON as a column of the contract wants it: its type, its range, its day."""

from datetime import date, datetime, time
from typing import Any

import polars as pl

from recsys.lake.conform import type_name
from recsys.lake.contract import EARLIEST, LATEST, Column
from serving.request import MAX_TEXT, BadRequest, kind_of, nearest, read_id


def read_cell(field: str, column: Column, value: object, as_of: date | None) -> Any:
    """The value as Polars stores it; BadRequest (naming `field`) if it does not fit the column.

    With `as_of`, no event may be on or after that day and no date after it: they would not be used.
    """
    read = _typed(field, column.dtype, value)
    if isinstance(read, str):
        if column.refers_to or column.key:
            read_id(read, field)
        if column.values and read not in column.values:
            raise BadRequest(field, f"not one of {', '.join(column.values)}; {nearest(read, column.values)}")
    elif isinstance(read, int | float):
        _check_range(field, column, read)
    elif isinstance(read, date):
        _check_day(field, column, read, as_of)
    return read


def _typed(field: str, dtype: pl.DataType, value: object) -> Any:
    if isinstance(dtype, pl.String):
        return _text(field, value)
    if isinstance(dtype, pl.Boolean) and isinstance(value, bool):
        return value
    if isinstance(dtype, pl.Int64) and isinstance(value, int) and not isinstance(value, bool):
        if not -(2**63) <= value < 2**63:
            raise BadRequest(field, "beyond the range of a 64-bit integer")
        return value
    if isinstance(dtype, pl.Float64) and isinstance(value, int | float) and not isinstance(value, bool):
        if abs(value) > 1e300:
            raise BadRequest(field, "beyond the range of a number")
        return float(value)
    if isinstance(dtype, pl.Date | pl.Datetime) and isinstance(value, str):
        return _moment(field, value, isinstance(dtype, pl.Date))
    if isinstance(dtype, pl.List) and isinstance(value, list):
        return [_text(f"{field}[{position}]", item) for position, item in enumerate(value)]
    raise BadRequest(field, f"{kind_of(value)}; it must be {_wanted(dtype)}")


def _text(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise BadRequest(field, f"{kind_of(value)}; it must be text")
    if len(value) > MAX_TEXT:
        raise BadRequest(field, f"{len(value):,} characters; a text has at most {MAX_TEXT:,}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRequest(field, "half of a surrogate pair, which is no character; send whole characters") from None
    return value


def _moment(field: str, text: str, day: bool) -> date:
    wanted = _wanted(pl.Date() if day else pl.Datetime("us"))
    try:
        if day:
            return date.fromisoformat(text)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadRequest(field, f"not a date that exists; it must be {wanted}") from None
    if moment.tzinfo is not None:
        raise BadRequest(field, f"has a time zone; it must be {wanted}, in the bank's own time")
    return moment


def _check_range(field: str, column: Column, value: float) -> None:
    if column.low is not None and value < column.low:
        raise BadRequest(field, f"too small; it must be at least {column.low:g}")
    if column.above is not None and value <= column.above:
        raise BadRequest(field, f"too small; it must be greater than {column.above:g}")
    if column.high is not None and value > column.high:
        raise BadRequest(field, f"too large; it must be at most {column.high:g}")


def _check_day(field: str, column: Column, value: date, as_of: date | None) -> None:
    day = value.date() if isinstance(value, datetime) else value
    if not EARLIEST <= day <= LATEST:
        raise BadRequest(field, f"{day}; it must lie between {EARLIEST} and {LATEST}, or be null where unknown")
    if as_of is None or not column.past:
        return
    if isinstance(value, datetime) and value >= datetime.combine(as_of, time()):
        raise BadRequest(field, f"{day} is not before as_of {as_of}; send what happened before that day")
    if day > as_of:
        raise BadRequest(field, f"{day} is after as_of {as_of}; send what was known on that day")


def _wanted(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Date):
        return "a day written YYYY-MM-DD"
    if isinstance(dtype, pl.Datetime):
        return "a time written YYYY-MM-DDTHH:MM:SS"
    return type_name(dtype)
