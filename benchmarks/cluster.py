"""Batch scoring by one process and by Ray's workers: buckets per second, and whether the files are the same."""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, arguments, synthetic_bank, trained, write
from recsys.bundle import Bundle
from recsys.lake.store import Lake
from recsys.progress import progress_bar

PARTS = ("engines", "same")
SETTINGS = ["embedding=null", "segments=null", "churn=null", "training.epochs=1", "training.customers=20000"]
TOP = 10
CORES, HOURS = 64, 3600


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--buckets", type=int, default=32)
    parser.add_argument("--same", type=int, default=10_000, help="customers whose lists are compared")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--run", help="internal: one run, as JSON")
    options = parser.parse_args()
    if options.run:
        print(json.dumps(_run(**json.loads(options.run))))
        return
    results: dict[str, Any] = {"customers": options.customers, "buckets": options.buckets, "top": TOP}
    if "engines" in options.only:
        results["engines"] = _engines(options)
    if "same" in options.only:
        results["same"] = _same(options)
    write("cluster", "Scoring by one process and by Ray's workers", _text(results), results)


def _engines(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every engine and number of workers, in turns, each run in a process of its own."""
    lake = synthetic_bank(options.customers, 0, options.work, options.buckets)
    bundle = trained("demo", lake, options.work, [*SETTINGS, *options.set])
    ways: list[int | None] = [None, *options.workers]
    runs, digests = [], set()
    with progress_bar("Scoring") as progress:
        for repeat in range(options.repeats):
            for place, workers in enumerate(ways):
                progress(repeat * len(ways) + place, options.repeats * len(ways), f"{workers or 'no'} workers")
                out = options.work / "cluster-files"
                found = _apart(bundle.path, lake, out, workers)
                digests.add(found.pop("digest"))
                runs.append({"workers": workers, **found})
    if len(digests) != 1:
        raise SystemExit("the engines wrote different files")
    return runs


def _apart(bundle: Path, lake: Lake, out: Path, workers: int | None) -> dict[str, Any]:
    asked = {"bundle": str(bundle), "lake": lake.path, "out": str(out), "workers": workers}
    command = [sys.executable, "-m", "benchmarks.cluster", "--run", json.dumps(asked)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _run(bundle: str, lake: str, out: str, workers: int | None) -> dict[str, Any]:
    """Seconds to start the engine, and of scoring everybody with one thread a process."""
    import hashlib

    from serving.score import score

    shutil.rmtree(out, ignore_errors=True)
    asked = partial(score, bundle, lake, Path(out), top=TOP, threads=1)
    began = time.perf_counter()
    if workers is None:
        done = asked()
        started = began
    else:
        from serving.engine_ray import answer_on_ray
        from serving.engine_ray import started as running

        with running(workers, None, 1):
            started = time.perf_counter()
            done = asked(engine=partial(answer_on_ray, workers=workers, address=None, threads=1))
    ended = time.perf_counter()
    files = sorted(Path(out).iterdir())
    digest = hashlib.sha256(b"".join(file.name.encode() + file.read_bytes() for file in files)).hexdigest()
    shutil.rmtree(out)
    buckets = len([file for file in files if file.name.startswith("bucket=")])
    seconds = ended - started
    return {
        "start": started - began,
        "seconds": seconds,
        "buckets_per_second": buckets / seconds,
        "customers_per_second": done.customers / seconds,
        "digest": digest,
    }


def _same(options: argparse.Namespace) -> dict[str, int]:
    """How many customers of a bank get the same list, to the last bit, from the batch, from Ray and from a request."""
    import numpy as np
    import polars as pl

    from serving.answers import Answers

    lake = synthetic_bank(options.same, 1, options.work, 8)
    bundle = trained("demo", lake, options.work, [*SETTINGS, *options.set])
    lists = {}
    for name, workers in (("batch", None), ("ray", 2)):
        out = options.work / f"same-{name}"
        shutil.rmtree(out, ignore_errors=True)
        _score_to(bundle, lake, out, workers)
        rows = pl.concat([pl.read_parquet(file) for file in sorted(out.glob("bucket=*.parquet"))])
        lists[name] = rows.partition_by("customer_id", as_dict=True)
    answers = Answers.open(bundle.path, lake.path, None)
    ids = lake.read("customers")["customer_id"].to_list()
    equal = {"ray": 0, "request": 0}
    with progress_bar("Asking") as progress:
        for place, customer in enumerate(ids):
            progress(place, len(ids), "customers")
            batch = lists["batch"].get((customer,))
            equal["ray"] += _equal(batch, lists["ray"].get((customer,)))
            items = answers.recommend(json.dumps({"customer_id": customer, "k": TOP}).encode())["items"]
            listed = [item["product_id"] for item in items]
            scores = np.array([item["score"] for item in items], dtype=np.float32)
            known = batch is not None
            equal["request"] += (listed == batch["product_id"].to_list() if known else not listed) and (
                not known or bool((scores == batch["score"].to_numpy()).all())
            )
    return {"customers": len(ids), **equal}


def _score_to(bundle: Bundle, lake: Lake, out: Path, workers: int | None) -> None:
    from serving.engine import Engines, engine_of
    from serving.score import score

    name = Engines.local if workers is None else Engines.ray
    score(bundle.path, lake.path, out, top=TOP, threads=1, engine=engine_of(name, workers, None, 1))


def _equal(first: Any, second: Any) -> bool:
    return (first is None and second is None) or (first is not None and second is not None and first.equals(second))


def _text(results: dict[str, Any]) -> str:
    parts = []
    if runs := results.get("engines"):
        parts.append(_table(results, runs))
    if same := results.get("same"):
        parts.append(
            f"Of {same['customers']:,} customers, {same['ray']:,} get the same list from Ray as from the batch, scores "
            f"to the last bit, and {same['request']:,} from single requests."
        )
    return "\n\n".join(parts)


def _table(results: dict[str, Any], runs: list[dict[str, Any]]) -> str:
    ways = list(dict.fromkeys(run["workers"] for run in runs))
    rate = {way: statistics.median(r["buckets_per_second"] for r in runs if r["workers"] == way) for way in ways}
    size = results["customers"] / results["buckets"]
    lines = ["| engine | start, s | buckets/s | range | customers/s | of one process |", "|---|---|---|---|---|---|"]
    for way in ways:
        own = [run for run in runs if run["workers"] == way]
        rates = [run["buckets_per_second"] for run in own]
        name = "this process" if way is None else f"Ray, {way} worker{'s' if way > 1 else ''}"
        start = statistics.median(run["start"] for run in own)
        spread, ratio = f"{min(rates):.2f} to {max(rates):.2f}", rate[way] / rate[ways[0]]
        lines.append(f"| {name} | {start:.1f} | {rate[way]:.2f} | {spread} | {rate[way] * size:,.0f} | {ratio:.2f} |")
    one = rate[1] * size if 1 in rate else rate[ways[0]] * size
    hours = [f"{count // 10**6} M customers: {count / one / HOURS:,.1f} h" for count in (10**7, 10**8)]
    many = [f"{count / one / HOURS / CORES * 60:,.0f} min" for count in (10**7, 10**8)]
    return (
        f"{results['customers']:,} customers in {results['buckets']} buckets, top {results['top']} with probabilities, "
        f"one thread a process, {len(runs) // len(ways)} runs of each in turns; medians. All runs wrote the same "
        "bytes; the start of Ray is told apart.\n\n"
        + "\n".join(lines)
        + f"\n\nAt the rate of one worker, {'; '.join(hours)} on one core. Buckets do not depend on each other: on "
        f"{CORES} cores that are each as fast, with a store that keeps up with them, {many[0]} and {many[1]}."
    )


if __name__ == "__main__":
    main()
