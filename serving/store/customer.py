"""One customer in the store: everything that is known, what they allow, and how they are erased."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import sqlalchemy as sa

from recsys.lake.store import Lake
from serving.store import schema
from serving.store.blobs import packed, unpacked
from serving.store.event_rows import json_rows
from serving.store.load import put
from serving.store.store import Store

DECISIONS = 20
"""The latest decisions that are told."""
_NEXT = timedelta(microseconds=1)


@dataclass(frozen=True)
class Consent:
    """What a customer allowed (or withdrew) for a purpose, through one channel or, with None, through all."""

    purpose: str
    channel: str | None
    granted: bool


def known_of(store: Store, customer_id: str) -> dict[str, Any] | None:
    """Everything stored about a customer, as JSON: rows by table, which of them came in since the load, decisions.

    None for who is not there. Raises StoreDown.
    """
    found = store.rows_of(customer_id)
    if found is None:
        return None
    _, tables = found
    events = schema.events.c
    mine = sa.select(schema.holders.c.account_id).filter_by(customer_id=customer_id)
    about = (events.customer_id == customer_id) | events.account_id.in_(mine)
    wanted = sa.select(events.table_name, events.event_id, events.received).where(
        about, events.table_name != "decisions"
    )
    made = sa.select(events.row).where(events.customer_id == customer_id, events.table_name == "decisions")
    with store.reads() as connection:
        since = connection.execute(wanted.order_by("seq")).mappings().all()
        decisions = connection.execute(made.order_by(events.seq.desc()).limit(DECISIONS)).scalars().all()
    rows = {name: json_rows(table) for name, table in tables.items() if table.height}
    return {
        "rows": rows,
        "events": [{"table": e["table_name"], "event_id": e["event_id"], "received": e["received"]} for e in since],
        "consents": [
            {"purpose": purpose, "channel": channel, **said} for (purpose, channel), said in standing_consents(tables)
        ],
        "decisions": [json.loads(row) for row in decisions],
    }


def standing_consents(tables: Mapping[str, pl.DataFrame]) -> list[tuple[tuple[str, str | None], dict[str, Any]]]:
    """What was said last for each purpose and channel; of two things said at one time the refusal counts."""
    if "consents" not in tables:
        return []
    last: dict[tuple[str, str | None], tuple[Any, bool]] = {}
    for row in tables["consents"].iter_rows(named=True):
        key, said = (row["purpose"], row.get("channel")), (row["at"], not row["granted"])
        last[key] = max(last.get(key, said), said)
    order = sorted(last, key=lambda key: (key[0], key[1] or ""))
    return [(key, {"granted": not last[key][1], "at": last[key][0].isoformat()}) for key in order]


def put_consent(
    store: Store, customer_id: str, consent: Consent, at: datetime | None, now: datetime, received: datetime
) -> datetime | None:
    """Add to what a customer said `at` a time or, with None, now, after everything said before; the time it has.

    None if they are not there. Raises StoreDown: nothing was kept.
    """
    found = store.rows_of(customer_id)
    if found is None:
        return None
    said = found[1].get("consents", pl.DataFrame({"at": []}, schema={"at": pl.Datetime("us")}))["at"].max()
    with store.writes() as connection:
        here = sa.select(schema.customers.c.customer_id).filter_by(customer_id=customer_id).with_for_update()
        if connection.execute(here).first() is None:
            return None
        mine = schema.consents.c.customer_id == customer_id
        since = connection.execute(sa.select(sa.func.max(schema.consents.c.at)).where(mine)).scalar()
        before = [*([said] if isinstance(said, datetime) else []), *([datetime.fromisoformat(since)] if since else [])]
        at = at or max([now, *(time + _NEXT for time in before)])
        row = {"customer_id": customer_id, "at": _exact(at), "received": received.isoformat(), **vars(consent)}
        connection.execute(sa.insert(schema.consents).values(**row))
        change = sa.update(schema.customers).filter_by(customer_id=customer_id)
        connection.execute(change.values(version=schema.customers.c.version + 1))
    return at


def erase(store: Store, customer_id: str, now: datetime) -> bool:
    """Delete every row about a customer, whatever came of them, and leave a keyed hash; whether they were there.

    Who holds an account with them keeps it, without their name in it. Raises StoreDown: nothing was erased.
    """
    with store.writes() as connection:
        here = sa.select(schema.customers.c.customer_id).filter_by(customer_id=customer_id).with_for_update()
        if connection.execute(here).first() is None:
            return False
        accounts = sa.select(schema.holders.c.account_id).filter_by(customer_id=customer_id)
        held = list(connection.execute(accounts).scalars())
        joint = sa.select(schema.holders).where(
            schema.holders.c.account_id.in_(held), schema.holders.c.customer_id != customer_id
        )
        others = connection.execute(joint).all()
        for other in sorted({row.customer_id for row in others}):
            _unname(connection, other, customer_id)
        alone = set(held) - {row.account_id for row in others}
        connection.execute(sa.delete(schema.events).where(schema.events.c.account_id.in_(alone)))
        connection.execute(sa.delete(schema.events).filter_by(customer_id=customer_id))
        connection.execute(sa.delete(schema.customers).filter_by(customer_id=customer_id))
        put(connection, schema.suppressed, [{"hash": store.hash_of(customer_id), "since": now.date().isoformat()}])
    store.forget_log()
    return True


def lift(store: Store, customer_id: str) -> bool:
    """Let a later load or event bring an erased customer back; whether they had been erased."""
    with store.writes() as connection:
        done = connection.execute(sa.delete(schema.suppressed).filter_by(hash=store.hash_of(customer_id)))
    return done.rowcount > 0


def erased(store: Store, ids: Collection[str]) -> set[str]:
    """Those of the ids who have been erased, and not been let in again."""
    hashed = {store.hash_of(customer_id): customer_id for customer_id in ids}
    wanted = sa.select(schema.suppressed.c.hash).where(schema.suppressed.c.hash.in_(list(hashed)))
    with store.reads() as connection:
        return {hashed[found] for found in connection.execute(wanted).scalars()}


def erased_in(store: Store, lake: Lake) -> Iterator[str]:
    """The customers of a lake who have been erased from the store, bucket by bucket and by id.

    The store itself keeps hashes alone, so only who has the ids can tell. Raises StoreDown.
    """
    with store.reads() as connection:
        gone = set(connection.execute(sa.select(schema.suppressed.c.hash)).scalars())
    for bucket in range(lake.buckets if gone else 0):
        ids = lake.rows("customers", bucket).select("customer_id").unique().collect()["customer_id"].sort()
        yield from (one for one in ids.to_list() if store.hash_of(one) in gone)


def was_erased(store: Store, customer_id: str) -> bool:
    """Whether a customer has been erased, and not been let in again."""
    wanted = sa.select(schema.suppressed.c.hash).filter_by(hash=store.hash_of(customer_id))
    with store.reads() as connection:
        return connection.execute(wanted).first() is not None


def _unname(connection: sa.Connection, other: str, customer_id: str) -> None:
    """Take a customer's id out of the rows of another holder of a joint account."""
    wanted = sa.select(schema.stored_rows.c.rows).filter_by(customer_id=other).with_for_update()
    blob = connection.execute(wanted).scalar_one()
    tables = unpacked(blob)
    tables["account_holders"] = tables["account_holders"].filter(pl.col("customer_id") != customer_id)
    connection.execute(sa.update(schema.stored_rows).filter_by(customer_id=other).values(rows=packed(tables)))
    change = sa.update(schema.customers).filter_by(customer_id=other)
    connection.execute(change.values(version=schema.customers.c.version + 1))


def _exact(at: datetime) -> str:
    """ISO 8601 with microseconds, so that texts are in the order of times."""
    return at.isoformat(timespec="microseconds")
