"""A change of a lake that exists: one writer, from the listed state of every table to a new version of all of them."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import polars as pl
from deltalake.exceptions import DeltaError

from recsys.errors import LakeError
from recsys.lake.contract import TABLES
from recsys.lake.delta import TableWriter
from recsys.lake.location import Location, location
from recsys.lake.manifest import Listing, Manifest, TableInfo, publish, read_listing
from recsys.lake.store import Lake

__all__ = ["LakeUpdate"]


class LakeUpdate:
    """Holds a lake for one writer; what it writes is seen by nobody before `publish`, and then whole.

    A writer that was killed leaves commits that lake.json does not name: they are undone before anything is written.
    Raises LakeError if another writer holds the lake, commits to it or publishes meanwhile, or if it cannot be
    written.
    """

    def __init__(self, path: str | Path) -> None:
        self.place: Location = location(path)

    def __enter__(self) -> "LakeUpdate":
        read_listing(self.place)
        self._let_go = self.place.hold()
        try:
            self._listing: Listing = read_listing(self.place)
            self.manifest: Manifest = self._listing.version(self.place)
            self._lake = Lake(self.place, self.manifest)
            self._tables = {name: self._restored(name) for name in TABLES}
        except BaseException:
            self._let_go()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if error is not None:
                self._undo()
        finally:
            self._let_go()
        if isinstance(error, DeltaError | OSError) and not isinstance(error, LakeError):
            said = self.place.said(error)
            raise LakeError(f"{self.place}: cannot be written, and stays as it was: {said}") from error

    @property
    def lake(self) -> Lake:
        """The lake as it is before the change."""
        return self._lake.changed(self.manifest)

    def add(self, table: str, rows: pl.DataFrame) -> None:
        """Commit more rows (with their column `bucket` where the table is partitioned)."""
        self._tables[table].add(rows)

    def replace(self, table: str, rows: pl.DataFrame, bucket: int | None = None) -> None:
        """Commit rows in place of all rows of a bucket, or of the whole table."""
        self._tables[table].replace(rows, bucket)

    def compact(self, table: str) -> tuple[int, int]:
        """Join the small files of each bucket of a table; how many files there were, and are."""
        return self._tables[table].compact()

    def version_of(self, table: str) -> int:
        """The newest committed version of a table's Delta log."""
        return self._tables[table].version or 0

    def candidate(self, tables: Mapping[str, TableInfo], **changes: object) -> Lake:
        """The lake as it would be published: to check it first."""
        ordered = {name: tables[name] for name in TABLES if name in tables}
        manifest = replace(self.manifest, version=self.manifest.version + 1, tables=ordered, **changes)  # type: ignore
        lake = self._lake.changed(manifest)
        for name, info in ordered.items():
            log = self._tables[name].log() if info != self.manifest.tables.get(name) else None
            if log and self._tables[name].version == info.delta_version:
                lake.logs[name, info.delta_version] = log
        return lake

    def publish(self, lake: Lake) -> None:
        """Make a candidate the lake's newest version, after everything that it names is on the disk."""
        for name, info in lake.tables.items():
            before, table = self.manifest.tables.get(name), self._tables[name]
            if before != info:
                known = self.lake.log(name).paths() if before else set()
                self.place.sync(table.path, lake.log(name).paths() - known)
        self._listing = publish(self.place, lake.manifest, self._listing)
        self.manifest = lake.manifest

    def _restored(self, name: str) -> TableWriter:
        """A table of the lake, without what a killed writer committed: it stands again where lake.json says."""
        table, info = TableWriter(self.place, self.manifest.folder, name), self.manifest.tables.get(name)
        if info is None:
            table.abandon()
            return table
        try:
            table.restore(info.delta_version)
        except (DeltaError, OSError) as error:
            raise LakeError(
                f"{self.place}: version {info.delta_version} of {name}, which lake.json names, cannot be restored: "
                f"{self.place.said(error)}"
            ) from error
        if table.version is None:
            raise LakeError(f"{self.place}: the table {name}, which lake.json names, is not there")
        table.changed = False
        return table

    def _undo(self) -> None:
        """Take back what this writer committed, unless another one has gone on from there; the next one does it too."""
        for name, info in self.manifest.tables.items():
            if self._tables[name].changed:
                with suppress(LakeError, DeltaError, OSError):
                    self._tables[name].restore(info.delta_version)
