"""Where a lake lies: a local folder, or a prefix of an object store such as `s3://bucket/bank`."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from recsys.errors import LakeError

NAME = "lake.json"
UNFINISHED = "lake.unfinished"
"""The file that stands beside a lake's tables while it is being written, and stays if the writer is killed."""


@dataclass(frozen=True)
class Content:
    """A small file as it was read."""

    data: bytes
    tag: str
    """Differs whenever the content does."""


@dataclass(frozen=True)
class DataFile:
    """A Parquet file of a table."""

    path: str
    """Relative to the table, as its Delta log writes it."""
    size: int
    modified: datetime


@dataclass(frozen=True)
class Claim:
    """A writer's hold on a place for a new lake."""

    folder: str
    """Where below the place its tables go; empty: directly there."""
    release: Callable[[bool], None]
    """Give the place up: tidy if the lake was published, else as it was found."""


class Location(Protocol):
    """A folder or a prefix; `str` of it is what the user wrote. Raises LakeError wherever it cannot be used."""

    delta_options: dict[str, str] | None
    """Storage options for the Delta library."""
    scan_options: dict[str, Any]
    """Further arguments of `polars.scan_parquet`."""

    def uri(self, *names: str) -> str:
        """What lies below, as the Delta library and Polars find it; empty names are left out."""

    def read(self, name: str) -> Content | None:
        """A small file, or None if there is none."""

    def replace(self, name: str, data: bytes, tag: str | None) -> str:
        """Replace a small file whole, if it still has this tag (None: if there is none); its new tag.

        LakeError if it has not.
        """

    def absent(self) -> str:
        """Why there is no lake here, as a sentence."""

    def claim(self) -> Claim:
        """Take the place for a new lake; LakeError if it is a lake already, holds something else, or is taken."""

    def hold(self) -> Callable[[], None]:
        """Shut other writers out if there are locks here, and how to let them in again."""

    def sync(self, table: str, files: Collection[str]) -> None:
        """Have these files of a table and its log where a crash cannot harm them."""

    def files(self, table: str) -> Iterator[DataFile]:
        """All Parquet files below a table, whoever wrote them."""

    def unused_before(self) -> datetime:
        """A file from before this moment that no listed version names belongs to no writer at work."""

    def remove(self, table: str, files: Iterable[str]) -> None:
        """Delete files of a table."""

    def drafting(self) -> AbstractContextManager[Path]:
        """A local folder whose files are what lies here once the block has ended well."""

    def said(self, error: BaseException) -> str:
        """An error of a library for people, without credentials."""


def location(path: "str | Path | Location") -> Location:
    """The place that a user names: a folder, or `s3://bucket/prefix`; LakeError for an address of another kind."""
    from recsys.lake.folder import Folder

    if not isinstance(path, str | Path):
        return path
    if isinstance(path, str) and "://" in path:
        from recsys.lake.object_store import Prefix

        return Prefix.parse(path)
    return Folder(Path(path))


def overtaken(place: object) -> LakeError:
    """The error of a writer that met another one."""
    return LakeError(f"{place}: another writer is changing it at this moment; wait, then try again")
