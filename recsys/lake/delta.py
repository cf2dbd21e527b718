"""Delta tables: what the log of a version says, and the one writer whose every commit must be the very next version."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import polars as pl
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from recsys.lake.contract import TABLES
from recsys.lake.location import Location, overtaken

CONFIGURATION = {"delta.enableExpiredLogCleanup": "false"}
"""The log entries of the versions that lake.json lists are never removed by their age."""

AT_ONCE = CommitProperties(max_commit_retries=0)
"""A commit is tried as the next version and as no other: it never steps over a stranger's."""

WHOLE = -1
"""Stands for the bucket of a table that is not partitioned."""


@dataclass(frozen=True)
class TableLog:
    """What the log of one version of a table says."""

    schema: Mapping[str, pl.DataType]
    """Columns and types, without `bucket`."""
    files: Mapping[int, Sequence[str]]
    """Paths below the table by bucket, in the order of writing: equal imports read equal rows in equal order."""

    @classmethod
    def of(cls, delta: DeltaTable) -> "TableLog":
        empty = pl.DataFrame(delta.schema().to_arrow().empty_table())
        actions = pl.DataFrame(delta.get_add_actions(flatten=True))
        files: dict[int, list[str]] = {}
        partition = "partition.bucket"
        if partition not in actions.columns:
            actions = actions.with_columns(pl.lit(WHOLE).alias(partition))
        for bucket, path in actions.sort("modification_time", "path").select(partition, "path").iter_rows():
            files.setdefault(bucket, []).append(path)
        return cls({name: dtype for name, dtype in empty.schema.items() if name != "bucket"}, files)

    def paths(self) -> set[str]:
        """The data files of all buckets."""
        return {path for part in self.files.values() for path in part}


class TableWriter:
    """The newest version of a table, and the commits that follow it.

    Raises LakeError if another writer has committed in between; then nothing of this writer's is committed any more.
    DeltaError and OSError are the caller's to explain.
    """

    def __init__(self, place: Location, folder: str, name: str, *, new: bool = False) -> None:
        self.place = place
        self.path = f"{folder}/{name}" if folder else name
        self.changed = False
        """Whether anything was committed."""
        self._partition = None if TABLES[name].about == "all" else ["bucket"]
        self._delta = None if new else self._open()
        self._abandoned = False

    @property
    def version(self) -> int | None:
        """The newest version of the table; None where there is no table yet."""
        return self._delta.version() if self._delta else None

    def log(self) -> TableLog | None:
        """What the log of the newest version says; None where there is no table yet."""
        return TableLog.of(self._delta) if self._delta else None

    def files(self, version: int | None = None) -> set[str]:
        """The data files of the newest version or of another one, relative to the table."""
        if self._delta is None:
            return set()
        delta = self._delta if version in (None, self.version) else self._open(version)
        return TableLog.of(delta).paths() if delta else set()

    def abandon(self) -> None:
        """What the table holds was never published: the next rows take its place."""
        self._abandoned = self._delta is not None

    def add(self, rows: pl.DataFrame) -> None:
        """Commit more rows (with their column `bucket` where the table is partitioned)."""
        if self._delta is None:
            self._create(rows)
        elif self._abandoned:
            self._overwrite(rows, None, schema_mode="overwrite")
        else:
            with self._next() as delta:
                write_deltalake(
                    delta,
                    rows,
                    mode="append",
                    partition_by=self._partition,
                    configuration=CONFIGURATION,
                    commit_properties=AT_ONCE,
                )

    def replace(self, rows: pl.DataFrame, bucket: int | None = None) -> None:
        """Commit rows in place of all rows of a bucket, or of the whole table."""
        self._overwrite(rows, None if bucket is None else f"bucket = {bucket}")

    def restore(self, version: int) -> None:
        """Commit the state of an earlier version, unless the table is in it."""
        if self.version != version and self.files() != self.files(version):
            with self._next() as delta:
                delta.restore(version, commit_properties=AT_ONCE)

    def compact(self) -> tuple[int, int]:
        """Join the small files of each bucket; how many files there were, and are."""
        before = self.files()
        version = self.version
        if len(before) < 2 or self._delta is None:
            return len(before), len(before)
        found = self._delta.optimize.compact(commit_properties=AT_ONCE)
        # The Delta library goes on to the newest version there is, and joins what it finds: ours must be the next one.
        if self._delta.version() != (version or 0) + (found["numFilesAdded"] > 0):
            raise overtaken(self.place)
        self.changed = self.changed or self.version != version
        return len(before), len(self.files())

    def _create(self, rows: pl.DataFrame) -> None:
        uri = self.place.uri(self.path)
        try:
            write_deltalake(
                uri,
                rows,
                mode="error",
                partition_by=self._partition,
                configuration=CONFIGURATION,
                commit_properties=AT_ONCE,
                storage_options=self.place.delta_options,
            )
        except CommitFailedError:
            raise overtaken(self.place) from None
        except DeltaError as error:
            if "already exists" in str(error):
                raise overtaken(self.place) from None
            raise
        self._delta, self.changed = self._open(0), True

    def _overwrite(
        self, rows: pl.DataFrame, predicate: str | None, schema_mode: Literal["overwrite"] | None = None
    ) -> None:
        with self._next() as delta:
            write_deltalake(
                delta,
                rows,
                mode="overwrite",
                partition_by=self._partition,
                configuration=CONFIGURATION,
                commit_properties=AT_ONCE,
                predicate=predicate,
                schema_mode=schema_mode,
            )
        self._abandoned = False

    @contextmanager
    def _next(self) -> Iterator[DeltaTable]:
        assert self._delta is not None
        following = self._delta.version() + 1
        try:
            yield self._delta
        except CommitFailedError as error:
            raise overtaken(self.place) from error
        if self._delta.version() != following:
            raise overtaken(self.place)
        self.changed = True

    def _open(self, version: int | None = None) -> DeltaTable | None:
        try:
            return DeltaTable(self.place.uri(self.path), version=version, storage_options=self.place.delta_options)
        except TableNotFoundError:
            if version is not None:
                raise
            return None


def listed_files(place: Location, table: str, versions: Collection[int]) -> set[str]:
    """The data files of these versions of a table, relative to it."""
    found: set[str] = set()
    for version in versions:
        delta = DeltaTable(place.uri(table), version=version, storage_options=place.delta_options)
        found |= TableLog.of(delta).paths()
    return found
