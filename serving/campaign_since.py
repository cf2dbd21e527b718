"""What a store knows since its lake, for a plan: events, contacts that were decided, consents, erasures.

It is copied beside the plan's values before the first bucket is valued, so that every process that values a bucket, and
a run that is continued, goes by the same state; only the rows of one bucket are in memory at a time.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa

from recsys.durable import rename, sync
from recsys.errors import DataError
from recsys.lake.buckets import bucket_of
from recsys.lake.store import Lake
from serving.run_record import partial_of
from serving.store import Store, StoreError, schema
from serving.store.customer import erased_in
from serving.store.decisions import DECISIONS
from serving.store.event_rows import TABLES_IN, frames_of, joined, row_text

FOLDER = ".since"
ROWS = 200_000
"""Rows in memory while the store is copied."""
SAID, ERASED = "consents", "erased"
KINDS = (*TABLES_IN, DECISIONS, SAID, ERASED)
COLUMNS: dict[str, Any] = {"kind": pl.String, "customer_id": pl.String, "row": pl.String}
"""Of the copy: a table of events, consents or decisions and one row of it as JSON; or an erasure, which has no row."""


@dataclass(frozen=True)
class Known:
    """What the store knows of some customers, in the columns of `COLUMNS`."""

    rows: pl.DataFrame

    def joined(self, tables: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
        """The lake's tables with what came in since; an event that the lake has comes once."""
        fresh = self.rows.filter(pl.col("kind").is_in([*TABLES_IN, SAID])).select("kind", "row")
        return joined(tables, frames_of(fresh.unique(maintain_order=True).rows()))  # once for two holders of an account

    def decided(self, day: date | None) -> list[tuple[str, datetime, str]]:
        """(customer, time, channel) of every contact that was decided before the day."""
        if day is None:
            return []
        found = []
        for text in self.rows.filter(pl.col("kind") == DECISIONS)["row"]:
            row = json.loads(text)
            at = datetime.fromisoformat(row["at"])
            if at.date() < day:
                found += [(row["customer_id"], at, action["channel"]) for action in row["actions"]]
        return found

    @property
    def erased(self) -> list[str]:
        """Who had everything about them erased."""
        return self.rows.filter(pl.col("kind") == ERASED)["customer_id"].to_list()


@dataclass(frozen=True)
class Since:
    """The copy of a store's rows in the folder of a plan, by bucket of its lake."""

    folder: Path
    buckets: int

    @classmethod
    def of(cls, out: Path, lake: Lake) -> "Since":
        """That of a run in `out`."""
        return cls(out.resolve() / FOLDER, lake.buckets)

    def copy(self, store: Store, lake: Lake) -> dict[str, Any]:
        """Copy under a name that `publish` takes away; say what was copied: name, counts, last day, digest.

        Raises StoreError for a store of another source, DataError where the lake cannot hold what it knows, StoreDown.
        """
        if (source := store.loaded().source) != lake.source:
            raise StoreError(
                f"{store.name}: was loaded from {source!r}, and {lake.path} is {lake.source!r}; name the store of this "
                "lake's customers"
            )
        if SAID not in lake.tables and _holds_consents(store):
            raise DataError(
                f"{store.name}: holds consents, and {lake.path} has no table consents, so who said nothing there has "
                "said nothing; write the bank's consents into the lake"
            )
        partial = partial_of(self.folder)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        digest, counts, last = hashlib.sha256(), dict.fromkeys(KINDS, 0), ""
        for number, rows in enumerate(_pages(store, lake)):
            for row in rows:
                digest.update(json.dumps(row).encode())
                counts[row[0]] += 1
            frame = pl.DataFrame(rows, schema=COLUMNS, orient="row")
            newest = frame.select(pl.col("row").str.json_path_match("$.at").max()).item()
            last = max(last, newest or "")
            frame = frame.with_columns(bucket_of(frame["customer_id"], self.buckets))
            file = partial / f"{number:04d}.parquet"
            frame.sort("bucket", maintain_order=True).write_parquet(file, row_group_size=ROWS // 16)
            sync(file)
        ended = {"last": datetime.fromisoformat(last).date().isoformat()} if last else {}
        told = {"name": store.name, **counts, **ended, "digest": digest.hexdigest()[:16]}
        return dict(sorted(told.items()))  # as the record gives it back

    def publish(self) -> None:
        """Give the copy its name, once the record of its run is written; a run that was killed in between does it."""
        partial = partial_of(self.folder)
        if partial.exists() and not self.folder.exists():
            rename(partial, self.folder)

    def known(self, ids: pl.Series) -> Known:
        """What is known of customers of one bucket."""
        files = sorted(self.folder.glob("*.parquet"))
        if not files or ids.is_empty():
            return Known(pl.DataFrame(schema=COLUMNS))
        bucket = bucket_of(ids.head(1), self.buckets)[0]
        rows = pl.scan_parquet(files).filter(pl.col("bucket") == bucket).drop("bucket").collect()
        return Known(rows.filter(pl.col("customer_id").is_in(ids.implode())))


def day_after(about: Mapping[str, Any]) -> date | None:
    """The day after the last of what was copied."""
    return date.fromisoformat(about["last"]) + timedelta(days=1) if "last" in about else None


def _pages(store: Store, lake: Lake) -> Iterator[list[tuple[str, str, str | None]]]:
    """All rows in the columns of COLUMNS, at most ROWS at a time."""
    rows = _rows(store, lake)
    while page := list(islice(rows, ROWS)):
        yield page


def _rows(store: Store, lake: Lake) -> Iterator[tuple[str, str, str | None]]:
    """The store's events and consents as of one moment, then which of the lake's customers have been erased.

    An event of an account comes once for each who holds it.
    """
    said = schema.consents.c
    consents = sa.select(said.customer_id, said.purpose, said.channel, said.granted, said.at)
    with store.reads() as connection:
        came = connection.execution_options(yield_per=10_000).execute(_EVENTS)
        yield from ((table, who, text) for table, who, text in came)
        for row in connection.execute(consents.order_by(said.seq)).mappings():
            yield SAID, row["customer_id"], row_text(dict(row))
    for one in erased_in(store, lake):
        yield ERASED, one, None


_ABOUT = sa.func.coalesce(schema.holders.c.customer_id, schema.events.c.customer_id)
_EVENTS = (
    sa.select(schema.events.c.table_name, _ABOUT, schema.events.c.row)
    .join_from(schema.events, schema.holders, schema.events.c.account_id == schema.holders.c.account_id, isouter=True)
    .where(_ABOUT.is_not(None))
    .order_by(schema.events.c.seq, _ABOUT)
)


def _holds_consents(store: Store) -> bool:
    with store.reads() as connection:
        return connection.execute(sa.select(schema.consents.c.seq).limit(1)).first() is not None
