"""A question asked of every bucket of a lake, by this process or others: what is kept of each appears when whole."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from recsys.bundle import Bundle
from recsys.lake.parts import BucketReader
from recsys.lake.store import Lake
from recsys.progress import Progress
from serving.source import absolute

COPIES = 2.0
"""What the features, vectors and answers of a bucket take at most, in sizes of its tables (measured: docs/scale.md)."""


class Asked(Protocol):
    """What is asked about the customers of a bucket, and how the answers are kept."""

    @property
    def answer(self) -> Callable[[dict[str, pl.DataFrame], date | None], Any]:
        """The tables of a part of a bucket, seen from a day → the answers for it."""

    @property
    def write(self) -> Callable[[Path, list[Any], str], None]:
        """The answers for a bucket's parts, and the bundle's id, kept under a name that appears when all is there."""


Ask = Callable[[Bundle, Lake, date | None], Asked]
"""What is asked of a bundle, a lake and a day. A cluster's workers are sent it, so it pickles: a function of a module,
or a `functools.partial` of one."""


@dataclass(frozen=True)
class Work:
    """What a worker on any machine needs to know of a run, to answer a bucket as the others do."""

    bundle_path: Path
    bundle_id: str
    lake_path: str
    lake_version: int
    lake_identity: str
    as_of: date | None
    ask: Ask
    out: Path
    suffix: str
    """How the names in `out` end: of a file, or empty for a folder."""
    memory: int
    """Bytes that a process may take."""

    @classmethod
    def of(
        cls, bundle: Bundle, lake: Lake, as_of: date | None, ask: Ask, out: Path, *, suffix: str, memory: int
    ) -> "Work":
        """The work on an open bundle and lake, under names that hold in other processes."""
        place = (absolute(lake.path), lake.version, lake.identity())
        return cls(bundle.path.resolve(), bundle.bundle_id, *place, as_of, ask, out.resolve(), suffix, memory)

    def file(self, bucket: int) -> Path:
        """Where the answers for a bucket belong."""
        return self.out / f"bucket={bucket:04d}{self.suffix}"


Engine = Callable[[Work, Sequence[int], Callable[[], None]], None]
"""Answers these buckets, calling back after each."""


def answer_all(
    work: Work, asked: Asked, lake: Lake, engine: Engine | None, progress: Progress | None, said: str = "buckets"
) -> None:
    """Answer every bucket of which nothing is kept yet, in this process or by an engine; `said` is what is counted.

    One bucket is in memory at a time, or a part of it where it would not fit, while the answers for the one before
    are being written.
    """
    if engine is None:
        write_behind(_answers(work, asked, lake, progress, said), asked, work.bundle_id)
        return
    missing = [bucket for bucket in range(lake.buckets) if not work.file(bucket).exists()]
    done = lake.buckets - len(missing)

    def one_more() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, lake.buckets, said)

    if progress:
        progress(done, lake.buckets, said)
    engine(work, missing, one_more)


def _answers(
    work: Work, asked: Asked, lake: Lake, progress: Progress | None, said: str
) -> Iterator[tuple[Path, list[Any]]]:
    reader = BucketReader(lake, work.memory)
    for bucket in range(lake.buckets):
        if progress:
            progress(bucket, lake.buckets, said)
        if not work.file(bucket).exists():
            yield work.file(bucket), _parts(asked, reader, work, bucket)
    if progress:
        progress(lake.buckets, lake.buckets, said)


def answer_bucket(asked: Asked, reader: BucketReader, work: Work, bucket: int) -> None:
    """Answer one bucket and keep it: what an engine does where it runs."""
    asked.write(work.file(bucket), _parts(asked, reader, work, bucket), work.bundle_id)


def _parts(asked: Asked, reader: BucketReader, work: Work, bucket: int) -> list[Any]:
    return [asked.answer(part, work.as_of) for part in reader.parts(bucket, COPIES)]


def write_behind(found: Iterable[tuple[Path, list[Any]]], asked: Asked, bundle_id: str) -> None:
    """Keep the answers for each bucket while those for the next one are being found; at most one waits."""
    with ThreadPoolExecutor(max_workers=1) as writer:
        written: Future[None] | None = None
        for file, parts in found:
            if written:
                written.result()
            written = writer.submit(asked.write, file, parts, bundle_id)
        if written:
            written.result()
