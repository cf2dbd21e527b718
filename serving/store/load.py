"""Filling the store from a lake, bucket by bucket: rows, and what a bundle sees in every customer on a day."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import islice
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from recsys.bundle import Bundle
from recsys.bundle.fits import check_fits, scoring_day
from recsys.lake.contract import TABLES
from recsys.lake.parts import MEMORY, BucketReader
from recsys.lake.store import Lake
from recsys.progress import Progress
from serving.buckets import COPIES
from serving.seen import Sight, stored
from serving.store import schema
from serving.store.blobs import packed
from serving.store.engine import StoreError, engine_of, url_of
from serving.store.event_rows import SILENT, frames_of, joined
from serving.store.fold import fold
from serving.store.loaded import Loaded, loaded_json
from serving.store.migrate import form_of, migrate
from serving.store.store import Store, day_text, replaced

CHUNK = 200
"""Customers written in one transaction: events that come in meanwhile wait for no more than these."""
_ASKED_AT_ONCE = 1_000


@dataclass(frozen=True)
class Filled:
    """What a load came to."""

    customers: int
    """Who are in the store now."""
    erased: int
    """Customers of the lake who were erased from the store before, and so left out."""
    as_of: date | None
    bundle_id: str
    already: bool
    """Whether everything was there before this call."""


def load(
    bundle_path: str,
    lake_path: str,
    store_name: str,
    *,
    as_of: date | None = None,
    memory: int = MEMORY,
    threads: int = 2,
    progress: Progress | None = None,
) -> Filled:
    """Fill a store, made where there is none. A load that was cut short continues from the bucket it was in.

    A later load, of a newer lake, another day or another bundle, takes the place of what is there: events that came
    in since stay until the lake has them, customers whom the lake no longer has leave, who was erased stays away. The
    service answers meanwhile. Raises ConfigError, LakeError, BundleError, StoreError and StoreDown.
    """
    bundle, lake = Bundle.load(bundle_path), Lake.open(lake_path)
    check_fits(bundle, lake)
    day = scoring_day(lake, as_of)
    url = url_of(store_name)
    engine = engine_of(url)
    if form_of(engine) is None:
        migrate(url)
    engine.dispose()
    store = Store.open(store_name)
    try:
        return _Loading(store, bundle, lake, day, threads).run(memory, progress)
    finally:
        store.close()


class _Loading:
    """One load: what it reads and under which name its finished buckets are noted."""

    def __init__(self, store: Store, bundle: Bundle, lake: Lake, day: date | None, threads: int) -> None:
        self.store, self.lake, self.day = store, lake, day
        self.sight, self.bundle_id = Sight(bundle, threads), bundle.bundle_id
        self.identity = lake.identity()
        self.run_name = f"{bundle.bundle_id} {self.identity} {day_text(day)}"
        self.erased = 0

    def run(self, memory: int, progress: Progress | None) -> Filled:
        done, gone = self._begin()
        reader = BucketReader(self.lake, memory)
        for bucket in range(self.lake.buckets):
            if progress:
                progress(bucket, self.lake.buckets, "buckets")
            if bucket not in done:
                for part in reader.parts(bucket, COPIES):
                    self._part(part, gone)
                with self.store.writes() as connection:
                    connection.execute(sa.insert(schema.loads).values(run=self.run_name, bucket=bucket))
        already = len(done) == self.lake.buckets
        if not already:
            self._end()
        with self.store.reads() as connection:
            customers = connection.execute(sa.select(sa.func.count()).select_from(schema.customers)).scalar_one()
        return Filled(customers, self.erased, self.day, self.bundle_id, already)

    def _begin(self) -> tuple[set[int], set[str]]:
        """The buckets that are finished, and the hashes of erased customers; says what the store is loaded from."""
        with self.store.writes() as connection:
            found = connection.execute(sa.select(schema.about.c.value).filter_by(name="lake")).scalar()
            before = self.store.loaded() if found else None
            if before and before.source != self.lake.source:
                raise StoreError(
                    f"{self.store.name}: was loaded from {before.source!r}, and {self.lake.path} is "
                    f"{self.lake.source!r}; name another store, or a lake of the same source"
                )
            done = set(connection.execute(sa.select(schema.loads.c.bucket).filter_by(run=self.run_name)).scalars())
            gone = set(connection.execute(sa.select(schema.suppressed.c.hash)).scalars())
            if len(done) < self.lake.buckets:
                self._say(connection, complete=before.complete if before else False)
                own = [name for name in self.lake.tables if TABLES[name].about == "all"]
                for name in own:
                    row = {"name": name, "rows": packed({name: self.lake.read(name)})}
                    put(connection, schema.bank, [row])
        return done, gone

    def _say(self, connection: sa.Connection, complete: bool) -> None:
        lake = self.lake
        loaded = Loaded(
            path=self.store.name,
            source=lake.source,
            identity=self.identity,
            as_of=self.day,
            last_event=lake.last_event,
            columns={name: info.columns for name, info in lake.tables.items()},
            declared={name: lake.attributes(name) for name in lake.tables},
            complete=complete,
        )
        put(connection, schema.about, [{"name": "lake", "value": loaded_json(loaded)}])

    def _end(self) -> None:
        """Let go of what the lake has by now or no longer has; then the store says that it is whole."""
        with self.store.writes() as connection:
            connection.execute(sa.delete(schema.customers).where(schema.customers.c.lake != self.identity))
            there = sa.select(schema.customers.c.customer_id)
            owned, known = schema.events.c.customer_id.is_not(None), schema.events.c.customer_id.in_(there)
            connection.execute(sa.delete(schema.events).where(owned, ~known))
        fold(self.store)
        with self.store.writes() as connection:
            self._say(connection, complete=True)
            connection.execute(sa.delete(schema.loads).where(schema.loads.c.run != self.run_name))

    def _part(self, tables: Mapping[str, pl.DataFrame], gone: set[str]) -> None:
        tables = self._without_erased(tables, gone)
        ids = tables["customers"]["customer_id"].unique().sort().to_list()
        versions, events = self._pending(tables, ids)
        fresh = frames_of((table, row) for table, row in events if table not in SILENT)
        seen = dict(zip(ids, self.sight.see(joined(tables, fresh), ids, self.day), strict=True))
        rows = by_customer(tables)
        accounts = _accounts(tables)
        for chunk in _chunks(ids, CHUNK):
            with self.store.writes() as connection:
                blobs = {i: _rows_of(i, rows) for i in chunk}
                now = self._customers(connection, blobs)
                put(connection, schema.stored_rows, [{"customer_id": i, "rows": blob} for i, blob in blobs.items()])
                mine = schema.holders.c.customer_id.in_(chunk)
                connection.execute(sa.delete(schema.holders).where(mine))
                held = [{"account_id": account, "customer_id": i} for i in chunk for account in accounts.get(i, ())]
                if held:
                    connection.execute(sa.insert(schema.holders), held)
                still = [i for i in chunk if now[i][0] == versions.get(i)]
                self._keep(connection, chunk, {i: (now[i][1], seen[i]) for i in still})

    def _without_erased(self, tables: Mapping[str, pl.DataFrame], gone: set[str]) -> dict[str, pl.DataFrame]:
        if not gone:
            return dict(tables)
        named = [t["customer_id"] for t in tables.values() if "customer_id" in t.columns]
        ids = pl.concat(named).drop_nulls().unique()
        away = pl.Series([i for i in ids.to_list() if self.store.hash_of(i) in gone], dtype=pl.String)
        self.erased += tables["customers"].filter(pl.col("customer_id").is_in(away.implode()))["customer_id"].n_unique()
        keep = ~pl.col("customer_id").is_in(away.implode()).fill_null(False)
        return {name: rows.filter(keep) if "customer_id" in rows.columns else rows for name, rows in tables.items()}

    def _pending(
        self, tables: Mapping[str, pl.DataFrame], ids: Sequence[str]
    ) -> tuple[dict[str, int], list[tuple[str, str]]]:
        """The customers' versions, and the events that came in for them and their accounts, at one moment."""
        accounts: list[str] = []
        if "account_holders" in tables:
            accounts = tables["account_holders"]["account_id"].unique().to_list()
        versions: dict[str, int] = {}
        events: list[tuple[str, str]] = []
        wanted = sa.select(schema.events.c.table_name, schema.events.c.row)
        with self.store.reads() as connection:
            if not connection.execute(sa.select(schema.customers.c.customer_id).limit(1)).first():
                return {}, []
            for chunk in _chunks(ids, _ASKED_AT_ONCE):
                who = schema.customers.c.customer_id.in_(chunk)
                found = connection.execute(
                    sa.select(schema.customers.c.customer_id, schema.customers.c.version).where(who)
                )
                versions |= {customer_id: version for customer_id, version in found}
                events += map(tuple, connection.execute(wanted.where(schema.events.c.customer_id.in_(chunk))).all())
            for chunk in _chunks(accounts, _ASKED_AT_ONCE):
                events += map(tuple, connection.execute(wanted.where(schema.events.c.account_id.in_(chunk))).all())
        return versions, events

    def _customers(self, connection: sa.Connection, blobs: Mapping[str, bytes]) -> dict[str, tuple[int | None, int]]:
        """Each customer's version before and after: another one if their rows are others."""
        chunk = list(blobs)
        who = schema.customers.c.customer_id.in_(chunk)
        asked = sa.select(schema.customers.c.customer_id, schema.customers.c.version).where(who)
        found = connection.execute(asked.order_by("customer_id").with_for_update())
        before = {customer_id: version for customer_id, version in found}
        had = sa.select(schema.stored_rows).where(schema.stored_rows.c.customer_id.in_(chunk))
        same = {customer_id for customer_id, blob in connection.execute(had) if blob == blobs[customer_id]}
        # The first version is drawn, so that what a worker kept of someone who was erased is never taken for the new.
        after = {i: before[i] + (i not in same) if i in before else secrets.randbits(60) for i in chunk}
        rows = [{"customer_id": i, "version": after[i], "lake": self.identity} for i in chunk]
        put(connection, schema.customers, rows)
        return {i: (before.get(i), after[i]) for i in chunk}

    def _keep(self, connection: sa.Connection, chunk: Sequence[str], found: Mapping[str, tuple[int, Any]]) -> None:
        day = day_text(self.day)
        old = schema.seen.c.customer_id.in_(chunk), replaced(self.bundle_id, self.day)
        connection.execute(sa.delete(schema.seen).where(*old))
        same = {"bundle_id": self.bundle_id, "day": day}
        rows = [
            {"customer_id": i, "version": version, **same, **vars(stored(seen))} for i, (version, seen) in found.items()
        ]
        if rows:
            connection.execute(sa.insert(schema.seen), rows)


def put(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, or put them in place of those with their primary key."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement: Any = dialect.insert(table)
    key = [column.name for column in table.primary_key]
    changed = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in key}
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=changed), list(rows))


def by_customer(tables: Mapping[str, pl.DataFrame]) -> dict[str, dict[str, pl.DataFrame]]:
    """Table → customer → their rows and those of their accounts, as `Lake.customers` gives them for one."""
    mine = pl.DataFrame(schema={"account_id": pl.String, "_who": pl.String})
    if "account_holders" in tables:
        mine = tables["account_holders"].select("account_id", _who="customer_id").unique(maintain_order=True)
    found = {}
    for name, rows in tables.items():
        about = TABLES[name].about
        if about == "all" or rows.is_empty():
            continue
        parts = []
        if about == "account" and "account_id" in rows.columns:
            parts.append(rows.join(mine, on="account_id", how="inner", maintain_order="left"))
        if "customer_id" in rows.columns and name != "account_holders":
            own = rows.filter(pl.col("customer_id").is_not_null())
            parts.append(own.with_columns(_who="customer_id"))
        split = pl.concat(parts).partition_by("_who", as_dict=True, include_key=False)
        found[name] = {str(key[0]): part for key, part in split.items()}
    return found


def _rows_of(customer_id: str, rows: Mapping[str, Mapping[str, pl.DataFrame]]) -> bytes:
    return packed({name: parts[customer_id] for name, parts in rows.items() if customer_id in parts})


def _accounts(tables: Mapping[str, pl.DataFrame]) -> dict[str, list[str]]:
    """Customer → the accounts they hold."""
    if "account_holders" not in tables:
        return {}
    held = tables["account_holders"].select("customer_id", "account_id").drop_nulls().unique().sort("account_id")
    grouped = held.group_by("customer_id").agg("account_id")
    return dict(grouped.iter_rows())


def _chunks(values: Sequence[str], size: int) -> Iterator[list[str]]:
    rest = iter(values)
    while chunk := list(islice(rest, size)):
        yield chunk
