"""The lake: Delta tables partitioned by bucket, of which `lake.json` names one consistent version."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from types import TracebackType

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from recsys.errors import DataError, LakeError
from recsys.lake.buckets import BUCKET, bucket_of, check_buckets
from recsys.lake.conform import conform
from recsys.lake.contract import COMPULSORY, EVENT_TABLES, TABLES, Attribute, check_attributes, schema_of, table_of
from recsys.lake.delta import WHOLE, TableLog, TableWriter
from recsys.lake.location import Location, location
from recsys.lake.manifest import NOTHING, Manifest, TableInfo, publish, read_listing
from recsys.lake.placement import HOMES, homes_of, place

__all__ = ["Attribute", "Lake", "LakeWriter", "TableInfo"]

FLUSH_BYTES = 96 << 20
"""Rows of one table that a writer holds in memory before it writes them."""

DIGESTS = 1 << 64
"""Digests of tables are sums of row hashes below this."""


class Lake:
    """One version of a bank's tables, read only; a later version never changes what this object reads."""

    def __init__(self, place: Location, manifest: Manifest) -> None:
        self.place = place
        self.manifest = manifest
        self.logs: dict[tuple[str, int], TableLog] = {}
        """What was read so far, by table and version."""
        self._kept: dict[str, pl.DataFrame] = {}

    @classmethod
    def open(cls, path: str | Path, version: int | None = None) -> "Lake":
        """The lake in a folder or at `s3://bucket/prefix`, its newest version if none is named.

        LakeError if it is absent, half written or of an unknown form, or if that version is not listed.
        """
        place = location(path)
        return cls(place, read_listing(place).version(place, version))

    def changed(self, manifest: Manifest) -> "Lake":
        """The lake as another manifest has it; the logs of table versions that were read are not read again."""
        lake = Lake(self.place, manifest)
        lake.logs = self.logs
        return lake

    @property
    def path(self) -> str:
        """The folder, or the address."""
        return str(self.place)

    @property
    def version(self) -> int:
        return self.manifest.version

    @property
    def buckets(self) -> int:
        return self.manifest.buckets

    @property
    def currency(self) -> str | None:
        return self.manifest.currency

    @property
    def source(self) -> str:
        return self.manifest.source

    @property
    def until(self) -> date:
        """The last day that the source knows: as declared, or the day of the import."""
        return self.manifest.until

    @property
    def tables(self) -> dict[str, TableInfo]:
        return dict(self.manifest.tables)

    @property
    def last_event(self) -> date | None:
        """The day of the last dated interaction, transaction, contact or balance."""
        return self.manifest.last_event

    @property
    def as_of(self) -> date | None:
        """The day after the last event, from which everything in the lake is known; None if nothing is dated."""
        return self.last_event + timedelta(days=1) if self.last_event else None

    def identity(self) -> str:
        """16 hex digits that name this version of this lake in other files."""
        return self.manifest.identity()

    def attributes(self, table: str) -> tuple[Attribute, ...]:
        """The declared attributes of a table; none if the lake lacks the table."""
        return self.tables[table].attributes if table_of(table).name in self.tables else ()

    def schema(self, table: str) -> dict[str, pl.DataType]:
        """The columns of a table and their types, without `bucket`."""
        info = self._info(table)
        return schema_of(table, info.columns, info.attributes)

    def log(self, table: str) -> TableLog:
        """What the log of the table's version says; read once."""
        version = self._info(table).delta_version
        if (table, version) not in self.logs:
            try:
                uri = self.place.uri(self.manifest.folder, table)
                delta = DeltaTable(uri, version=version, storage_options=self.place.delta_options)
            except (DeltaError, OSError) as error:
                raise LakeError(
                    f"{self.path}: version {version} of the table {table}, which lake.json names, cannot be read: "
                    f"{self.place.said(error)}"
                ) from error
            self.logs[table, version] = TableLog.of(delta)
        return self.logs[table, version]

    def bucket(self, b: int, tables: Sequence[str] | None = None, *, once: bool = False) -> dict[str, pl.DataFrame]:
        """Bucket `b` of every table that the lake has (products and campaigns whole), without the column `bucket`.

        A joint account's rows stand in the bucket of each holder; with `once` they come only with the first of these
        buckets, so that going through all buckets meets every row once.
        """
        if not 0 <= b < self.buckets:
            raise LakeError(f"{self.path}: no bucket {b:,}; it has {self.buckets:,}, counted from 0")
        wanted = [table for table in (self.tables if tables is None else tables) if table in self.tables]
        frames = self._collect([self.rows(table, b, once=once) for table in wanted])
        return dict(zip(wanted, frames, strict=True))

    def rows(self, table: str, b: int, *, once: bool = False) -> pl.LazyFrame:
        """One table as `bucket` gives it, not yet read: select columns first, and only these are read."""
        about = table_of(table).about
        frame = self._scan(table, self.log(table).files.get(WHOLE if about == "all" else b, []))
        if once and about == "account":
            apart = self._counted_elsewhere(b)
            frame = frame.filter(~pl.col("account_id").is_in(apart.implode()).fill_null(False)) if len(apart) else frame
        return frame

    def read(self, table: str) -> pl.DataFrame:
        """The whole table, every row once, ordered by key: for small tables and for tests.

        A lake without `products`, whose bank has nothing to recommend, has an empty catalogue.
        """
        if table == "products" and table not in self.tables:
            return pl.DataFrame(schema=schema_of(table, TABLES[table].key, ()))
        if table_of(table).about == "all":
            return self.rows(table, WHOLE).collect()
        frames = [self.bucket(b, [self._name(table)], once=True)[table] for b in range(self.buckets)]
        return pl.concat(frames).sort([name for name in table_of(table).key if name in frames[0].columns])

    def scan(self, table: str) -> pl.LazyFrame:
        """The whole table with its column `bucket`, not yet read; joint accounts' rows stand in several buckets."""
        if table_of(table).about == "all":
            return self.rows(table, WHOLE)
        files = sorted(self.log(table).files.items())
        parts = [self._scan(table, part).with_columns(pl.lit(b, BUCKET).alias("bucket")) for b, part in files]
        return pl.concat(parts) if parts else self._scan(table, []).with_columns(pl.lit(0, BUCKET).alias("bucket"))

    def customers(self, ids: Sequence[str]) -> dict[str, pl.DataFrame]:
        """All rows of these customers and of their accounts, read from their buckets only; products, campaigns whole.

        Rows of a joint account come once, `account_holders` with all holders. Unknown ids have no rows.
        """
        wanted = pl.Series("customer_id", list(dict.fromkeys(ids)), dtype=pl.String)
        places = bucket_of(wanted, self.buckets)
        parts: dict[str, list[pl.DataFrame]] = {table: [] for table in self.tables}
        met = pl.Series(dtype=pl.String)
        for b in places.unique().sort():
            here = wanted.filter(places == b)
            accounts = self._accounts(b, here, met)
            met = pl.concat([met, accounts])
            tables = [table for table in self.tables if table_of(table).about != "all"]
            frames = self._collect([self.rows(table, b).filter(self._owned(table, here, accounts)) for table in tables])
            for table, frame in zip(tables, frames, strict=True):
                parts[table].append(frame)
        return {table: self._joined(table, frames) for table, frames in parts.items()}

    def _collect(self, frames: list[pl.LazyFrame]) -> list[pl.DataFrame]:
        try:
            return pl.collect_all(frames)
        except OSError as error:
            raise LakeError(f"{self.path}: cannot be read: {self.place.said(error)}") from error

    def _accounts(self, b: int, customers: pl.Series, met: pl.Series) -> pl.Series:
        if "account_holders" not in self.tables:
            return met.clear()
        held = self.rows("account_holders", b).filter(pl.col("customer_id").is_in(customers.implode()))
        accounts = held.select("account_id").unique().sort("account_id").collect()["account_id"]
        return accounts.filter(~accounts.is_in(met.implode()))

    def _owned(self, table: str, customers: pl.Series, accounts: pl.Series) -> pl.Expr:
        """Which rows belong to these customers, or to these accounts."""
        columns, about = self._info(table).columns, table_of(table).about
        owned = pl.lit(False)
        if "customer_id" in columns and table != "account_holders":
            owned = pl.col("customer_id").is_in(customers.implode())
        if about == "account" and "account_id" in columns:
            owned = owned.fill_null(False) | pl.col("account_id").is_in(accounts.implode())
        return owned

    def _joined(self, table: str, frames: list[pl.DataFrame]) -> pl.DataFrame:
        if table_of(table).about == "all":
            if table not in self._kept:
                self._kept[table] = self.rows(table, WHOLE).collect()
            return self._kept[table]
        return pl.concat(frames) if frames else pl.DataFrame(schema=self.schema(table))

    def _counted_elsewhere(self, b: int) -> pl.Series:
        """The joint accounts of this bucket that have a holder in a bucket before it."""
        if "account_holders" not in self.tables:
            return pl.Series("account_id", [], dtype=pl.String)
        several = pl.len().over("account_id") > 1
        holders = self.rows("account_holders", b).select("account_id", "customer_id").filter(several).collect()
        places = bucket_of(holders["customer_id"].fill_null(""), self.buckets)
        return holders["account_id"].filter(places < b).drop_nulls().unique()

    def _name(self, table: str) -> str:
        if table_of(table).name not in self.tables:
            raise LakeError(f"{self.path}: the lake has no table {table}; it has {', '.join(self.tables)}")
        return table

    def _info(self, table: str) -> TableInfo:
        return self.tables[self._name(table)]

    def _scan(self, table: str, paths: Sequence[str]) -> pl.LazyFrame:
        schema = self.schema(table)
        if not paths:
            return pl.LazyFrame(schema=schema)
        files = [self.place.uri(self.manifest.folder, table, path) for path in paths]
        scan = pl.scan_parquet(files, hive_partitioning=False, glob=False, **self.place.scan_options)
        return scan.select(list(schema))


class LakeWriter:
    """Writes a new lake table by table; nobody sees it before the `with` block ends well, and then whole.

    On an error the place is left as it was found. A killed writer leaves a place that `Lake.open` refuses as half
    written and that the next writer to the same place starts over.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        buckets: int = 16,
        currency: str | None = None,
        source: str = "",
        until: date | None = None,
        attributes: Mapping[str, Sequence[Attribute]] | None = None,
        last_event: date | None = None,
    ) -> None:
        """`last_event`: a day up to which events are known, where the rows to come may not have one of it."""
        self.place = location(path)
        self.buckets = check_buckets(buckets)
        self._attributes = {table: check_attributes(table, listed) for table, listed in (attributes or {}).items()}
        self._manifest = Manifest(1, buckets, currency, source, until or date.today(), last_event)
        self._waiting: dict[str, list[pl.DataFrame]] = {}
        self._holders: list[pl.DataFrame] = []
        self._homes: pl.DataFrame | None = None
        self._tables: dict[str, TableWriter] = {}
        self._written: dict[str, TableInfo] = {}
        self._columns: dict[str, tuple[str, ...]] = {}
        self._height: dict[str, int] = {}
        self._digest: dict[str, int] = {}

    def __enter__(self) -> "LakeWriter":
        self._claim = self.place.claim()
        self._manifest = replace(self._manifest, folder=self._claim.folder)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        published = False
        try:
            if kind is None:
                manifest = self.uncommitted().manifest
                for table in self._tables.values():
                    self.place.sync(table.path, table.files())
                publish(self.place, manifest, NOTHING)
                published = True
        finally:
            self._claim.release(published)

    def append(self, table: str, frame: pl.DataFrame) -> None:
        """Add rows; every call for one table brings the same columns.

        The column `bucket` is used where given (an account's rows then once per holder's bucket); otherwise it follows
        from customer_id, and for accounts from `account_holders`, all of which must have been appended before.
        Raises DataError naming every missing, unknown or wrongly typed column.
        """
        rows = conform(table, frame, self._attributes.get(table, ()))
        columns = tuple(name for name in rows.columns if name != "bucket")
        if self._columns.setdefault(table, columns) != columns:
            raise DataError(f"{table}: appended with columns {columns}, before with {self._columns[table]}")
        if table in EVENT_TABLES and "at" in columns and (last := rows["at"].max()) is not None:
            day = last.date()  # type: ignore[union-attr]
            self._manifest = replace(self._manifest, last_event=max(day, self._manifest.last_event or day))
        if table == "account_holders" and "bucket" not in rows.columns:
            if self._homes is not None:
                raise DataError("account_holders: append all of it before any other table of accounts")
            self._holders.append(rows)
            return
        homes = self._settle_holders() if TABLES[table].about == "account" else pl.DataFrame(schema=HOMES)
        self._keep(table, place(table, rows, self.buckets, homes))

    def uncommitted(self) -> Lake:
        """The lake as it would be committed now: to check it first."""
        self._settle_holders()
        for table in list(self._waiting):
            self._flush(table)
        for table in COMPULSORY:
            if table not in self._written:
                raise DataError(f"{table}: the lake has no such table, and it is compulsory")
        tables = {table: self._written[table] for table in TABLES if table in self._written}
        lake = Lake(self.place, replace(self._manifest, tables=tables))
        counted = {table: replace(info, rows=self._rows(lake, table)) for table, info in tables.items()}
        return lake.changed(replace(self._manifest, tables=counted))

    def _rows(self, lake: Lake, table: str) -> int:
        if TABLES[table].about != "account":
            return self._height[table]
        counts = [lake.rows(table, b, once=True).select(pl.len()) for b in range(self.buckets)]
        return sum(frame.item() for frame in pl.collect_all(counts))

    def _settle_holders(self) -> pl.DataFrame:
        """The homes of all accounts; writes account_holders itself."""
        if self._homes is None:
            self._homes = pl.DataFrame(schema=HOMES)
            if self._holders:
                holders = pl.concat(self._holders)
                self._homes = homes_of(holders, self.buckets)
                self._keep("account_holders", place("account_holders", holders, self.buckets, self._homes))
                self._holders = []
        return self._homes

    def _keep(self, table: str, rows: pl.DataFrame) -> None:
        self._height[table] = self._height.get(table, 0) + rows.height
        self._digest[table] = (self._digest.get(table, 0) + digest_of(rows)) % DIGESTS
        self._waiting.setdefault(table, []).append(rows)
        if sum(frame.estimated_size() for frame in self._waiting[table]) > FLUSH_BYTES:
            self._flush(table)

    def _flush(self, table: str) -> None:
        rows = pl.concat(self._waiting.pop(table))
        if table not in self._tables:
            self._tables[table] = TableWriter(self.place, self._claim.folder, table, new=True)
        written = self._tables[table]
        try:
            written.add(rows)
        except (DeltaError, OSError) as error:
            raise LakeError(f"{self.place}: {table} cannot be written: {self.place.said(error)}") from error
        self._written[table] = TableInfo(
            delta_version=written.version or 0,
            rows=self._height[table],
            columns=self._columns[table],
            attributes=self._attributes.get(table, ()),
            digest=f"{self._digest[table]:016x}",
        )


def digest_of(rows: pl.DataFrame) -> int:
    """Sum of the rows' hashes, whatever their order; `bucket` is the last column where there is one."""
    return int(rows.hash_rows(seed=0).cast(pl.Int128).sum()) % DIGESTS if rows.height else 0
