"""The service under load: beside an empty BentoML endpoint, at five times what it can do, through swaps of bundles."""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.http_load import Answer, asking, by_wrk, request
from benchmarks.measure import ROOT, arguments, write
from benchmarks.serving_batching import batching, say_batching
from benchmarks.serving_overload import overload, say_overload
from benchmarks.serving_parts import TOP, another, bank_of_products, empty, ours, questions, whole_bank
from benchmarks.serving_stages import stage_seconds
from benchmarks.serving_traces import say_tracing, tracing
from serving.deploy import deploy
from serving.follower import workers
from serving.registry import Registry
from serving.registry_contents import Bounds
from serving.score import score
from serving.store.load import load
from serving.store.suppression import KEY

PAGE = ROOT / "benchmarks" / "serving.json"


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run; all of them")
    parser.add_argument("--customers", type=int, default=10_000, help="of the lake with 1,000 products")
    parser.add_argument("--asked", type=int, default=500, help="customers that are asked about in turn")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument(
        "--rounds", type=int, default=3, help="of recommend, asking the empty endpoint, then ours; of overload"
    )
    parser.add_argument("--seconds", type=float, default=20, help="of one round, and of one phase of overload")
    parser.add_argument("--swaps", type=int, default=50)
    parser.add_argument("--requests", type=int, default=20_000, help="at least so many while bundles are swapped")
    parser.add_argument("--soak", type=float, default=15, help="minutes")
    options = parser.parse_args()
    results = json.loads(PAGE.read_text()) if PAGE.exists() else {}
    for name in options.only:
        print(f"serving: {name}", file=sys.stderr, flush=True)
        results[name] = {"load_before": os.getloadavg()[0], **PARTS[name][0](options)}
        _write(results)


def _write(results: dict[str, Any]) -> None:
    shown = [f"## {title}\n\n{say(results[name])}" for name, (_, title, say) in PARTS.items() if name in results]
    note = (
        "Load generator and server share the machine. `/recommend` beside the empty endpoint and the soak are asked by "
        "wrk 4 (one thread, closed loop); where the answers matter, by `benchmarks/http_load.py`; where times of "
        "arrival do, by `benchmarks/open_loop.py`. "
        "Known customers, whose vectors are kept; one thread of ONNX Runtime in each worker."
    )
    write("serving", "The service under load", "\n\n".join([note, *shown]), results)


def _recommend(options: argparse.Namespace) -> dict[str, Any]:
    lake, bundle = bank_of_products(options.work, options.customers)
    bodies = questions(options.asked)
    rounds: list[dict[str, Any]] = []
    with empty(options.workers) as theirs, ours(str(bundle), "--lake", str(lake.path), workers=options.workers) as own:
        for server in (theirs, own):  # every worker has every customer's vectors before it counts
            by_wrk(server.url, "/recommend", bodies, max(5.0, options.seconds / 2), options.connections)
        for _ in range(options.rounds):
            found = {}
            for name, server in (("empty", theirs), ("ours", own)):
                found[name] = by_wrk(server.url, "/recommend", bodies, options.seconds, options.connections)
                print(name, found[name], file=sys.stderr, flush=True)
            rounds.append(found)
        stages = stage_seconds(own.url, lambda: by_wrk(own.url, "/recommend", bodies, 5.0, options.connections))
    return {"workers": options.workers, "connections": options.connections, "rounds": rounds, "stages": stages}


def _say_recommend(found: dict[str, Any]) -> str:
    def middle(name: str, of: Callable[[dict[str, Any]], float]) -> float:
        return statistics.median(of(one[name]) for one in found["rounds"])

    lines = ["| | requests/s | p50 | p99 | errors |", "|---|---|---|---|---|"]
    for name, said in (("empty", "empty BentoML endpoint"), ("ours", "/recommend, 1,000 products")):
        rate = middle(name, lambda one: one["requests"] / one["seconds"])
        p50, p99 = middle(name, lambda one: one["p50"]), middle(name, lambda one: one["p99"])
        errors = sum(one[name]["errors"] for one in found["rounds"])
        lines.append(f"| {said} | {rate:,.0f} | {p50:.2f} ms | {p99:.2f} ms | {errors} |")
    ratio = statistics.median(
        one["ours"]["requests"] / one["ours"]["seconds"] / (one["empty"]["requests"] / one["empty"]["seconds"])
        for one in found["rounds"]
    )
    more = statistics.median(one["ours"]["p50"] - one["empty"]["p50"] for one in found["rounds"])
    tail = statistics.median(one["ours"]["p99"] / one["empty"]["p99"] for one in found["rounds"])
    seconds = sum(one["ours"]["seconds"] for one in found["rounds"])
    lines.append(
        f"\n{found['workers']} workers, {found['connections']} connections, {len(found['rounds'])} alternating rounds, "
        f"{seconds:.0f} s of ours; medians. Throughput {ratio:.2f} × (at least 0.8), p50 {more:+.2f} ms (at most 1.5), "
        f"p99 {tail:.2f} × (at most 3).\n\n{_say_stages(found['stages'])}"
    )
    return "\n".join(lines)


def _say_stages(stages: dict[str, Any]) -> str:
    lines = ["Where the time of a request goes, by the service's own clock:", "", "| stage | mean |", "|---|---|"]
    lines += [f"| {name} | {seconds * 1000:.2f} ms |" for name, seconds in stages.items()]
    return "\n".join(lines)


def _decide(options: argparse.Namespace) -> dict[str, Any]:
    lake, bundle = whole_bank(options.work, 3000)
    tables = lake.customers(lake.bucket(0)["customers"]["customer_id"].unique().sort().head(50).to_list())
    day = lake.as_of
    assert day is not None
    after = day + timedelta(days=1)
    customers = tables["customers"]["customer_id"].unique().sort().to_list()
    fresh = [
        {"event_id": f"fresh-{n}", "at": f"{day}T{8 + n // 4:02}:{n % 4 * 15:02}:00", "amount": -1000 - n}
        for n in range(20)
    ]
    wires = [
        request("/decide", json.dumps({"customer_id": name, "events": {"transactions": fresh}}).encode())
        for name in customers
    ]
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault(KEY, "a secret that only this benchmark uses")
        store = str(Path(folder) / "state.db")
        load(str(bundle), str(lake.path), store, as_of=after, threads=1)
        return {
            "store": _decided(wires, str(bundle), "--store", store),
            "lake": _decided(wires, str(bundle), "--lake", str(lake.path), "--as-of", str(after)),
        }


def _decided(wires: Sequence[bytes], *served: str) -> dict[str, Any]:
    """One caller's times, the first about each customer left out."""
    first: list[float] = []
    seconds: list[float] = []
    statuses: Counter[int] = Counter()

    def check(answer: Answer) -> None:
        (seconds if answer.due >= len(wires) else first).append(answer.seconds)
        statuses[answer.status] += 1

    with ours(*served, workers=1) as own:
        ask = asking(own.port, wires, 1, lambda number: number < 500, check)
        stages = stage_seconds(own.url, lambda: asyncio.run(ask))
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000
    at_first = float(np.median(first)) * 1000
    return {"p50": float(p50), "p99": float(p99), "first": at_first, "statuses": dict(statuses), "stages": stages}


def _say_decide(found: dict[str, Any]) -> str:
    lines = ["One caller; a known customer with 20 fresh transactions in each request; 50 customers, ten times each."]
    for name, said in (("store", "Known from a store on SQLite"), ("lake", "Known from the lake")):
        one = found[name]
        lines.append(
            f"{said}: p50 {one['p50']:.1f} ms (at most 20), p99 {one['p99']:.1f} ms; the first about each "
            f"customer, whose rows are not in memory yet, {one['first']:.1f} ms; statuses {one['statuses']}.\n\n"
            f"{_say_stages(one['stages'])}"
        )
    return "\n\n".join(lines)


def _lists(bundle: Path, lake: Any, customers: int | None = None) -> dict[str, list[tuple[str, float]]]:
    """What `recsys score` wrote for each customer."""
    with tempfile.TemporaryDirectory() as folder:
        score(bundle, lake.path, Path(folder) / "out", top=TOP)
        rows = pl.read_parquet(Path(folder) / "out" / "bucket=*.parquet").sort("customer_id", "rank")
    grouped = rows.group_by("customer_id", maintain_order=True).agg("product_id", "score")
    found = zip(grouped["customer_id"], grouped["product_id"].to_list(), grouped["score"].to_list(), strict=True)
    kept = list(found)[:customers]
    return {name: list(zip(products, scores, strict=True)) for name, products, scores in kept}


def _as_batch(body: bytes) -> tuple[str, str, list[tuple[str, float]]]:
    """Bundle, customer and list of an answer."""
    told = json.loads(body)
    return told["bundle_id"], told["customer_id"], [(item["product_id"], item["score"]) for item in told["items"]]


def _swap(options: argparse.Namespace) -> dict[str, Any]:
    lake, bundle = bank_of_products(options.work, options.customers)
    wires = [request("/recommend", body) for body in questions(options.asked)]
    seen: Counter[str] = Counter()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry.create(Path(folder) / "registry")
        first = registry.add(bundle, by="benchmark")
        second = registry.add(another(bundle, options.work), by="benchmark")
        right = {one: _lists(registry.where(one), lake, options.asked) for one in (first, second)}
        differ = sum(right[first][name] != right[second][name] for name in right[first])
        registry.promote(first, by="benchmark")

        def check(answer: Answer) -> None:
            if answer.status != 200:
                wrong.append(f"status {answer.status}: {answer.body[:200].decode(errors='replace')}")
                return
            bundle_id, customer, listed = _as_batch(answer.body)
            seen[bundle_id] += 1
            if listed != right[bundle_id][customer]:
                wrong.append(f"{customer}: not the list of {bundle_id}")

        words = ("--registry", str(registry.path), "--lake", str(lake.path))
        with ours(*words, workers=options.workers) as own:
            done = threading.Event()
            took: list[float] = []
            swapping = threading.Thread(target=_swaps, args=(registry, second, options.swaps, took, done))
            swapping.start()
            asked = asyncio.run(asking(own.port, wires, 4, lambda n: not done.is_set() or n < options.requests, check))
            swapping.join()
    return {
        "asked": asked,
        "swaps": len(took),
        "seconds": took,
        "by_bundle": dict(seen),
        "differ": differ,
        "wrong": len(wrong),
        "first_wrong": wrong[:3],
    }


def _swaps(registry: Registry, second: str, swaps: int, took: list[float], done: threading.Event) -> None:
    """Deploy and roll back in turn; each is over when every worker answers with it."""
    try:
        for number in range(swaps):
            began = time.monotonic()
            if number % 2:
                wanted = registry.rollback(by="benchmark")
                while any(status.in_force != wanted for status in workers(registry)[0]):
                    time.sleep(0.05)
            else:
                loose = Bounds(overlap=0, slower=1000)
                where = registry.where(second)
                deploy(registry, where, bounds=loose, seconds=120, by="benchmark", progress=lambda *_: None)
            took.append(time.monotonic() - began)
            print(f"swap {number + 1}/{swaps} in {took[-1]:.1f} s", file=sys.stderr, flush=True)
    finally:
        done.set()


def _say_swap(found: dict[str, Any]) -> str:
    bundles = ", ".join(f"{count:,} by {name}" for name, count in found["by_bundle"].items())
    return (
        f"{found['swaps']} swaps (deployments and rollbacks in turn; median "
        f"{statistics.median(found['seconds']):.1f} s until all workers had changed) under "
        f"{found['asked']:,} questions of 4 callers: {bundles}. Failed, or not "
        f"the list that `recsys score` wrote with the bundle that the answer names: {found['wrong']}. The two bundles' "
        f"lists differ for {found['differ']} of the customers asked about."
    )


def _soak(options: argparse.Namespace) -> dict[str, Any]:
    lake, bundle = bank_of_products(options.work, options.customers)
    bodies = questions(min(3000, options.customers))  # more than are kept, so that the kept change all the time
    memory: list[float] = []
    errors = requests = 0
    slices = max(6, round(options.soak * 60 / 15))
    with ours(str(bundle), "--lake", str(lake.path), workers=options.workers) as own:
        for number in range(slices):
            found = by_wrk(own.url, "/recommend", bodies, options.soak * 60 / slices, 4)
            requests, errors = requests + found["requests"], errors + found["errors"]
            memory.append(own.memory_mib())
            print(f"{number + 1}/{slices}: {memory[-1]:.0f} MiB", file=sys.stderr, flush=True)
    return {"minutes": options.soak, "memory_mib": memory, "requests": requests, "errors": errors}


def _say_soak(found: dict[str, Any]) -> str:
    memory = found["memory_mib"]
    warm = memory[len(memory) // 5 :]  # after a fifth of the time
    tenth = max(1, len(warm) // 10)
    begin, end = statistics.fmean(warm[:tenth]), statistics.fmean(warm[-tenth:])
    return (
        f"{found['minutes']:g} minutes, {found['requests']:,} questions of 4 connections about 3,000 customers at "
        f"most, {found['errors']} errors. Resident memory of all workers: {begin:.0f} MiB after a fifth of the time, "
        f"{end:.0f} MiB at the end, {100 * (end / begin - 1):+.1f} % (at most +5)."
    )


def _same(options: argparse.Namespace) -> dict[str, Any]:
    lake, bundle = bank_of_products(options.work, options.customers)
    right = _lists(bundle, lake)
    wires = [request("/recommend", json.dumps({"customer_id": name, "k": TOP}).encode()) for name in right]
    wrong: list[str] = []

    def check(answer: Answer) -> None:
        if answer.status != 200 or (told := _as_batch(answer.body))[2] != right[told[1]]:
            wrong.append(f"{answer.status}: {answer.body[:200].decode(errors='replace')}")

    with ours(str(bundle), "--lake", str(lake.path), workers=options.workers) as own:
        asked = asyncio.run(asking(own.port, wires, 4, lambda number: number < len(wires), check))
    return {"customers": asked, "wrong": len(wrong), "first_wrong": wrong[:3]}


def _say_same(found: dict[str, Any]) -> str:
    return (
        f"{found['customers']:,} customers, ten products of 1,000 each, asked over HTTP and scored by `recsys score`: "
        f"{found['wrong']} lists differ in a product or in a bit of a score."
    )


PARTS: dict[str, tuple[Callable[[argparse.Namespace], dict[str, Any]], str, Callable[[dict[str, Any]], str]]] = {
    "recommend": (_recommend, "/recommend beside an empty BentoML endpoint", _say_recommend),
    "decide": (_decide, "/decide with 20 fresh events", _say_decide),
    "batching": (batching, "What batches of callers would bring", say_batching),
    "tracing": (tracing, "What traces cost", say_tracing),
    "overload": (overload, "Five times what it can do", say_overload),
    "swap": (_swap, "Bundles swapped under load", _say_swap),
    "soak": (_soak, "Memory over time", _say_soak),
    "same": (_same, "HTTP and batch", _say_same),
}
"""Name → (how it is measured, title, how it is told)."""

if __name__ == "__main__":
    main()
