"""What a store knows since its lake that binds a plan's contacts: those decided or made, consents, erasures.

It is copied beside the plan's values before the first bucket is valued, so that every process that values a bucket, and
a run that is continued, goes by the same state; only the rows of one bucket are in memory at a time.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa

from recsys.durable import rename, sync
from recsys.errors import DataError
from recsys.lake.buckets import bucket_of
from recsys.lake.contract import schema_of
from recsys.lake.store import Lake
from serving.decisions import CONTACTS
from serving.run_record import partial_of
from serving.store import Store, StoreError, schema
from serving.store.decisions import DECISIONS
from serving.store.event_rows import joined

FOLDER = ".since"
ROWS = 200_000
"""Rows in memory while the store is copied."""
DECIDED, MADE, SAID, ERASED = "decided", "contacts", "consents", "erased"
COLUMNS: dict[str, Any] = {
    "kind": pl.String,
    "customer_id": pl.String,
    "contact_id": pl.String,
    "campaign_id": pl.String,
    "at": pl.Datetime("us"),
    "channel": pl.String,
    "contacted": pl.Boolean,
    "purpose": pl.String,
    "granted": pl.Boolean,
}
CONSENTS = ("customer_id", "purpose", "channel", "granted", "at")


@dataclass(frozen=True)
class Known:
    """What the store knows of some customers, in the columns of `COLUMNS`."""

    rows: pl.DataFrame

    def joined(self, tables: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
        """The lake's tables with contacts and consents that came in since; a contact that the lake has comes once."""
        fresh = {name: self._of(name, columns) for name, columns in ((MADE, CONTACTS), (SAID, CONSENTS))}
        return joined(tables, {name: rows for name, rows in fresh.items() if rows.height})

    def decided(self, day: date | None) -> list[tuple[str, datetime, str]]:
        """(customer, time, channel) of every contact that was decided before the day."""
        if day is None:
            return []
        wanted = (pl.col("kind") == DECIDED) & (pl.col("at").dt.date() < day)
        return self.rows.filter(wanted).select("customer_id", "at", "channel").rows()

    @property
    def erased(self) -> list[str]:
        """Who had everything about them erased."""
        return self.rows.filter(pl.col("kind") == ERASED)["customer_id"].to_list()

    def _of(self, kind: str, columns: tuple[str, ...]) -> pl.DataFrame:
        types = schema_of(kind, columns, ())
        return self.rows.filter(pl.col("kind") == kind).select(pl.col(name).cast(types[name]) for name in columns)


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
        digest, counts = hashlib.sha256(), dict.fromkeys((DECIDED, MADE, SAID, ERASED), 0)
        last = datetime.min
        for number, rows in enumerate(_pages(store, lake)):
            for row in rows:
                digest.update(json.dumps(row, default=str).encode())
                counts[row[0]] += 1
                last = max(last, row[4] or last)
            frame = pl.DataFrame(rows, schema=COLUMNS, orient="row")
            frame = frame.with_columns(bucket_of(frame["customer_id"], self.buckets))
            file = partial / f"{number:04d}.parquet"
            frame.sort("bucket", maintain_order=True).write_parquet(file, row_group_size=ROWS // 16)
            sync(file)
        ended = {} if last == datetime.min else {"last": last.date().isoformat()}
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


def _pages(store: Store, lake: Lake) -> Iterator[list[tuple[Any, ...]]]:
    """All rows in the order of COLUMNS, at most ROWS at a time."""
    page: list[tuple[Any, ...]] = []
    for row in _rows(store, lake):
        page.append(row)
        if len(page) == ROWS:
            yield page
            page = []
    if page:
        yield page


def _rows(store: Store, lake: Lake) -> Iterator[tuple[Any, ...]]:
    """The store's events and consents as of one moment, then which of the lake's customers have been erased."""
    events, said = schema.events.c, schema.consents.c
    came = sa.select(events.table_name, events.row).where(events.table_name.in_([DECISIONS, MADE]))
    consents = sa.select(said.customer_id, said.at, said.channel, said.purpose, said.granted)
    with store.reads() as connection:
        for table, text in connection.execution_options(yield_per=10_000).execute(came.order_by(events.seq)):
            row = json.loads(text)
            yield from _decided(row) if table == DECISIONS else [_made(row)]
        for who, at, channel, purpose, granted in connection.execute(consents.order_by(said.seq)):
            yield SAID, who, None, None, datetime.fromisoformat(at), channel, None, purpose, granted
        gone = set(connection.execute(sa.select(schema.suppressed.c.hash)).scalars())
    for bucket in range(lake.buckets if gone else 0):
        ids = lake.rows("customers", bucket).select("customer_id").unique().collect()["customer_id"].sort()
        yield from ((ERASED, one, *[None] * 7) for one in ids.to_list() if store.hash_of(one) in gone)


def _holds_consents(store: Store) -> bool:
    with store.reads() as connection:
        return connection.execute(sa.select(schema.consents.c.seq).limit(1)).first() is not None


def _decided(row: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    at = datetime.fromisoformat(row["at"])
    for action in row["actions"]:
        yield DECIDED, row["customer_id"], None, None, at, action["channel"], None, None, None


def _made(row: Mapping[str, Any]) -> tuple[Any, ...]:
    at = None if row.get("at") is None else datetime.fromisoformat(row["at"])
    told = (row["customer_id"], row["contact_id"], row.get("campaign_id"), at, row.get("channel"), row.get("contacted"))
    return MADE, *told, None, None
