"""Batch scoring by one process and by Ray's workers: buckets per second, and whether the files are the same."""

import argparse
import asyncio
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.http_load import Answer, asking, request
from benchmarks.measure import ROOT, arguments, synthetic_bank, trained, write
from benchmarks.serving_parts import ours
from recsys.bundle import Bundle
from recsys.lake.store import Lake
from recsys.progress import progress_bar
from serving.engine import Engines, engine_of
from serving.score import score

PARTS = ("engines", "same")
SETTINGS = [
    "embedding=null",
    "segments=null",
    "churn=null",
    "training.customers=5000",
    "training.epochs=1",
    "evaluation.snapshots=2",
    "adoption.epochs=1",
    "adoption.examples=5000",
]
"""What is trained is as large as the demo's, and learns little: its answers are timed and compared, not judged."""
TOP = 10
CORES, HOURS = 64, 3600


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--customers", type=int, default=80_000)
    parser.add_argument("--buckets", type=int, default=64)
    parser.add_argument("--same", type=int, default=10_000, help="customers whose lists are compared")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--run", help="internal: one run, as JSON")
    options = parser.parse_args()
    if options.run:
        print(json.dumps(_run(**json.loads(options.run))))
        return
    lake = synthetic_bank(options.customers, 0, options.work, options.buckets)
    bundle = trained("demo", lake, options.work, [*SETTINGS, *options.set])
    results: dict[str, Any] = {"customers": options.customers, "buckets": lake.buckets, "top": TOP}
    if "engines" in options.only:
        results["engines"] = _engines(options, bundle, lake)
    if "same" in options.only:
        results["same"] = _same(options, bundle, lake)
    write("cluster", "Scoring by one process and by Ray's workers", _text(results), results)


def _engines(options: argparse.Namespace, bundle: Bundle, lake: Lake) -> list[dict[str, Any]]:
    """Every engine and number of workers, in turns, each run in a process of its own."""
    ways: list[int | None] = [None, *options.workers]
    runs, digests = [], set()
    with progress_bar("Scoring") as progress:
        for repeat in range(options.repeats):
            for place, workers in enumerate(ways):
                progress(repeat * len(ways) + place, options.repeats * len(ways), f"runs; {workers or 'no'} workers")
                found = _apart(bundle.path, lake, options.work / "cluster-files", workers)
                digests.add(found.pop("digest"))
                runs.append({"workers": workers, **found})
    if len(digests) != 1:
        raise SystemExit("the engines wrote different files")
    return runs


def _apart(bundle: Path, lake: Lake, out: Path, workers: int | None) -> dict[str, Any]:
    asked = {"bundle": str(bundle), "lake": lake.path, "out": str(out), "workers": workers}
    command = [sys.executable, "-m", "benchmarks.cluster", "--run", json.dumps(asked)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _run(bundle: str, lake: str, out: str, workers: int | None) -> dict[str, Any]:
    """Seconds of scoring everybody with one thread a process, and the rate once every worker has answered a bucket."""
    shutil.rmtree(out, ignore_errors=True)
    began, ends = time.perf_counter(), dict[int, float]()

    def answered(count: int, buckets: int, what: str) -> None:
        ends.setdefault(count, time.perf_counter() - began)

    engine = engine_of(Engines.local if workers is None else Engines.ray, workers, None, 1)
    done = score(bundle, lake, Path(out), top=TOP, threads=1, engine=engine, progress=answered)
    seconds = time.perf_counter() - began
    files = sorted(Path(out).iterdir())
    digest = hashlib.sha256(b"".join(file.name.encode() + file.read_bytes() for file in files)).hexdigest()
    shutil.rmtree(out)
    buckets, first = max(ends), workers or 1
    rate = (buckets - first) / (ends[buckets] - ends[first])
    return {
        "first": ends[first],
        "seconds": seconds,
        "buckets_per_second": rate,
        "customers_per_second": rate * done.customers / buckets,
        "digest": digest,
    }


def _same(options: argparse.Namespace, bundle: Bundle, lake: Lake) -> dict[str, int]:
    """How many customers get the same list from the batch, from Ray's workers and over HTTP, scores to the last bit."""
    lists = {name: _lists(bundle, lake, options.work / f"same-{name}", n) for name, n in (("batch", None), ("ray", 2))}
    ids = lake.read("customers")["customer_id"].unique().sort().head(options.same).to_list()
    wires = [request("/recommend", json.dumps({"customer_id": name, "k": TOP}).encode()) for name in ids]
    told: dict[str, list[tuple[str, float]]] = {}
    with ours(str(bundle.path), "--lake", lake.path, workers=1) as server, progress_bar("Asking") as progress:

        def kept(answer: Answer) -> None:
            progress(int(answer.due), len(ids), "customers")
            if answer.status != 200:
                raise SystemExit(f"{ids[int(answer.due)]}: {answer.status}: {answer.body.decode(errors='replace')}")
            items = json.loads(answer.body)["items"]
            told[ids[int(answer.due)]] = [(item["product_id"], float(np.float32(item["score"]))) for item in items]

        asyncio.run(asking(server.port, wires, 4, lambda number: number < len(wires), kept))
    batch = [lists["batch"].get(name, []) for name in ids]
    return {
        "customers": len(ids),
        "ray": sum(lists["ray"].get(name, []) == right for name, right in zip(ids, batch, strict=True)),
        "request": sum(told[name] == right for name, right in zip(ids, batch, strict=True)),
        "listed": sum(map(len, batch)),
    }


def _lists(bundle: Bundle, lake: Lake, out: Path, workers: int | None) -> dict[str, list[tuple[str, float]]]:
    """Customer → products and scores in order, as `recsys score` writes them."""
    shutil.rmtree(out, ignore_errors=True)
    engine = engine_of(Engines.local if workers is None else Engines.ray, workers, None, 1)
    with progress_bar("Scoring") as progress:
        score(bundle.path, lake.path, out, top=TOP, threads=1, engine=engine, progress=progress)
    rows = pl.read_parquet(out / "bucket=*.parquet", columns=["customer_id", "product_id", "score"])
    shutil.rmtree(out)
    found: dict[str, list[tuple[str, float]]] = {}
    for customer, product, value in rows.iter_rows():
        found.setdefault(customer, []).append((product, value))
    return found


def _text(results: dict[str, Any]) -> str:
    parts = []
    if runs := results.get("engines"):
        parts.append(_table(results, runs))
    if same := results.get("same"):
        parts.append(
            f"Of {same['customers']:,} customers with {same['listed']:,} products, {same['ray']:,} get the same "
            "products in the same order with the same scores, to the last bit, from two Ray workers as from one "
            f"process, and {same['request']:,} from single requests over HTTP."
        )
    return "\n\n".join(parts)


def _table(results: dict[str, Any], runs: list[dict[str, Any]]) -> str:
    ways = list(dict.fromkeys(run["workers"] for run in runs))
    rate = {way: statistics.median(r["buckets_per_second"] for r in runs if r["workers"] == way) for way in ways}
    size = results["customers"] / results["buckets"]
    lines = [
        "| engine | first buckets, s | whole run, s | buckets/s after them | range | customers/s | of one process |",
        "|---|---|---|---|---|---|---|",
    ]
    for way in ways:
        own = [run for run in runs if run["workers"] == way]
        rates = [run["buckets_per_second"] for run in own]
        name = "this process" if way is None else f"Ray, {way} worker{'s' if way > 1 else ''}"
        first, whole = (f"{statistics.median(run[key] for run in own):.1f}" for key in ("first", "seconds"))
        cells = [name, first, whole, f"{rate[way]:.2f}", f"{min(rates):.2f} to {max(rates):.2f}"]
        lines.append("| " + " | ".join([*cells, f"{rate[way] * size:,.0f}", f"{rate[way] / rate[ways[0]]:.2f}"]) + " |")
    one = rate[1] * size if 1 in rate else rate[ways[0]] * size
    hours = [f"{count // 10**6} M customers: {count / one / HOURS:,.1f} h" for count in (10**7, 10**8)]
    many = [f"{count / one / HOURS / CORES * 60:,.0f} min" for count in (10**7, 10**8)]
    return (
        f"{results['customers']:,} customers in {results['buckets']} buckets, top {results['top']} with probabilities, "
        f"one thread a process, {len(runs) // len(ways)} runs of each in turns; medians. All runs wrote the same "
        "bytes. The first buckets, one for each worker, come with the start of Ray and of the workers; the rate is "
        "that of the buckets after them.\n\n"
        + "\n".join(lines)
        + f"\n\nAt the rate of one worker, {'; '.join(hours)} on one core. Buckets do not depend on each other: on "
        f"{CORES} cores that are each as fast, with a store that keeps up with them, {many[0]} and {many[1]}."
    )


if __name__ == "__main__":
    main()
