"""What a store was loaded from: the version of a lake, its tables, and the day."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from recsys.errors import ConfigError
from recsys.lake.contract import TABLES, Attribute, schema_of
from serving.day import Clock, Day, FixedDay


@dataclass(frozen=True)
class Loaded:
    """What the store was loaded from; it answers what `check_fits` asks of a lake."""

    path: str
    """What people call the store."""
    source: str
    identity: str
    """Of the lake's version."""
    as_of: date | None
    """The day customers were seen from."""
    last_event: date | None
    """Of the lake: a later event cannot be among its rows."""
    columns: Mapping[str, tuple[str, ...]]
    """Table → the columns that the lake's has."""
    declared: Mapping[str, tuple[Attribute, ...]]
    complete: bool
    """Whether every bucket of the lake is in the store."""

    def attributes(self, table: str) -> tuple[Attribute, ...]:
        """The declared attributes of a table; none if the lake lacks it."""
        return self.declared.get(table, ())

    def empty(self) -> dict[str, pl.DataFrame]:
        """Every table of the lake that is about customers, without rows."""
        return {
            name: pl.DataFrame(schema=schema_of(name, columns, self.attributes(name)))
            for name, columns in self.columns.items()
            if TABLES[name].about != "all"
        }


def loaded_from(value: dict[str, Any], name: str) -> Loaded:
    """What `loaded_json` wrote."""
    tables = value["tables"]
    return Loaded(
        path=name,
        source=str(value["source"]),
        identity=str(value["identity"]),
        as_of=date.fromisoformat(value["as_of"]) if value["as_of"] else None,
        last_event=date.fromisoformat(value["last_event"]) if value["last_event"] else None,
        columns={table: tuple(info["columns"]) for table, info in tables.items()},
        declared={table: tuple(Attribute(**a) for a in info["attributes"]) for table, info in tables.items()},
        complete=bool(value["complete"]),
    )


def loaded_json(loaded: Loaded) -> str:
    """The row of `about` that says what a store was loaded from."""
    tables = {
        name: {"columns": list(columns), "attributes": [vars(a) for a in loaded.attributes(name)]}
        for name, columns in loaded.columns.items()
    }
    told = {"source": loaded.source, "identity": loaded.identity, "complete": loaded.complete}
    told |= {name: day.isoformat() if (day := getattr(loaded, name)) else None for name in ("as_of", "last_event")}
    return json.dumps({**told, "tables": tables}, sort_keys=True)


def check_day(loaded: Loaded, asked: date | None, clock: Clock | None = None) -> Day:
    """The clock, else the day asked for, else that of the load. ConfigError for both, or where nothing is dated."""
    if asked is not None and clock is not None:
        raise ConfigError("--as-of and --clock: a fixed day and the calendar; give one of them")
    if loaded.as_of is None and (asked is not None or clock is not None):
        named = f"--as-of {asked}" if asked else "--clock"
        raise ConfigError(f"{named}: {loaded.path} has no dated events, so no day to look from; leave it out")
    return clock or FixedDay(asked or loaded.as_of)
