"""Decisions in the store: each written once, before it is answered, and the spend that all workers pace by."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from serving.store import schema
from serving.store.event_rows import row_text
from serving.store.store import Store

DECISIONS = "decisions"
Pacing = dict[str, Any]
"""The state of a `Pacer`."""


@dataclass(frozen=True)
class Made:
    """What was decided about a customer, oldest first, and how far the prices of a plan have moved by now."""

    decisions: tuple[dict[str, Any], ...]
    pacing: Pacing | None


def made(store: Store, customer_id: str, prices: str) -> Made:
    """What stands in the store of a customer, and of the prices of a version. Raises StoreDown."""
    events = schema.events.c
    mine = sa.select(events.row).where(events.customer_id == customer_id, events.table_name == DECISIONS)
    with store.reads() as connection:
        rows = connection.execute(mine.order_by(events.seq)).scalars().all()
        state = connection.execute(sa.select(schema.pacing.c.state).filter_by(prices=prices)).scalar()
    return Made(tuple(json.loads(row) for row in rows), None if state is None else json.loads(state))


def keep(
    store: Store,
    decision: Mapping[str, Any],
    received: datetime,
    spend: Callable[[Pacing | None], Pacing | None] | None = None,
) -> Literal["kept", "repeated", "full", "gone"]:
    """Write a decision, and what `spend` makes of the state of its prices, in one transaction that is on the disk then.

    repeated: the same decision was there. full: `spend` gave None, so that the contact does not fit. gone: the customer
    is not, or no longer, there. Nothing is written in these cases, nor where StoreDown is raised.
    """
    customer_id, prices = str(decision["customer_id"]), str(decision["prices"])
    events = schema.events.c
    with store.writes() as connection:
        here = sa.select(schema.customers.c.customer_id).filter_by(customer_id=customer_id).with_for_update()
        if connection.execute(here).first() is None:
            return "gone"
        same = sa.select(events.seq).where(
            events.table_name == DECISIONS, events.event_id == str(decision["decision_id"])
        )
        if connection.execute(same).first() is not None:
            return "repeated"
        if spend is not None and not _spent(connection, prices, spend):
            return "full"
        connection.execute(
            sa.insert(schema.events).values(
                table_name=DECISIONS,
                event_id=decision["decision_id"],
                customer_id=customer_id,
                account_id=None,
                row=row_text(decision),
                received=received.isoformat(),
            )
        )
    return "kept"


def _spent(connection: sa.Connection, prices: str, spend: Callable[[Pacing | None], Pacing | None]) -> bool:
    """Whether it fits; what is spent is written. One process at a time gets past the row of the prices."""
    pacing = schema.pacing
    if connection.dialect.name == "postgresql":  # SQLite has one writer anyway
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext(:prices))"), {"prices": prices})
    state = connection.execute(sa.select(pacing.c.state).filter_by(prices=prices)).scalar()
    after = spend(None if state is None else json.loads(state))
    if after is None:
        return False
    if state is None:
        connection.execute(sa.insert(pacing).values(prices=prices, state=json.dumps(after)))
    else:
        connection.execute(sa.update(pacing).filter_by(prices=prices).values(state=json.dumps(after)))
    return True
