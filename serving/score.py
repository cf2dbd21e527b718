"""Batch scoring: every customer of a lake, bucket by bucket, resumable to the same bytes after any kill."""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from recsys.bundle import Adoption, Bundle, Recommender
from recsys.durable import rename
from recsys.errors import ConfigError, DataError
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.parts import MEMORY, BucketReader
from recsys.lake.store import Lake
from recsys.progress import Progress
from serving.source import check_fits, scoring_day

RUN = ".run.json"
MANIFEST = "manifest.json"
PARQUET: dict[str, Any] = {"compression": "zstd", "compression_level": 3, "statistics": True, "row_group_size": 131072}
"""Fixed, so that the same rows are the same bytes."""
COPIES = 2.0
"""What the features, vectors and answers of a bucket take at most, in sizes of its tables (measured: docs/scale.md)."""
COLUMNS = {
    "customer_id": pl.String,
    "rank": pl.Int32,
    "product_id": pl.String,
    "score": pl.Float32,
    "bundle_id": pl.String,
}


@dataclass(frozen=True)
class Scores:
    """A finished run: where it lies and what is in it."""

    out: Path
    bundle_id: str
    as_of: date | None
    top: int
    rows: int
    customers: int
    already: bool
    """Whether everything was there before this call."""


def score(
    bundle_path: Path | str,
    lake_path: Path | str,
    out: Path | str,
    *,
    top: int = 10,
    as_of: date | None = None,
    version: int | None = None,
    diversity: float | None = None,
    memory: int = MEMORY,
    threads: int = 2,
    progress: Progress | None = None,
) -> Scores:
    """Write `out/bucket=NNNN.parquet` for every bucket, then `out/manifest.json`.

    A run that was cut short continues from the bucket it was in, with the day and the lake version it began with.
    One bucket is in memory at a time, or a part of it where it would not fit into `memory` bytes, while the answers
    for the one before are being written. The files depend neither on the parts nor on the `threads` of the graphs.
    `diversity` is the bundle's own where it is None.
    Raises ConfigError (an impossible `top`, `as_of`, `diversity` or `memory`), DataError (`out` belongs to another
    run, or to something else), LakeError and BundleError.
    """
    if top < 1:
        raise ConfigError(f"--top {top}: each customer gets at least 1 product")
    if diversity is not None and not 0 <= diversity <= 1:
        raise ConfigError(f"--diversity {diversity:g}: from 0, by score alone, to 1")
    bundle, out = Bundle.load(bundle_path), Path(out)
    with _only_writer(out):
        begun = _read_run(out)
        lake = _lake_of(lake_path, version, begun)
        check_fits(bundle, lake)
        recommender = Recommender(bundle, threads)
        day = scoring_day(lake, as_of) if as_of or not begun else _day(begun["as_of"])
        run = _run(bundle, lake, top, day, recommender.diversity if diversity is None else diversity)
        if begun is None:
            _publish(out / RUN, _json(run))
        else:
            _refuse_another(out, begun, run)
        files = [out / f"bucket={bucket:04d}.parquet" for bucket in range(lake.buckets)]
        already = (out / MANIFEST).exists() and all(file.exists() for file in files)
        if not already:
            _write_buckets(recommender, Adoption.of(bundle, threads), BucketReader(lake, memory), run, files, progress)
            _publish(out / MANIFEST, _json(_manifest(run, files)))
        manifest = json.loads((out / MANIFEST).read_text())
    return Scores(out, bundle.bundle_id, _day(run["as_of"]), top, manifest["rows"], manifest["customers"], already)


def recommendations(
    recommender: Recommender,
    adoption: Adoption | None,
    tables: dict[str, pl.DataFrame],
    as_of: date | None,
    top: int,
    diversity: float | None = None,
) -> tuple[pl.DataFrame, int]:
    """For every customer of a bucket the columns of a file but for the bundle; and how many customers that is."""
    customers = tables["customers"]["customer_id"].unique().sort()
    if customers.is_empty():
        return pl.DataFrame(schema={n: dtype for n, dtype in columns(adoption).items() if n != "bundle_id"}), 0
    k = min(top, len(recommender.products))
    rows = features(tables, scoring_examples(customers, as_of), recommender.definition)
    ranked = recommender.ranked(rows, recommender.vectors_from_rows(rows), k, diversity)
    return ranked if adoption is None else adoption.beside(ranked, rows), len(customers)


def columns(adoption: Adoption | None) -> dict[str, Any]:
    """Name and type of every column of a file: `COLUMNS`, then the probabilities where the bundle has them."""
    return COLUMNS | dict.fromkeys(adoption.columns if adoption else (), pl.Float32)


def _write_buckets(
    recommender: Recommender,
    adoption: Adoption | None,
    reader: BucketReader,
    run: dict[str, Any],
    files: list[Path],
    progress: Progress | None,
) -> None:
    day, top, diversity = _day(run["as_of"]), run["top"], run["diversity"]

    def found() -> Iterator[tuple[Path, list[tuple[pl.DataFrame, int]]]]:
        for bucket, file in enumerate(files):
            if progress:
                progress(bucket, len(files), "buckets")
            if not file.exists():
                parts = reader.parts(bucket, COPIES)
                yield file, [recommendations(recommender, adoption, part, day, top, diversity) for part in parts]

    write_behind(found(), recommender.bundle.bundle_id, adoption)
    if progress:
        progress(len(files), len(files), "buckets")


def write_behind(
    found: Iterable[tuple[Path, list[tuple[pl.DataFrame, int]]]], bundle_id: str, adoption: Adoption | None = None
) -> None:
    """`write_scores` for each file, while the answers for the next one are being found; at most one waits."""
    with ThreadPoolExecutor(max_workers=1) as writer:
        written: Future[None] | None = None
        for file, parts in found:
            if written:
                written.result()
            written = writer.submit(write_scores, file, parts, bundle_id, adoption)
        if written:
            written.result()


def write_scores(
    path: Path, parts: list[tuple[pl.DataFrame, int]], bundle_id: str, adoption: Adoption | None = None
) -> None:
    """The answers for a bucket's parts, each with its number of customers, as one file that appears when whole."""
    rows = pl.concat([rows for rows, _ in parts]).with_columns(pl.lit(bundle_id).alias("bundle_id"))
    rows = rows.select(pl.col(name).cast(dtype) for name, dtype in columns(adoption).items())
    if len(parts) > 1:
        rows = rows.sort("customer_id", "rank")
    _publish_parquet(path, rows.rechunk(), sum(customers for _, customers in parts))


def _run(bundle: Bundle, lake: Lake, top: int, as_of: date | None, diversity: float) -> dict[str, Any]:
    return {
        "schema": 1,
        "bundle_id": bundle.bundle_id,
        "lake": {"identity": lake.identity(), "version": lake.version, "source": lake.source},
        "as_of": as_of.isoformat() if as_of else None,
        "top": top,
        "diversity": diversity,
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
            raise DataError(f"{out / RUN}: not the record of a scoring run; score into an empty directory")
        return run
    others = sorted(path.name for path in out.iterdir() if path.name != _partial(out / RUN).name)
    if others:
        raise DataError(f"{out}: holds {others[0]} and no scoring run; score into a new or an empty directory")
    return None


def _lake_of(path: Path | str, version: int | None, begun: dict[str, Any] | None) -> Lake:
    """The version asked for, else the one with which the run was begun, else the newest."""
    if version is None and begun is not None:
        version = begun.get("lake", {}).get("version")
    return Lake.open(path, version)


def _refuse_another(out: Path, begun: dict[str, Any], run: dict[str, Any]) -> None:
    named = {"bundle_id": "bundle", "as_of": "--as-of", "top": "--top", "diversity": "--diversity"}
    pairs = [(name, begun.get(key), run[key]) for key, name in named.items()]
    there, here = begun.get("lake", {}), run["lake"]
    if there.get("identity") != here["identity"]:
        pairs.insert(1, ("lake", _lake_name(there), _lake_name(here)))
    differing = [f"{name} {was} there, {now} now" for name, was, now in pairs if was != now]
    if differing:
        raise DataError(f"{out}: belongs to another run ({'; '.join(differing)}); score into another directory")


def _lake_name(lake: dict[str, Any]) -> str:
    return f"{lake.get('source') or 'lake'} version {lake.get('version')} ({str(lake.get('identity'))[:12]})"


@contextmanager
def _only_writer(out: Path) -> Iterator[None]:
    """Hold the directory, made if it is missing; the lock ends with the process, however it ends."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file; name a directory for the scores")
    out.mkdir(parents=True, exist_ok=True)
    directory = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{out}: another process is scoring into it; wait, or name another directory") from None
        yield
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
