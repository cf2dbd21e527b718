"""Brings a frame into a table's declared form, or says everything that keeps it from that form."""

from collections.abc import Sequence

import polars as pl

from recsys.errors import DataError
from recsys.lake.contract import TIME, Attribute, Column, nearest, schema_of, table_of


def conform(table: str, frame: pl.DataFrame, attributes: Sequence[Attribute] = ()) -> pl.DataFrame:
    """The frame with the contract's columns first, then the attributes, each of its declared type.

    Only casts that lose nothing are made: integers to wider ones, to numbers or to text ids, days to midnights.
    Raises DataError that lists every missing, unknown and wrongly typed column at once.
    """
    contract = table_of(table)
    missing = [column for column in contract.columns if column.required and column.name not in frame.columns]
    lacking = [attribute for attribute in attributes if attribute.name not in frame.columns]
    names = [column.name for column in contract.columns] + [attribute.name for attribute in attributes]
    present = [name for name in names if name in frame.columns]
    schema = schema_of(table, present, attributes)
    problems = [_missing(table, column, frame.columns) for column in missing]
    problems += [
        f"{table}.{attribute.name}: declared as an attribute, but not a column of the data" for attribute in lacking
    ]
    problems += [_unknown(table, name, names) for name in frame.columns if name not in names and name != "bucket"]
    problems += [
        _wrong_type(table, name, frame.schema[name], schema[name])
        for name in present
        if not _fits(frame.schema[name], schema[name])
    ]
    if problems:
        raise DataError("\n".join(problems))
    order = [*present, *(["bucket"] if "bucket" in frame.columns else [])]
    try:
        return frame.select(order).cast(schema, strict=True)  # type: ignore[arg-type]
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{table}: a value does not fit its column: {error}") from error


def _missing(table: str, column: Column, found: Sequence[str]) -> str:
    return (
        f"{table}.{column.name}: the column is missing and compulsory ({column.meaning}); "
        f"found {', '.join(found) or 'no columns'}"
    )


def _unknown(table: str, name: str, names: Sequence[str]) -> str:
    if not table_of(table).attributes:
        return f"{table}.{name}: no such column in the contract, which has {', '.join(names)}{nearest(name, names)}"
    return (
        f"{table}.{name}: neither a column of the contract nor declared as an attribute; "
        f"declare it with a role and a kind, or leave it out{nearest(name, names)}"
    )


def _fits(found: pl.DataType, wanted: pl.DataType) -> bool:
    """Whether the cast loses nothing by its types alone (the values may still overflow, which the cast refuses)."""
    if found == wanted or isinstance(found, pl.Null):
        return True
    if isinstance(wanted, pl.List):
        return isinstance(found, pl.List) and found.inner is not None and _fits(found.inner, wanted.inner)  # type: ignore
    whole = found.is_integer() or isinstance(found, pl.Decimal) and found.scale == 0
    if isinstance(wanted, pl.String):
        return whole or isinstance(found, pl.Categorical | pl.Enum)
    if isinstance(wanted, pl.Int64):
        return whole
    if isinstance(wanted, pl.Float64):
        return found.is_numeric()
    if wanted == TIME:
        return isinstance(found, pl.Date) or isinstance(found, pl.Datetime) and found.time_zone is None
    return False


def _wrong_type(table: str, name: str, found: pl.DataType, wanted: pl.DataType) -> str:
    return f"{table}.{name}: is {type_name(found)}, must be {type_name(wanted)}{_remedy(name, found, wanted)}"


def _remedy(name: str, found: pl.DataType, wanted: pl.DataType) -> str:
    if isinstance(wanted, pl.Int64) and found.is_numeric() and name != "position":
        return f"; round to whole minor units: CAST(round({name} * 100) AS BIGINT)"
    if isinstance(wanted, pl.String) and found.is_float():
        return "; an id that went through a float may be damaged: read it as text"
    if isinstance(wanted, pl.Date) and isinstance(found, pl.Datetime):
        return f"; CAST({name} AS DATE)"
    if wanted == TIME and isinstance(found, pl.Datetime):
        return f"; times carry no zone: CAST({name} AT TIME ZONE 'UTC' AS TIMESTAMP), or the bank's own zone"
    return f"; {_SQL[type(wanted)].format(name)}" if type(wanted) in _SQL else ""


_SQL: dict[type[pl.DataType], str] = {
    pl.String: "CAST({} AS VARCHAR)",
    pl.Int64: "CAST({} AS BIGINT)",
    pl.Float64: "CAST({} AS DOUBLE)",
    pl.Boolean: "write {} = 'yes', or another comparison",
    pl.Date: "CAST({0} AS DATE), or CAST(strptime({0}, '%d/%m/%Y') AS DATE)",
    pl.Datetime: "CAST({0} AS TIMESTAMP), or strptime({0}, '%d/%m/%Y %H:%M')",
    pl.List: "string_split({}, ',')",
}

_NAMES: dict[type[pl.DataType], str] = {
    pl.String: "text",
    pl.Int64: "a whole number",
    pl.Float64: "a number",
    pl.Boolean: "true or false",
    pl.Date: "a day",
    pl.Datetime: "a day with its time",
    pl.List: "a list of texts",
}


def type_name(dtype: pl.DataType) -> str:
    """A type in words, for messages and the data dictionary."""
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        return f"a time with the zone {dtype.time_zone}"
    if isinstance(dtype, pl.Decimal):
        return f"a decimal with {dtype.scale} places"
    return _NAMES.get(type(dtype), str(dtype))
