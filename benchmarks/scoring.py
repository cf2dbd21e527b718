"""Scoring to files with 1,000 products: each step, beside a bare ONNX MatMul and TopK on the same vectors."""

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

from benchmarks.measure import ROOT, arguments, peak_mib, write
from recsys.bundle import Bundle, Recommender
from recsys.lake.contract import Attribute
from recsys.lake.store import Lake, LakeWriter
from recsys.progress import progress_bar
from training.config import load_config
from training.fit import train

THREADS = 2
EVENTS = 20
CHUNK = 50_000
"""Customers whose events are made at a time."""
TOP = 10
SETTINGS = [
    "adoption=null",
    "embedding=null",
    "churn=null",
    "segments=null",
    "training.epochs=1",
    "training.customers=20000",
    "model.dim=64",
]
BATCHES = (256, 512, 1024, 4096)
"""Rows in one run that the bare graph may choose from."""


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--customers", type=int, default=200_000)
    parser.add_argument("--products", type=int, default=1000)
    parser.add_argument("--buckets", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--bundle", help="internal: one run, as JSON")
    options = parser.parse_args()
    lake = catalogue(options.work, options.customers, options.products, options.buckets)
    if options.bundle:
        print(json.dumps(_run(Bundle.load(options.bundle), lake, options.work / "scoring-files")))
        return
    with progress_bar("Training") as progress:
        bundle = train(load_config("demo", [*SETTINGS, *options.set]), lake, options.work / "bundles", progress)
    runs = []
    for _ in range(options.repeats):
        command = [sys.executable, "-m", "benchmarks.scoring", "--bundle", str(bundle), "--work", str(options.work)]
        command += ["--customers", str(options.customers), "--products", str(options.products)]
        command += ["--buckets", str(options.buckets)]
        done = subprocess.run(command, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, text=True, check=True)
        runs.append(json.loads(done.stdout))
        print(runs[-1], file=sys.stderr)
    results = {"customers": options.customers, "products": options.products, "top": TOP, "runs": runs}
    write("scoring", "Scoring to files beside a bare MatMul and TopK", _text(results), results)


def catalogue(work: Path, people: int, products: int, buckets: int) -> Lake:
    """A bank of random tastes: everyone acquires about 20 of the products, neighbours in the catalogue together."""
    out = work / f"catalogue-{people}-{products}-{buckets}"
    if (out / "lake.json").exists():
        return Lake.open(out)
    rng = np.random.default_rng(0)
    taste = rng.integers(products, size=people)
    spread = np.abs(rng.normal(scale=products / 20, size=(people, EVENTS))).astype(int)
    chosen = (taste[:, None] + spread) % products
    ids = pl.Series([f"C{i:07d}" for i in range(people)])
    names = pl.Series([f"P{i:05d}" for i in range(products)])
    days = np.datetime64("2023-01-01") + rng.integers(730, size=(people, EVENTS))
    out.parent.mkdir(parents=True, exist_ok=True)
    attributes = {"customers": [Attribute("income", "feature", "number")]}
    with LakeWriter(out, buckets=buckets, source="catalogue", attributes=attributes) as writer:
        writer.append("products", pl.DataFrame({"product_id": names}))
        writer.append("customers", pl.DataFrame({"customer_id": ids, "income": rng.lognormal(10, 1, people)}))
        for start in range(0, people, CHUNK):
            some = np.arange(start, min(start + CHUNK, people))
            rows = {
                "customer_id": ids.gather(np.repeat(some, EVENTS)),
                "product_id": names.gather(chosen[some].ravel()),
                "kind": pl.repeat("acquired", len(some) * EVENTS, eager=True),
                "at": pl.Series(days[some].ravel()).cast(pl.Datetime("us")),
            }
            events = pl.DataFrame(rows).unique(["customer_id", "product_id"], keep="first", maintain_order=True)
            writer.append("interactions", events)
    return Lake.open(out)


def _run(bundle: Bundle, lake: Lake, out: Path) -> dict[str, float]:
    """Seconds of each step over all customers, and of the bare graph over the same vectors."""
    from recsys.features.examples import scoring_examples
    from recsys.features.features import features
    from serving.score import recommending

    recommender = Recommender(bundle, THREADS)
    question = recommending(recommender, None, TOP, 0.0)
    seconds = dict.fromkeys(("read", "features", "encode", "tower"), 0.0)
    ready = []
    for bucket in range(lake.buckets):
        marks = [time.perf_counter()]
        tables = lake.bucket(bucket)
        marks.append(time.perf_counter())
        rows = features(
            tables, scoring_examples(tables["customers"]["customer_id"].sort(), lake.as_of), bundle.definition
        )
        marks.append(time.perf_counter())
        for start in range(0, rows.height, 4096):
            recommender.encoder.encode(rows.slice(start, 4096))
        marks.append(time.perf_counter())
        vectors = recommender.vectors_from_rows(rows)
        marks.append(time.perf_counter())
        for name, began, ended in zip(seconds, marks[:-1], marks[1:], strict=True):
            seconds[name] += ended - began
        ready.append((rows.select("customer_id", "holdings"), vectors))
    seconds["tower"] -= seconds["encode"]  # vectors_from_rows encodes too
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    began = time.perf_counter()
    ranked = [(recommender.ranked(rows, vectors, TOP), rows.height) for rows, vectors in ready]
    seconds["rank"] = time.perf_counter() - began
    began = time.perf_counter()
    for bucket, part in enumerate(ranked):
        question.write(out / f"{bucket}.parquet", [part], bundle.bundle_id)
    seconds["write"] = time.perf_counter() - began
    del ranked
    began = time.perf_counter()
    _rank_and_write(recommender, ready, question, out)
    seconds["rank_and_write"] = time.perf_counter() - began
    shutil.rmtree(out)
    every = np.concatenate([vectors for _, vectors in ready])
    seconds |= {f"bare_{threads}": _bare(every, recommender.product_vectors, threads) for threads in (1, 2)}
    return {**seconds, "peak_mib": peak_mib()}


def _rank_and_write(recommender: Recommender, ready: list[Any], question: Any, out: Path) -> None:
    """As `recsys score` does it: a bucket is written while the next one is ranked."""
    from serving.buckets import write_behind

    write_behind(
        (
            (out / f"{bucket}.parquet", [(recommender.ranked(rows, vectors, TOP), rows.height)])
            for bucket, (rows, vectors) in enumerate(ready)
        ),
        question,
        recommender.bundle.bundle_id,
    )


def _bare(vectors: np.ndarray, products: np.ndarray, threads: int) -> float:
    """Seconds of MatMul and TopK alone, nothing left out and nothing kept, at the best batch."""
    session = bare_session(products.shape, threads)
    table, k = np.ascontiguousarray(products.T), np.array([TOP])
    found = []
    for batch in BATCHES:
        began = time.perf_counter()
        for start in range(0, len(vectors), batch):
            session.run(None, {"customers": vectors[start : start + batch], "products": table, "k": k})
        found.append(time.perf_counter() - began)
    return min(found)


def bare_session(shape: tuple[int, ...], threads: int) -> Any:
    """MatMul and TopK alone, for a table of products of this shape, [P, D]."""
    import onnxruntime as ort
    from onnx import TensorProto, helper

    count, width = shape
    inputs = [
        helper.make_tensor_value_info("customers", TensorProto.FLOAT, [None, width]),
        helper.make_tensor_value_info("products", TensorProto.FLOAT, [width, count]),
        helper.make_tensor_value_info("k", TensorProto.INT64, [1]),
    ]
    outputs = [
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, None]),
        helper.make_tensor_value_info("index", TensorProto.INT64, [None, None]),
    ]
    nodes = [
        helper.make_node("MatMul", ["customers", "products"], ["all"]),
        helper.make_node("TopK", ["all", "k"], ["scores", "index"], axis=1),
    ]
    graph = helper.make_graph(nodes, "bare", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _text(results: dict[str, Any]) -> str:
    runs, customers = results["runs"], results["customers"]
    what = {
        "read": "read the lake's files",
        "features": "feature rows",
        "encode": "encode them",
        "tower": "customer tower (ONNX)",
        "rank": "rank, products held left out, as frames",
        "write": "write the files",
        "rank_and_write": "**vectors ready → written files** (ranking beside writing)",
        "bare_1": "bare MatMul + TopK, one thread",
        "bare_2": "bare MatMul + TopK, two threads",
    }
    lines = ["| step | seconds, median | customers per second |", "|---|---|---|"]
    for name, said in what.items():
        middle = statistics.median(run[name] for run in runs)
        lines.append(f"| {said} | {middle:.2f} | {customers / middle:,.0f} |")
    ratios = [min(run["bare_1"], run["bare_2"]) / run["rank_and_write"] for run in runs]
    return (
        f"{customers:,} customers, {results['products']:,} products, {EVENTS} acquisitions each at most, top "
        f"{results['top']}; {len(runs)} runs, each in a process of its own. The bare graph leaves nothing out and "
        f"keeps nothing; it has its best of {len(BATCHES)} batch sizes.\n\n"
        + "\n".join(lines)
        + f"\n\nFrom ready vectors to written files we reach {statistics.median(ratios):.2f} of the bare graph's rate "
        f"at its better number of threads (median over runs; {min(ratios):.2f} to {max(ratios):.2f})."
    )


if __name__ == "__main__":
    main()
