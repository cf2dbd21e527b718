"""The online state as the service reads it: one lookup for what is stored, all rows of a customer when it is stale."""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
import sqlalchemy as sa

from recsys.lake.contract import TABLES, Attribute, schema_of
from serving.store import schema
from serving.store.blobs import unpacked
from serving.store.engine import (
    StoreDown,
    StoreError,
    engine_of,
    looking_up,
    name_of,
    reaching,
    reading,
    url_of,
    writing,
)
from serving.store.event_rows import SILENT, frames_of, joined
from serving.store.loaded import Loaded, loaded_from
from serving.store.migrate import check
from serving.store.suppression import hash_of, key_of


@dataclass(frozen=True)
class Stored:
    """What a bundle saw in a customer on a day, as it is stored."""

    facts: str
    """JSON: standing, holdings, segment, leaving, survival."""
    vector: bytes | None
    """float32 [D] that customers are compared by: of the recommender, else the embedding."""
    adoption: bytes | None
    """float32 [E] of the adoption part."""
    feature_row: str
    """JSON: the values of the feature row in the order of its columns."""


@dataclass(frozen=True)
class Looked:
    """A customer's version and, if it is true for that version and was not known already, what is stored."""

    version: int
    stored: Stored | None


class Store:
    """A database of the online state. Safe to share between threads; every process opens its own.

    Every method raises StoreDown where the database cannot be reached or written.
    """

    def __init__(self, url: sa.URL, key: bytes) -> None:
        """`key` is the secret of the suppressions."""
        self.url, self._key = url, key
        self.engine = engine_of(url)
        self._quick = engine_of(url, durable=False)
        self._snapshots = reading(self.engine)
        self._lookups = looking_up(self.engine)
        self._loaded: Loaded | None = None

    @classmethod
    def open(cls, store: str) -> "Store":
        """A store that exists and has this release's form; StoreError says what to do about any other."""
        url = url_of(store)
        opened = cls(url, key_of(url))
        try:
            check(opened.engine)
        except BaseException:
            opened.close()
            raise
        return opened

    def close(self) -> None:
        """Give back every connection."""
        self.engine.dispose()
        self._quick.dispose()

    @property
    def name(self) -> str:
        """What people call the store, without a password."""
        return name_of(self.url)

    def hash_of(self, customer_id: str) -> str:
        """By what an erased customer is known."""
        return hash_of(self._key, customer_id)

    @contextmanager
    def writes(self) -> Iterator[sa.Connection]:
        """A transaction whose commit is on the disk when the block ends; nothing of it stays after an error."""
        with reaching(self.url), writing(self.engine).begin() as connection:
            yield connection

    @contextmanager
    def reads(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state of all tables."""
        with reaching(self.url), self._snapshots.begin() as connection:
            yield connection

    def loaded(self) -> Loaded:
        """What the store was loaded from, read once. StoreError if no load has begun."""
        if self._loaded is None:
            with self.reads() as connection:
                value = connection.execute(sa.select(schema.about.c.value).filter_by(name="lake")).scalar()
            if value is None:
                raise StoreError(f"{self.name}: holds nobody; fill it with recsys state load BUNDLE LAKE --store …")
            self._loaded = loaded_from(json.loads(value), self.name)
        return self._loaded

    @property
    def tables(self) -> Mapping[str, tuple[str, ...]]:
        """The tables of the lake it was loaded from, and their columns."""
        return self.loaded().columns

    def attributes(self, table: str) -> tuple[Attribute, ...]:
        """The declared attributes of a table."""
        return self.loaded().attributes(table)

    def read(self, table: str) -> pl.DataFrame:
        """One of the bank's own tables, whole; without rows where the lake had none."""
        found = self.bank().get(table)
        return pl.DataFrame(schema=schema_of(table, TABLES[table].key, ())) if found is None else found

    def bank(self) -> dict[str, pl.DataFrame]:
        """The bank's own tables that the lake had, whole."""
        with self.reads() as connection:
            found = connection.execute(sa.select(schema.bank.c.rows)).scalars().all()
        tables = {name: rows for value in found for name, rows in unpacked(value).items()}
        own = {name: columns for name, columns in self.loaded().columns.items() if TABLES[name].about == "all"}
        empty = {n: pl.DataFrame(schema=schema_of(n, c, self.loaded().attributes(n))) for n, c in own.items()}
        return {**empty, **tables}

    def look(self, customer_id: str, bundle_id: str, day: date | None, known: int | None) -> Looked | None:
        """One lookup: the customer's version, and what is stored unless it is of the version `known`.

        None for a customer who is not, or no longer, there.
        """
        values = {"customer": customer_id, "bundle": bundle_id, "day": day_text(day), "known": known or 0}
        with reaching(self.url), self._lookups.connect() as connection:
            row = connection.execute(_LOOK, values).first()
        if row is None:
            return None
        return Looked(row.version, Stored(*row[1:]) if row.facts is not None else None)

    def rows_of(self, customer_id: str) -> tuple[int, dict[str, pl.DataFrame]] | None:
        """The customer's version and all their rows: the lake's, and what came in since. None if they are not there.

        As `Lake.customers` gives them, but without the bank's own tables. Decisions that came in since are left out.
        """
        with self.reads() as connection:
            found = connection.execute(_ROWS, {"customer": customer_id}).first()
            if found is None:
                return None
            events = connection.execute(_EVENTS, {"customer": customer_id}).all()
            said = connection.execute(_CONSENTS, {"customer": customer_id}).mappings().all()
        fresh = frames_of((table, row) for table, row in events if table not in SILENT)
        if said:
            fresh["consents"] = pl.DataFrame(
                [dict(row) for row in said],
                schema=schema_of("consents", [column.name for column in _SAID], ()) | {"at": pl.String},
            ).with_columns(pl.col("at").str.to_datetime(time_unit="us"))
        return found.version, joined({**self.loaded().empty(), **unpacked(found.rows)}, fresh)

    def keep(self, customer_id: str, version: int, bundle_id: str, day: date | None, found: Stored) -> bool:
        """Store what was computed from the rows of a version, unless it has changed since; whether it was stored.

        Not durable, and given up where another process is writing: it can be computed again.
        """
        row = {"customer_id": customer_id, "bundle_id": bundle_id, "day": day_text(day), "version": version}
        mine = schema.seen.c.customer_id == customer_id
        now = sa.select(schema.customers.c.version).filter_by(customer_id=customer_id).with_for_update(read=True)
        try:
            with reaching(self.url), writing(self._quick).begin() as connection:
                if connection.execute(now).scalar() != version:
                    return False
                connection.execute(sa.delete(schema.seen).where(mine, replaced(bundle_id, day)))
                connection.execute(sa.insert(schema.seen).values(**row, **vars(found)))
        except StoreDown:
            return False
        return True

    def vectors(self, bundle_id: str) -> tuple[list[str], np.ndarray]:
        """Ids in order, and float32 [N, D]: the vectors by which a bundle compares its customers, as last computed.

        An event since then, or a later day, may have moved a customer; `known` tells who is still there.
        """
        wanted = sa.select(schema.seen.c.customer_id, schema.seen.c.vector).where(
            schema.seen.c.bundle_id == bundle_id, schema.seen.c.vector.is_not(None)
        )
        found: dict[str, bytes] = {}
        with self.reads() as connection:
            rows = connection.execution_options(yield_per=10_000).execute(wanted.order_by("customer_id", "day"))
            for customer_id, vector in rows:
                found[customer_id] = vector
        if not found:
            return [], np.empty((0, 0), dtype=np.float32)
        return list(found), np.frombuffer(b"".join(found.values()), dtype="<f4").reshape(len(found), -1)

    def forget_log(self) -> None:
        """Have SQLite's log hold no more of what was erased, as far as readers let it; PostgreSQL keeps its own log."""
        if self.engine.dialect.name == "sqlite":
            with suppress(StoreDown), reaching(self.url), self._lookups.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def known(self, ids: Collection[str]) -> set[str]:
        """Those of the ids who are customers now."""
        wanted = sa.select(schema.customers.c.customer_id).where(schema.customers.c.customer_id.in_(list(ids)))
        with self.reads() as connection:
            return set(connection.execute(wanted).scalars())


def replaced(bundle_id: str, day: date | None) -> sa.ColumnElement[bool]:
    """What is stored of a bundle that an answer of this day takes the place of: that day's, and those long past."""
    same = schema.seen.c.bundle_id == bundle_id
    if day is None:
        return same
    return same & ((schema.seen.c.day == day_text(day)) | (schema.seen.c.day < day_text(day - timedelta(days=1))))


def day_text(day: date | None) -> str:
    """A day as the store writes it; empty for a bank without dates."""
    return day.isoformat() if day else ""


_ASKED = sa.bindparam("customer", type_=sa.Text)
_FRESH = schema.customers.c.version != sa.bindparam("known", type_=sa.BigInteger)
_LOOK = (
    sa.select(schema.customers.c.version, *(schema.seen.c[name] for name in Stored.__dataclass_fields__))
    .select_from(
        schema.customers.outerjoin(
            schema.seen,
            (schema.seen.c.customer_id == schema.customers.c.customer_id)
            & (schema.seen.c.bundle_id == sa.bindparam("bundle", type_=sa.Text))
            & (schema.seen.c.day == sa.bindparam("day", type_=sa.Text))
            & (schema.seen.c.version == schema.customers.c.version)
            & _FRESH,
        )
    )
    .where(schema.customers.c.customer_id == _ASKED)
)
_ROWS = (
    sa.select(schema.customers.c.version, schema.stored_rows.c.rows)
    .join_from(schema.customers, schema.stored_rows)
    .where(schema.customers.c.customer_id == _ASKED)
)
_HELD = sa.select(schema.holders.c.account_id).where(schema.holders.c.customer_id == _ASKED)
_EVENTS = (
    sa.select(schema.events.c.table_name, schema.events.c.row)
    .where((schema.events.c.customer_id == _ASKED) | schema.events.c.account_id.in_(_HELD))
    .order_by(schema.events.c.seq)
)
_SAID = [schema.consents.c[name] for name in ("customer_id", "purpose", "channel", "granted", "at")]
_CONSENTS = sa.select(*_SAID).where(schema.consents.c.customer_id == _ASKED).order_by(schema.consents.c.seq)
