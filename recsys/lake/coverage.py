"""How far in time each table of a lake reaches: a table that stops early says nothing about the days after it."""

from collections.abc import Sequence
from datetime import date

import polars as pl

from recsys.lake.contract import EVENT_TABLES
from recsys.lake.store import Lake

STOPPED_DAYS = 60
"""A table whose last event lies so many days before the lake's is said to stop early."""


def last_days(lake: Lake, tables: Sequence[str] = EVENT_TABLES, before: date | None = None) -> dict[str, date]:
    """The last day of each table that has a dated row before a day; by scanning the column `at` alone."""
    named = [name for name in tables if name in lake.tables and "at" in lake.tables[name].columns]
    rows = [lake.scan(name).select("at") for name in named]
    if before is not None:
        rows = [frame.filter(pl.col("at") < pl.lit(before).cast(pl.Datetime("us"))) for frame in rows]
    last = [frame.item() for frame in pl.collect_all([frame.select(pl.col("at").max()) for frame in rows])]
    return {name: moment.date() for name, moment in zip(named, last, strict=True) if moment is not None}


def stopped_tables(lake: Lake) -> list[str]:
    """A sentence for each table of events that ends long before the lake's last event."""
    if lake.last_event is None:
        return []
    ends = {name: (day, (lake.last_event - day).days) for name, day in last_days(lake).items()}
    return [
        f"{name} end on {day}, {days:,} days before the lake's last event: they say nothing about the time since"
        for name, (day, days) in ends.items()
        if days > STOPPED_DAYS
    ]


def first_day(lake: Lake) -> date | None:
    """The first day that the lake tells of: of transactions and balances, else of interactions, which may be older."""
    for names in (("transactions", "balances"), ("interactions",)):
        named = [name for name in names if name in lake.tables and "at" in lake.tables[name].columns]
        found = [f.item() for f in pl.collect_all([lake.scan(name).select(pl.col("at").min()) for name in named])]
        if known := [moment.date() for moment in found if moment is not None]:
            return min(known)
    return None
