"""A run over every bucket of a lake: a file for each that appears when whole, resumable to the same bytes."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypedDict, Unpack

import polars as pl

from recsys.bundle import Bundle
from recsys.durable import rename
from recsys.lake.parts import MEMORY
from recsys.lake.store import Lake
from recsys.progress import Progress
from serving.buckets import Engine, Work, answer_all
from serving.run_record import begin, begun_in, lake_and_day, only_writer, partial_of, publish_json, record

MANIFEST = "manifest.json"
PARQUET: dict[str, Any] = {"compression": "zstd", "compression_level": 3, "statistics": True, "row_group_size": 131072}
"""Fixed, so that the same rows are the same bytes."""
SUFFIX = ".parquet"


@dataclass(frozen=True)
class Question:
    """What is asked about every customer, and how a file of answers looks."""

    options: Mapping[str, Any]
    """What the answers depend on besides bundle, lake and day; kept with the run, which only the same ones continue."""
    columns: Mapping[str, Any]
    """Name and type of every column of a file; `bundle_id` is added to the answers."""
    order: tuple[str, ...]
    """The columns by which a file is sorted."""
    of_some: Callable[[dict[str, pl.DataFrame], date | None], tuple[pl.DataFrame, int]]
    """`answer` for tables with a customer at least."""

    def answer(self, tables: dict[str, pl.DataFrame], as_of: date | None) -> tuple[pl.DataFrame, int]:
        """The tables of a part of a bucket, seen from a day → rows in order, and of how many customers they are."""
        if tables["customers"].is_empty():
            return pl.DataFrame(schema={name: dtype for name, dtype in self.columns.items() if name != "bundle_id"}), 0
        return self.of_some(tables, as_of)

    def write(self, path: Path, parts: list[tuple[pl.DataFrame, int]], bundle_id: str) -> None:
        """The answers for a bucket's parts, each with its number of customers, as one file that appears when whole."""
        rows = pl.concat([rows for rows, _ in parts]).with_columns(pl.lit(bundle_id).alias("bundle_id"))
        rows = rows.select(pl.col(name).cast(dtype) for name, dtype in self.columns.items())
        if len(parts) > 1:
            rows = rows.sort(self.order)
        counts = {"rows": str(rows.height), "customers": str(sum(customers for _, customers in parts))}
        partial = partial_of(path)
        rows.rechunk().write_parquet(partial, metadata=counts, **PARQUET)
        rename(partial, path)


AskRows = Callable[[Bundle, Lake, date | None], Question]
"""An `Ask` whose answers are rows of a file."""


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


class How(TypedDict, total=False):
    """How a batch is run, whatever is asked."""

    as_of: date | None
    """The day from which customers are seen; by default that of the lake."""
    version: int | None
    """Of the lake; by default its newest."""
    memory: int
    """Bytes that a process may take; by default `MEMORY`."""
    engine: Engine | None
    """Where buckets are answered; by default in this process."""
    progress: Progress | None


def run_batch(bundle: Bundle, ask: AskRows, lake_path: Path | str, out: Path, **how: Unpack[How]) -> Finished:
    """Write `out/bucket=NNNN.parquet` for every bucket, then `out/manifest.json`.

    A run that was cut short continues from the bucket it was in, with the day and the lake version it began with.
    One bucket is in memory at a time, or a part of it where it would not fit into `memory` bytes, while the answers
    for the one before are being written. With an `engine` other processes answer the buckets, and `memory` is each
    one's. The files depend neither on the parts nor on the engine.
    Raises ConfigError (an impossible `as_of` or `memory`), DataError (`out` belongs to another run, or to something
    else), LakeError and BundleError.
    """
    memory, engine = how.get("memory", MEMORY), how.get("engine")
    with only_writer(out):
        begun = begun_in(out)
        lake, day = lake_and_day(bundle, lake_path, how.get("version"), how.get("as_of"), begun)
        question = ask(bundle, lake, day)
        run = record(bundle, lake, day, question.options)
        begin(out, begun, run)
        work = Work.of(bundle, lake, day, ask, out, suffix=SUFFIX, memory=memory)
        files = [work.file(bucket) for bucket in range(lake.buckets)]
        already = (out / MANIFEST).exists() and all(file.exists() for file in files)
        if not already:
            answer_all(work, question, lake, engine, how.get("progress"))
            publish_json(out / MANIFEST, _manifest(run, files))
        manifest = json.loads((out / MANIFEST).read_text())
    return Finished(out, bundle.bundle_id, day, manifest["rows"], manifest["customers"], already)


def _manifest(run: dict[str, Any], files: list[Path]) -> dict[str, Any]:
    counts = [pl.read_parquet_metadata(file) for file in files]
    return {
        **run,
        "buckets": len(files),
        "rows": sum(int(count["rows"]) for count in counts),
        "customers": sum(int(count["customers"]) for count in counts),
    }
