"""Taking events in: each id once, beside what the lake brought, durable when the transaction ends."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

import polars as pl
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from recsys.lake.contract import EVENT_TABLES
from serving.store import schema
from serving.store.blobs import unpacked
from serving.store.event_rows import ID_COLUMN, SILENT, EventRow, row_text
from serving.store.store import Store

Key = tuple[str, str]
"""(table, event id)"""


@dataclass(frozen=True)
class Taken:
    """What became of one event."""

    status: Literal["new", "repeated", "refused"]
    reason: str = ""
    """Why it was refused."""
    field: str = ""
    """The column that it was refused for."""


_REPEATED = Taken("repeated")


def take(store: Store, events: Sequence[EventRow], now: datetime) -> list[Taken]:
    """Keep the events whose ids are not known, all of them or, after an error, none; one result for each, in order.

    An id that is known with the same values is repeated; with other values it is refused, as is an event about nobody
    who is here. Customers that a new event is about get another version. Raises StoreDown: nothing was kept.
    """
    with store.writes() as connection:
        owners = _owners(connection, events)
        about = {id(event): _about(event, owners) for event in events}
        here = _locked(connection, {i for listed in about.values() for i in listed})
        known = _known(connection, events) | _of_the_lake(store, connection, events, about)
        found, fresh = [], {}
        for event in events:
            key = (event.table, event.event_id)
            result = _judged(store, connection, event, [i for i in about[id(event)] if i in here], known.get(key))
            if result is None:
                fresh[key] = event
                known[key] = event.text
                result = Taken("new")
            found.append(result)
        raced = _insert(connection, list(fresh.values()), now)
        touched = {
            i
            for key, event in fresh.items()
            if key not in raced and event.table not in SILENT
            for i in about[id(event)]
        }
        if touched:
            change = sa.update(schema.customers).where(schema.customers.c.customer_id.in_(touched))
            connection.execute(change.values(version=schema.customers.c.version + 1))
    return [_REPEATED if _lost(e, result, raced) else result for e, result in zip(events, found, strict=True)]


def _lost(event: EventRow, result: Taken, raced: Collection[Key]) -> bool:
    return result.status == "new" and (event.table, event.event_id) in raced


def _judged(
    store: Store, connection: sa.Connection, event: EventRow, owners: Sequence[str], known: str | None
) -> Taken | None:
    """What becomes of an event; None if it is new."""
    if not owners:
        column = "customer_id" if event.customer_id else "account_id"
        if event.customer_id and _was_erased(store, connection, event.customer_id):
            return Taken("refused", "was erased; nothing about them is kept", column)
        what = "no such customer" if event.customer_id else "no account of a customer"
        return Taken("refused", f"{what} in the store; the next recsys state load brings who is new", column)
    if known is None:
        return None
    if known != event.text:
        column = ID_COLUMN[event.table]
        return Taken("refused", "names another row, with other values; every event has an id of its own", column)
    return _REPEATED


def _was_erased(store: Store, connection: sa.Connection, customer_id: str) -> bool:
    wanted = sa.select(schema.suppressed.c.hash).filter_by(hash=store.hash_of(customer_id))
    return connection.execute(wanted).first() is not None


def _owners(connection: sa.Connection, events: Sequence[EventRow]) -> Mapping[str, list[str]]:
    """Account → who holds it."""
    found: dict[str, list[str]] = defaultdict(list)
    accounts = {event.account_id for event in events if event.account_id}
    if accounts:
        held = sa.select(schema.holders).where(schema.holders.c.account_id.in_(accounts))
        for account_id, customer_id in connection.execute(held):
            found[account_id].append(customer_id)
    return found


def _about(event: EventRow, owners: Mapping[str, list[str]]) -> list[str]:
    if event.customer_id is not None:
        return [event.customer_id]
    return owners.get(event.account_id or "", [])


def _locked(connection: sa.Connection, customers: Collection[str]) -> set[str]:
    """Who of them is here, held until the transaction ends, so that no erasure comes between."""
    if not customers:
        return set()
    wanted = sa.select(schema.customers.c.customer_id).where(schema.customers.c.customer_id.in_(customers))
    return set(connection.execute(wanted.order_by("customer_id").with_for_update()).scalars())


def _known(connection: sa.Connection, events: Sequence[EventRow]) -> dict[Key, str]:
    """The rows that came in before under the same ids."""
    table = schema.events.c
    ids = {event.event_id for event in events}
    wanted = sa.select(table.table_name, table.event_id, table.row).where(table.event_id.in_(ids))
    return {(name, event_id): row for name, event_id, row in connection.execute(wanted)}


def _of_the_lake(
    store: Store, connection: sa.Connection, events: Sequence[EventRow], about: Mapping[int, list[str]]
) -> dict[Key, str]:
    """The rows of the load under the same ids; those after the lake's last event need not be looked for."""
    wanted: dict[str, set[Key]] = defaultdict(set)
    last = store.loaded().last_event
    for event in events:
        if about[id(event)] and not _later(event, last):
            wanted[about[id(event)][0]].add((event.table, event.event_id))
    if not wanted:
        return {}
    sent = {(event.table, event.event_id): event for event in events}
    blobs = sa.select(schema.stored_rows).where(schema.stored_rows.c.customer_id.in_(wanted))
    found = {}
    for customer_id, blob in connection.execute(blobs):
        keys = wanted[customer_id]
        for table, rows in unpacked(blob, {table for table, _ in keys}).items():
            column = ID_COLUMN[table]
            if column not in rows.columns:
                continue
            asked = [event_id for name, event_id in keys if name == table]
            for row in rows.filter(pl.col(column).is_in(asked)).iter_rows(named=True):
                key = table, row[column]
                found[key] = sent[key].text if _says(row, sent[key]) else row_text(row)
    return found


def _says(row: Mapping[str, Any], event: EventRow) -> bool:
    """Whether a row of the lake has all values of an event; the lake may know more."""
    return all(row.get(name) == value for name, value in event.values.items())


def _later(event: EventRow, last: date | None) -> bool:
    at = event.values.get("at")
    return event.table in EVENT_TABLES and last is not None and at is not None and at.date() > last


def _insert(connection: sa.Connection, events: Sequence[EventRow], now: datetime) -> set[Key]:
    """Write the events; the keys of those that another process wrote in the meantime."""
    if not events:
        return set()
    received = now.isoformat()
    rows: list[dict[str, Any]] = [
        {
            "table_name": event.table,
            "event_id": event.event_id,
            "customer_id": event.customer_id,
            "account_id": event.account_id,
            "row": event.text,
            "received": received,
        }
        for event in events
    ]
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement: Any = dialect.insert(schema.events).on_conflict_do_nothing(index_elements=["table_name", "event_id"])
    returned = statement.returning(schema.events.c.table_name, schema.events.c.event_id)
    written = {(table, event_id) for table, event_id in connection.execute(returned, rows)}
    return {(event.table, event.event_id) for event in events} - written
