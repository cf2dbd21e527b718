"""A change of a lake that exists: one writer, from the listed state of every table to a new version of all of them."""

import fcntl
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import polars as pl
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from recsys.errors import LakeError
from recsys.lake.claim import check_path
from recsys.lake.contract import TABLES
from recsys.lake.manifest import Manifest, TableInfo, read_manifest, read_manifests, write_manifest
from recsys.lake.store import CONFIGURATION, Lake, files_of, sync_table

__all__ = ["LakeUpdate"]


class LakeUpdate:
    """Holds a lake for one writer; what it writes is seen by nobody before `publish`, and then whole.

    A writer that was killed leaves commits that lake.json does not name: they are undone before anything is written.
    Raises LakeError if another writer holds the lake, or if its disk cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __enter__(self) -> "LakeUpdate":
        check_path(self.path)
        read_manifest(self.path)
        self._lock = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise LakeError(
                f"{self.path}: another writer is changing it at this moment; wait, then try again"
            ) from None
        except OSError:
            pass  # a file system without locks: two writers at once are then not told apart
        try:
            self.manifest: Manifest = read_manifest(self.path)
            self._restore()
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if error is not None:
                with suppress(LakeError, DeltaError, OSError):  # the next writer does it otherwise
                    self._restore()
        finally:
            os.close(self._lock)
        if isinstance(error, DeltaError | OSError) and not isinstance(error, LakeError):
            raise LakeError(f"{self.path}: cannot be written, and stays as it was: {error}") from error

    @property
    def lake(self) -> Lake:
        """The lake as it is before the change."""
        return Lake(str(self.path), self.manifest)

    def add(self, table: str, rows: pl.DataFrame) -> None:
        """Commit more rows (with their column `bucket` where the table is partitioned)."""
        write_deltalake(
            self.path / table, rows, mode="append", partition_by=partition_of(table), configuration=CONFIGURATION
        )

    def replace(self, table: str, rows: pl.DataFrame, bucket: int | None = None) -> None:
        """Commit rows in place of all rows of a bucket, or of the whole table."""
        predicate = None if bucket is None else f"bucket = {bucket}"
        write_deltalake(
            self.path / table,
            rows,
            mode="overwrite",
            predicate=predicate,
            partition_by=partition_of(table),
            configuration=CONFIGURATION,
        )

    def version_of(self, table: str) -> int:
        """The newest committed version of a table's Delta log."""
        return DeltaTable(self.path / table).version()

    def candidate(self, tables: Mapping[str, TableInfo], **changes: object) -> Lake:
        """The lake as it would be published: to check it first."""
        ordered = {name: tables[name] for name in TABLES if name in tables}
        manifest = replace(self.manifest, version=self.manifest.version + 1, tables=ordered, **changes)  # type: ignore
        return Lake(str(self.path), manifest)

    def publish(self, lake: Lake) -> None:
        """Make a candidate the lake's newest version, after everything that it names is on the disk."""
        for table, info in lake.tables.items():
            if self.manifest.tables.get(table) != info:
                sync_table(self.path / table, self._known_files(table))
        write_manifest(self.path, lake.manifest)
        self.manifest = lake.manifest

    def _restore(self) -> None:
        """Undo what a killed writer committed: the Delta tables stand again where lake.json says."""
        listed = {name for manifest in read_manifests(self.path) for name in manifest.tables}
        for table in TABLES:
            folder = self.path / table
            if table not in self.manifest.tables:
                if folder.exists() and table not in listed:
                    shutil.rmtree(folder)
                continue
            named = self.manifest.tables[table].delta_version
            try:
                delta = DeltaTable(folder)
                if delta.version() != named and files_of(folder) != files_of(folder, named):
                    delta.restore(named)
            except (DeltaError, OSError) as error:
                raise LakeError(
                    f"{folder}: version {named}, which lake.json names, cannot be restored: {error}"
                ) from error

    def _known_files(self, table: str) -> set[Path]:
        if table not in self.manifest.tables:
            return set()
        return files_of(self.path / table, self.manifest.tables[table].delta_version)


def partition_of(table: str) -> list[str] | None:
    """The partitioning of a table's files: by bucket unless it is about nobody."""
    return None if TABLES[table].about == "all" else ["bucket"]
