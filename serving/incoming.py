"""What POST /events may bring: rows of the event tables, each judged alone, so that a bad row stops no other."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import polars as pl

from recsys.lake.contract import TABLES, Column
from serving.customer_data import CustomerContract, read_value
from serving.request import BadRequest, kind_of, nearest
from serving.store.event_rows import ID_COLUMN, TABLES_IN, EventRow, event_row
from serving.store.take import Taken

MOST = 1_000
"""Events of one request."""


@dataclass(frozen=True)
class Sent:
    """A row of a request: where it stands, and the event or why it is none."""

    table: str
    position: int
    event: EventRow | Taken


def read_events(fields: Mapping[str, Any], contract: CustomerContract, as_of: date | None) -> list[Sent]:
    """Every row of a body `table → rows`; BadRequest if the body as a whole is not of that form.

    An event of the day `as_of` is taken and counts from the next day on; one after that day is refused.
    """
    for name, rows in fields.items():
        if name not in TABLES_IN:
            raise BadRequest(name[:256], f"no table of events; {nearest(name, TABLES_IN)}")
        if not isinstance(rows, list):
            raise BadRequest(name, f"{kind_of(rows)}; a table is a list of rows")
    count = sum(len(rows) for rows in fields.values())
    if not 1 <= count <= MOST:
        raise BadRequest("body", f"{count:,} events; send 1 to {MOST:,} at once")
    found = []
    for name, rows in fields.items():
        read = [_read(name, position, row, contract, as_of) for position, row in enumerate(rows)]
        found += _ruled(name, read)
    return found


def _read(name: str, position: int, row: object, contract: CustomerContract, as_of: date | None) -> Sent:
    where = f"{name}[{position}]"
    try:
        if not isinstance(row, dict):
            raise BadRequest(where, f"{kind_of(row)}; a row is an object: column → value")
        return Sent(name, position, event_row(name, _values(name, where, row, contract, as_of)))
    except BadRequest as error:
        return Sent(name, position, Taken("refused", error.message, error.field))


def _values(
    name: str, where: str, row: Mapping[str, Any], contract: CustomerContract, as_of: date | None
) -> dict[str, Any]:
    declared = {column.name: column for column in TABLES[name].columns}
    for given in row:
        if given not in declared:
            raise BadRequest(f"{where}.{given[:256]}", f"unknown column; {nearest(given, declared)}")
    if row.get(ID_COLUMN[name]) is None:
        raise BadRequest(f"{where}.{ID_COLUMN[name]}", "missing; an event without an id of its own would count twice")
    values = {}
    for column in declared.values():
        place = f"{where}.{column.name}"
        value = read_value(place, column, row, None)
        if value is not None:
            _check(place, column, value, contract, as_of)
            values[column.name] = value
    return values


def _check(where: str, column: Column, value: Any, contract: CustomerContract, as_of: date | None) -> None:
    known = contract.known.get(column.refers_to)
    if known is not None and value not in known:
        raise BadRequest(where, f"not among the bank's {column.refers_to}; {nearest(str(value), sorted(known))}")
    if as_of is not None and column.past and isinstance(value, date):
        day = value.date() if isinstance(value, datetime) else value
        if day > as_of:
            last = "; the service looks from that day whatever the calendar says, unless it is started with --clock"
            raise BadRequest(where, f"{day} is after {as_of}, the day up to which events are taken{last}")


def _ruled(name: str, sent: list[Sent]) -> list[Sent]:
    """With the rows refused that break a rule across columns."""
    places = [i for i, row in enumerate(sent) if isinstance(row.event, EventRow)]
    if not places:
        return sent
    columns = TABLES[name].columns
    values = [row.event.values for row in sent if isinstance(row.event, EventRow)]
    whole = pl.DataFrame([pl.Series(c.name, [v.get(c.name) for v in values], dtype=c.dtype) for c in columns])
    for rule in TABLES[name].rules:
        for broken in whole.select(rule.broken().fill_null(False)).to_series().arg_true().to_list():
            old = sent[places[broken]]
            where = f"{name}[{old.position}].{rule.column}"
            sent[places[broken]] = Sent(name, old.position, Taken("refused", f"a row {rule.phrase}", where))
    return sent


def told(sent: list[Sent], taken: Mapping[int, Taken], as_of: date | None) -> dict[str, Any]:
    """The answer: what became of each row, by table and in order, and how many of each there are."""
    results: dict[str, list[dict[str, Any]]] = {}
    counts: Counter[str] = Counter()
    for place, row in enumerate(sent):
        result = row.event if isinstance(row.event, Taken) else taken[place]
        counts[result.status] += 1
        said: dict[str, Any] = {"status": result.status}
        if isinstance(row.event, EventRow):
            said = {"event_id": row.event.event_id, **said}
            at = row.event.values.get("at")
            if result.status == "new" and as_of is not None and at is not None and at.date() >= as_of:
                said["counts_after"] = at.date().isoformat()
        if result.status == "refused":
            field = result.field if "[" in result.field else f"{row.table}[{row.position}].{result.field}"
            said |= {"field": field, "reason": result.reason}
        results.setdefault(row.table, []).append(said)
    return {"results": results, **{status: counts[status] for status in ("new", "repeated", "refused")}}
