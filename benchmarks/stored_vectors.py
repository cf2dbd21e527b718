"""A million customers × 1,000 products from stored vectors to ranked files, beside a bare ONNX MatMul and TopK."""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.measure import ROOT, arguments, peak_mib, write
from benchmarks.scoring import SETTINGS, TOP, bare_session, catalogue
from recsys.bundle import Bundle, Recommender
from recsys.lake.store import Lake
from recsys.progress import progress_bar
from training.config import load_config
from training.fit import train

THREADS = 2
BARE = ((512, 1), (1024, 1), (4096, 1), (512, 2), (1024, 2), (4096, 2))
"""Rows in one run and threads of the bare graph; its best counts."""


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--products", type=int, default=1000)
    parser.add_argument("--buckets", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--step", choices=("store", "rank", "bare"), help="internal: one step, as JSON")
    parser.add_argument("--bundle", help="internal")
    options = parser.parse_args()
    if options.step:
        print(json.dumps(_step(options)))
        return
    with progress_bar("Making the bank"):
        lake = catalogue(options.work, options.customers, options.products, options.buckets)
    with progress_bar("Training") as progress:
        bundle = train(load_config("demo", [*SETTINGS, *options.set]), lake, options.work / "bundles", progress)
    found: dict[str, list[dict[str, float]]] = {"store": [_apart("store", bundle, options)], "rank": [], "bare": []}
    with progress_bar("Ranking") as progress:
        for repeat in range(options.repeats):
            progress(repeat, options.repeats, "turns")
            for step in ("rank", "bare"):
                found[step].append(_apart(step, bundle, options))
    results = {"customers": options.customers, "products": options.products, "buckets": options.buckets, **found}
    write("stored_vectors", "From stored vectors to ranked files", _text(results), results)


def _apart(step: str, bundle: Path, options: argparse.Namespace) -> dict[str, float]:
    """One step in a process of its own, so that its memory is its own."""
    command = [sys.executable, "-m", "benchmarks.stored_vectors", "--step", step, "--bundle", str(bundle)]
    command += ["--work", str(options.work), "--customers", str(options.customers)]
    command += ["--products", str(options.products), "--buckets", str(options.buckets)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    print(step, found, file=sys.stderr)
    return found


def _step(options: argparse.Namespace) -> dict[str, float]:
    bundle, folder = Bundle.load(options.bundle), options.work / "stored-vectors"
    steps = {"store": _store, "rank": _rank, "bare": _bare}
    lake = catalogue(options.work, options.customers, options.products, options.buckets)
    return steps[options.step](bundle, lake, folder)


def _store(bundle: Bundle, lake: Lake, folder: Path) -> dict[str, float]:
    """Write everybody's vectors, and what they hold, bucket by bucket; seconds of each step before."""
    from recsys.features.examples import scoring_examples
    from recsys.features.features import features

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    recommender = Recommender(bundle, THREADS)
    seconds = dict.fromkeys(("read", "features", "tower", "store"), 0.0)
    for bucket in range(lake.buckets):
        marks = [time.perf_counter()]
        tables = lake.bucket(bucket)
        marks.append(time.perf_counter())
        ids = tables["customers"]["customer_id"].sort()
        rows = features(tables, scoring_examples(ids, lake.as_of), bundle.definition)
        marks.append(time.perf_counter())
        vectors = recommender.vectors_from_rows(rows)
        marks.append(time.perf_counter())
        np.save(folder / f"{bucket:04d}.npy", vectors)
        held = rows.select("customer_id", "holdings")
        held.write_parquet(folder / f"{bucket:04d}.parquet", compression="uncompressed")  # as the vectors are
        marks.append(time.perf_counter())
        for name, began, ended in zip(seconds, marks[:-1], marks[1:], strict=True):
            seconds[name] += ended - began
    return {**seconds, "peak_mib": peak_mib()}


def _rank(bundle: Bundle, lake: Lake, folder: Path) -> dict[str, float]:
    """Seconds from the stored vectors to the ranked files, one bucket ranked while the next is read and the last is
    written."""
    from serving.buckets import write_behind
    from serving.score import recommending

    recommender = Recommender(bundle, THREADS)
    question = recommending(recommender, None, TOP, 0.0)
    out = folder.with_name("stored-vectors-ranked")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()

    def read(bucket: int) -> tuple[pl.DataFrame, np.ndarray]:
        return pl.read_parquet(folder / f"{bucket:04d}.parquet"), np.load(folder / f"{bucket:04d}.npy")

    def found() -> Iterator[tuple[Path, list[tuple[pl.DataFrame, int]]]]:
        with ThreadPoolExecutor(max_workers=1) as reader:
            ready = reader.submit(read, 0)
            for bucket in range(lake.buckets):
                rows, vectors = ready.result()
                if bucket + 1 < lake.buckets:
                    ready = reader.submit(read, bucket + 1)
                yield out / f"bucket={bucket:04d}.parquet", [(recommender.ranked(rows, vectors, TOP), rows.height)]

    began = time.perf_counter()
    write_behind(found(), question, bundle.bundle_id)
    seconds = time.perf_counter() - began
    shutil.rmtree(out)
    return {"seconds": seconds, "peak_mib": peak_mib()}


def _bare(bundle: Bundle, lake: Lake, folder: Path) -> dict[str, float]:
    """Seconds of MatMul and TopK alone over the same stored vectors, nothing left out and nothing kept, at its best."""
    products = Recommender(bundle).product_vectors
    table, k = np.ascontiguousarray(products.T), np.array([TOP])
    best = np.inf
    for batch, threads in BARE:
        session = bare_session(products.shape, threads)
        began = time.perf_counter()
        for bucket in range(lake.buckets):
            vectors = np.load(folder / f"{bucket:04d}.npy")
            for start in range(0, len(vectors), batch):
                session.run(None, {"customers": vectors[start : start + batch], "products": table, "k": k})
        best = min(best, time.perf_counter() - began)
    return {"seconds": best, "peak_mib": peak_mib()}


def _text(results: dict[str, Any]) -> str:
    customers, store = results["customers"], results["store"][0]
    ranked, bare = ([run["seconds"] for run in results[step]] for step in ("rank", "bare"))
    ratios = [b / r for r, b in zip(ranked, bare, strict=True)]
    said = {
        "read the lake's files": store["read"],
        "feature rows": store["features"],
        "encode, customer tower (ONNX)": store["tower"],
        "store vectors and holdings": store["store"],
        "**stored vectors → ranked files**": statistics.median(ranked),
        "bare MatMul + TopK on the same vectors": statistics.median(bare),
    }
    lines = ["| step | seconds | customers per second |", "|---|---|---|"]
    lines += [f"| {name} | {value:.1f} | {customers / value:,.0f} |" for name, value in said.items()]
    memory = max(run["peak_mib"] for run in results["rank"])
    return (
        f"{customers:,} customers in {results['buckets']} buckets, {results['products']:,} products, top {TOP}, "
        f"products held left out; {len(ranked)} turns, each step in a process of its own, medians. The bare graph has "
        f"its best of {len(BARE)} batch sizes and numbers of threads.\n\n"
        + "\n".join(lines)
        + f"\n\nStored vectors become ranked files at {statistics.median(ratios):.2f} of the bare graph's rate "
        f"(median; {min(ratios):.2f} to {max(ratios):.2f}). Ranking took at most {memory:,.0f} MiB of memory, and "
        f"making the vectors {store['peak_mib']:,.0f} MiB."
    )


if __name__ == "__main__":
    main()
