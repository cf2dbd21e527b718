"""A run over every bucket of a lake: a file for each that appears when whole, resumable to the same bytes."""

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from recsys.bundle import Bundle
from recsys.bundle.fits import check_fits, scoring_day
from recsys.durable import rename
from recsys.errors import DataError, RecsysError
from recsys.lake.parts import MEMORY, BucketReader
from recsys.lake.store import Lake
from recsys.progress import Progress
from serving.source import absolute

RUN = ".run.json"
MANIFEST = "manifest.json"
PARQUET: dict[str, Any] = {"compression": "zstd", "compression_level": 3, "statistics": True, "row_group_size": 131072}
"""Fixed, so that the same rows are the same bytes."""
COPIES = 2.0
"""What the features, vectors and answers of a bucket take at most, in sizes of its tables (measured: docs/scale.md)."""


@dataclass(frozen=True)
class Question:
    """What is asked about every customer, and how a file of answers looks."""

    options: Mapping[str, Any]
    """What the answers depend on besides bundle, lake and day; kept with the run, which only the same ones continue."""
    columns: Mapping[str, Any]
    """Name and type of every column of a file; `bundle_id` is added to the answers."""
    order: tuple[str, ...]
    """The columns by which a file is sorted."""
    answer: Callable[[dict[str, pl.DataFrame], date | None], tuple[pl.DataFrame, int]]
    """The tables of a part of a bucket, seen from a day → rows in order, and of how many customers they are."""


Ask = Callable[[Bundle, Lake, date | None], Question]
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
    memory: int
    """Bytes that a process may take."""

    def file(self, bucket: int) -> Path:
        """Where the answers for a bucket belong."""
        return self.out / f"bucket={bucket:04d}.parquet"


Engine = Callable[[Work, Sequence[int], Callable[[], None]], None]
"""Writes the files of these buckets, calling back after each."""


@dataclass(frozen=True)
class Finished:
    """A finished run: where it lies and what is in it."""

    out: Path
    bundle_id: str
    as_of: date | None
    rows: int
    customers: int
    already: bool
    """Whether everything was there before this call."""


def run_batch(
    bundle: Bundle,
    ask: Ask,
    lake_path: Path | str,
    out: Path,
    *,
    as_of: date | None = None,
    version: int | None = None,
    memory: int = MEMORY,
    engine: Engine | None = None,
    progress: Progress | None = None,
) -> Finished:
    """Write `out/bucket=NNNN.parquet` for every bucket, then `out/manifest.json`.

    A run that was cut short continues from the bucket it was in, with the day and the lake version it began with.
    One bucket is in memory at a time, or a part of it where it would not fit into `memory` bytes, while the answers
    for the one before are being written. With an `engine` other processes answer the buckets, and `memory` is each
    one's. The files depend neither on the parts nor on the engine.
    Raises ConfigError (an impossible `as_of` or `memory`), DataError (`out` belongs to another run, or to something
    else), LakeError and BundleError.
    """
    with only_writer(out):
        begun = _read_run(out)
        lake = _lake_of(lake_path, version, begun)
        check_fits(bundle, lake)
        day = scoring_day(lake, as_of) if as_of or not begun else _day(begun["as_of"])
        question = ask(bundle, lake, day)
        run = _run(bundle, lake, question.options, day)
        if begun is None:
            _publish(out / RUN, _json(run))
        else:
            _refuse_another(out, begun, run, question.options)
        files = [out / f"bucket={bucket:04d}.parquet" for bucket in range(lake.buckets)]
        already = (out / MANIFEST).exists() and all(file.exists() for file in files)
        if not already:
            if engine is None:
                found = _answers(question, BucketReader(lake, memory), day, files, progress)
                write_behind(found, question, bundle.bundle_id)
            else:
                place = (absolute(lake_path), lake.version, lake.identity())
                work = Work(bundle.path.resolve(), bundle.bundle_id, *place, day, ask, out.resolve(), memory)
                _elsewhere(engine, work, files, progress)
            _publish(out / MANIFEST, _json(_manifest(run, files)))
        manifest = json.loads((out / MANIFEST).read_text())
    return Finished(out, bundle.bundle_id, day, manifest["rows"], manifest["customers"], already)


def _answers(
    question: Question, reader: BucketReader, day: date | None, files: list[Path], progress: Progress | None
) -> Iterator[tuple[Path, list[tuple[pl.DataFrame, int]]]]:
    for bucket, file in enumerate(files):
        if progress:
            progress(bucket, len(files), "buckets")
        if not file.exists():
            yield file, [question.answer(part, day) for part in reader.parts(bucket, COPIES)]
    if progress:
        progress(len(files), len(files), "buckets")


def _elsewhere(engine: Engine, work: Work, files: list[Path], progress: Progress | None) -> None:
    """Let an engine write what is missing."""
    missing = [bucket for bucket, file in enumerate(files) if not file.exists()]
    done = len(files) - len(missing)

    def one_more() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, len(files), "buckets")

    if progress:
        progress(done, len(files), "buckets")
    engine(work, missing, one_more)


def answer_bucket(question: Question, reader: BucketReader, work: Work, bucket: int) -> None:
    """Write the answers for one bucket: what an engine does where it runs."""
    parts = [question.answer(part, work.as_of) for part in reader.parts(bucket, COPIES)]
    write_answers(work.file(bucket), parts, question, work.bundle_id)


def write_behind(
    found: Iterable[tuple[Path, list[tuple[pl.DataFrame, int]]]], question: Question, bundle_id: str
) -> None:
    """`write_answers` for each file, while the answers for the next one are being found; at most one waits."""
    with ThreadPoolExecutor(max_workers=1) as writer:
        written: Future[None] | None = None
        for file, parts in found:
            if written:
                written.result()
            written = writer.submit(write_answers, file, parts, question, bundle_id)
        if written:
            written.result()


def write_answers(path: Path, parts: list[tuple[pl.DataFrame, int]], question: Question, bundle_id: str) -> None:
    """The answers for a bucket's parts, each with its number of customers, as one file that appears when whole."""
    rows = pl.concat([rows for rows, _ in parts]).with_columns(pl.lit(bundle_id).alias("bundle_id"))
    rows = rows.select(pl.col(name).cast(dtype) for name, dtype in question.columns.items())
    if len(parts) > 1:
        rows = rows.sort(question.order)
    _publish_parquet(path, rows.rechunk(), sum(customers for _, customers in parts))


def _run(bundle: Bundle, lake: Lake, options: Mapping[str, Any], as_of: date | None) -> dict[str, Any]:
    return {
        "schema": 1,
        "bundle_id": bundle.bundle_id,
        "lake": {"identity": lake.identity(), "version": lake.version, "source": lake.source},
        "as_of": as_of.isoformat() if as_of else None,
        **options,
    }


def _manifest(run: dict[str, Any], files: list[Path]) -> dict[str, Any]:
    counts = [pl.read_parquet_metadata(file) for file in files]
    return {
        **run,
        "buckets": len(files),
        "rows": sum(int(count["rows"]) for count in counts),
        "customers": sum(int(count["customers"]) for count in counts),
    }


def _read_run(out: Path) -> dict[str, Any] | None:
    """What the run in `out` was begun with; None where nothing was begun; DataError where something else lies."""
    if (out / RUN).exists():
        try:
            run = json.loads((out / RUN).read_text())
        except ValueError:
            run = None
        if not isinstance(run, dict) or run.get("schema") != 1:
            raise DataError(f"{out / RUN}: not the record of a run; name an empty directory")
        return run
    others = sorted(path.name for path in out.iterdir() if path.name != _partial(out / RUN).name)
    if others:
        raise DataError(
            f"{out}: holds {others[0]} and no run that could be continued; name a new or an empty directory"
        )
    return None


def _lake_of(path: Path | str, version: int | None, begun: dict[str, Any] | None) -> Lake:
    """The version asked for, else the one with which the run was begun, else the newest."""
    if version is None and begun is not None:
        version = begun.get("lake", {}).get("version")
    return Lake.open(path, version)


def _refuse_another(out: Path, begun: dict[str, Any], run: dict[str, Any], options: Mapping[str, Any]) -> None:
    own = {"schema", "lake", "bundle_id", "as_of"}
    asked = {key: f"--{key}" for key in [*options, *sorted(set(begun) - set(run))] if key not in own}
    named = {"bundle_id": "bundle", "as_of": "--as-of", **asked}
    pairs = [(name, begun.get(key), run.get(key)) for key, name in named.items()]
    there, here = begun.get("lake", {}), run["lake"]
    if there.get("identity") != here["identity"]:
        pairs.insert(1, ("lake", _lake_name(there), _lake_name(here)))
    differing = [f"{name} {was} there, {now} now" for name, was, now in pairs if was != now]
    if differing:
        raise DataError(f"{out}: belongs to another run ({'; '.join(differing)}); name another directory")


def _lake_name(lake: dict[str, Any]) -> str:
    return f"{lake.get('source') or 'lake'} version {lake.get('version')} ({str(lake.get('identity'))[:12]})"


@contextmanager
def only_writer(out: Path) -> Iterator[None]:
    """Hold the directory, made if it is missing; the lock ends with the process, however it ends."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file; name a directory for the answers")
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    directory = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{out}: another process is writing into it; wait, or name another directory") from None
        yield
    except RecsysError:
        if made and not any(out.iterdir()):  # refused before anything was written
            out.rmdir()
        raise
    finally:
        os.close(directory)


def _publish_parquet(path: Path, rows: pl.DataFrame, customers: int) -> None:
    partial = _partial(path)
    counts = {"rows": str(rows.height), "customers": str(customers)}
    rows.write_parquet(partial, metadata=counts, **PARQUET)
    rename(partial, path)


def _publish(path: Path, content: bytes) -> None:
    partial = _partial(path)
    partial.write_bytes(content)
    rename(partial, path)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name.lstrip('.')}.partial")


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None
