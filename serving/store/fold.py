"""After a load: what came in meanwhile and stands in the lake by now is let go, so that the store does not grow."""

from collections import defaultdict
from collections.abc import Collection

import polars as pl
import sqlalchemy as sa

from serving.store import schema
from serving.store.blobs import unpacked
from serving.store.event_rows import ID_COLUMN
from serving.store.store import Store

PAGE = 500


def fold(store: Store) -> int:
    """Delete the events that every customer they are about has in the rows of the load; how many that were.

    An answer is the same before and after: where both are there, the lake's row counts.
    """
    last, folded = 0, 0
    columns = [schema.events.c[name] for name in ("seq", "table_name", "event_id", "customer_id", "account_id")]
    while True:
        with store.writes() as connection:
            page = connection.execute(
                sa.select(*columns).where(schema.events.c.seq > last).order_by("seq").limit(PAGE)
            ).all()
            if not page:
                break
            last = page[-1].seq
            owners = _owners(connection, [row.account_id for row in page if row.account_id])
            about = {row.seq: [row.customer_id] if row.customer_id else owners[row.account_id] for row in page}
            ids = _ids(connection, {i for listed in about.values() for i in listed}, {r.table_name for r in page})
            known = [
                row.seq
                for row in page
                if all(row.event_id in ids.get((owner, row.table_name), ()) for owner in about[row.seq])
            ]
            if known:
                connection.execute(sa.delete(schema.events).where(schema.events.c.seq.in_(known)))
            folded += len(known)
    _fold_consents(store)
    return folded


def _owners(connection: sa.Connection, accounts: Collection[str]) -> dict[str, list[str]]:
    """Account → who holds it."""
    found: dict[str, list[str]] = defaultdict(list)
    held = sa.select(schema.holders).where(schema.holders.c.account_id.in_(set(accounts)))
    for account_id, customer_id in connection.execute(held):
        found[account_id].append(customer_id)
    return found


def _ids(connection: sa.Connection, customers: set[str], tables: set[str]) -> dict[tuple[str, str], set[str]]:
    """(customer, table) → the ids of the rows that the load brought."""
    wanted = sa.select(schema.stored_rows).where(schema.stored_rows.c.customer_id.in_(customers))
    found = {}
    for customer_id, blob in connection.execute(wanted):
        for table, rows in unpacked(blob, tables).items():
            if ID_COLUMN[table] in rows.columns:
                found[customer_id, table] = set(rows[ID_COLUMN[table]].to_list())
    return found


def _fold_consents(store: Store) -> None:
    """Consents likewise: what the lake says of the same purpose, channel and time is kept once."""
    columns = [schema.consents.c[name] for name in ("seq", "customer_id", "purpose", "channel", "at")]
    last = 0
    while True:
        with store.writes() as connection:
            wanted = sa.select(*columns).where(schema.consents.c.seq > last).order_by("seq").limit(PAGE)
            page = connection.execute(wanted).all()
            if not page:
                return
            last = page[-1].seq
            blobs = sa.select(schema.stored_rows).where(
                schema.stored_rows.c.customer_id.in_({row.customer_id for row in page})
            )
            said = {i: _said(unpacked(blob, ["consents"])) for i, blob in connection.execute(blobs)}
            known = [r.seq for r in page if (r.purpose, r.channel, r.at) in said.get(r.customer_id, ())]
            if known:
                connection.execute(sa.delete(schema.consents).where(schema.consents.c.seq.in_(known)))


def _said(tables: dict[str, pl.DataFrame]) -> set[tuple[str, str | None, str]]:
    if "consents" not in tables:
        return set()
    rows = tables["consents"].iter_rows(named=True)
    return {(row["purpose"], row.get("channel"), row["at"].isoformat(timespec="microseconds")) for row in rows}
