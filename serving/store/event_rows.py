"""Rows of the lake's contract that come in one at a time: as JSON in the store, as frames beside the lake's rows."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import polars as pl

from recsys.bundle.segment_of import with_events
from recsys.lake.contract import TABLES

ID_COLUMN: Mapping[str, str] = {
    "interactions": "event_id",
    "transactions": "event_id",
    "contacts": "contact_id",
    "exposures": "exposure_id",
    "outcomes": "outcome_id",
    "decisions": "decision_id",
}
"""The tables whose rows may come in, and the column that names a row once and for all."""
SILENT = ("decisions",)
"""Tables on which no answer depends: a row there leaves what was computed true."""

TABLES_IN = tuple(name for name in ID_COLUMN if name not in SILENT)
"""Tables that a caller may send; decisions are our own."""


@dataclass(frozen=True)
class EventRow:
    """One checked row of an event table."""

    table: str
    event_id: str
    customer_id: str | None
    account_id: str | None
    values: Mapping[str, Any]
    """Column → value as Polars holds it, without nulls."""

    @property
    def text(self) -> str:
        """The row as it is stored; equal rows are equal texts."""
        return row_text(self.values)


def event_row(table: str, values: Mapping[str, Any]) -> EventRow:
    """The row of a table of `ID_COLUMN`; nulls are left out."""
    given = {name: value for name, value in values.items() if value is not None}
    owner = given.get("customer_id"), given.get("account_id")
    return EventRow(table, given[ID_COLUMN[table]], *owner, given)


def row_text(values: Mapping[str, Any]) -> str:
    """Canonical JSON of a row without nulls; times as ISO 8601."""
    given = {name: value for name, value in values.items() if value is not None}
    return json.dumps(given, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=_iso)


def frames_of(rows: Iterable[tuple[str, str]]) -> dict[str, pl.DataFrame]:
    """(table, row as JSON) in any order → frames with the contract's types, of the columns that any row has."""
    by_table: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for table, text in rows:
        by_table[table].append(json.loads(text))
    return {table: _frame(table, found) for table, found in by_table.items()}


def joined(tables: Mapping[str, pl.DataFrame], fresh: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """The lake's rows with what came in since; a row that the lake has by now comes once, as it has it."""
    news = {}
    for table, rows in fresh.items():
        column = ID_COLUMN.get(table)
        if column and table in tables and column in tables[table].columns:
            there = set(tables[table][column].to_list())
            rows = rows.filter([event_id not in there for event_id in rows[column].to_list()])
        if rows.height:
            news[table] = rows
    return with_events(tables, news)


def json_rows(rows: pl.DataFrame, without: Collection[str] = ()) -> list[dict[str, Any]]:
    """Rows as they may stand in a JSON answer, nulls left out."""
    listed = rows.drop(without, strict=False).iter_rows(named=True)
    return [{n: _plain(value) for n, value in row.items() if value is not None} for row in listed]


def _frame(table: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    given = {name for row in rows for name in row}
    columns = [column for column in TABLES[table].columns if column.name in given or column.required]
    return pl.DataFrame(
        [pl.Series(c.name, [_typed(c.dtype, row.get(c.name)) for row in rows], dtype=c.dtype) for c in columns]
    )


def _typed(dtype: pl.DataType, value: Any) -> Any:
    if value is not None and isinstance(dtype, pl.Datetime):
        return datetime.fromisoformat(value)
    if value is not None and isinstance(dtype, pl.Date):
        return date.fromisoformat(value)
    return value


def _iso(value: object) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is no type of the contract")


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value
