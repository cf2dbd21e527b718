"""What came in long ago and no answer needs any more is removed, so that a store does not grow for ever."""

import json
from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta

import sqlalchemy as sa

from recsys.bundle import Bundle
from recsys.bundle.churn import leaving_rule
from recsys.errors import ConfigError
from serving.store import schema
from serving.store.store import Store

PRUNED = ("transactions", "contacts", "exposures", "outcomes", "decisions")
"""Interactions are not among them: they say what is held, however old they are."""
SINCE_LAST = ("transactions", "contacts")
"""Tables of which features tell how long ago the last row was: of what is old the last one of each owner stays."""
PAGE = 500


def needed_days(bundle: Bundle) -> int:
    """How many days back the bundle's features and its rule of leaving look."""
    windows = bundle.definition.windows
    rule = leaving_rule(bundle)
    return max(*windows, 0, (rule.inactive_days or 0) if rule else 0)


def prune(store: Store, bundle: Bundle, days: int, as_of: date | None = None) -> Mapping[str, int]:
    """Remove what is more than `days` older than the day, that of the load if none is given; how many rows by table.

    Raises ConfigError where the bundle still needs some of it or the bank has no days, StoreDown and StoreError.
    """
    if days < (least := needed_days(bundle)):
        raise ConfigError(
            f"--older-than {days}: features of bundle {bundle.bundle_id} look back {least} days; name {least} or more"
        )
    day = as_of or store.loaded().as_of
    if day is None:
        raise ConfigError(f"{store.name}: the bank has no dated events, so nothing in it is old")
    before = datetime.combine(day - timedelta(days=days), time())
    gone = _old(store, before)
    for begin in range(0, len(gone), PAGE):
        with store.writes() as connection:
            some = [seq for seq, _ in gone[begin : begin + PAGE]]
            connection.execute(sa.delete(schema.events).where(schema.events.c.seq.in_(some)))
    store.forget_log()
    return Counter(table for _, table in gone)


def _old(store: Store, before: datetime) -> list[tuple[int, str]]:
    """Number and table of every row that may go."""
    events = schema.events.c
    wanted = sa.select(events.seq, events.table_name, events.customer_id, events.account_id, events.row)
    wanted = wanted.where(events.table_name.in_(PRUNED)).order_by(events.seq)
    found: list[tuple[int, str]] = []
    last: dict[tuple[str, str | None, str | None], tuple[datetime, int]] = {}
    with store.reads() as connection:
        for seq, table, *owner, row in connection.execution_options(yield_per=10_000).execute(wanted):
            at = datetime.fromisoformat(json.loads(row)["at"])
            if at >= before:
                continue
            if table not in SINCE_LAST:
                found.append((seq, table))
                continue
            key = (table, owner[0], owner[1])
            stays = max((at, seq), last.get(key, (at, seq)))
            if key in last:
                found.append((min((at, seq), last[key])[1], table))
            last[key] = stays
    return found
