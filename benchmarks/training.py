"""Time to quality on Amazon Beauty: the recommender beside RecTools' SASRec and implicit's ALS, on validation."""

import json
import math
import shutil
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import sparse

from benchmarks.measure import ROOT, arguments, gflops, imported, write
from recsys.baselines.als import ALS, ALSConfig
from recsys.features.examples import protocol_examples
from recsys.lake.store import Lake
from recsys.metrics import rank_metrics
from recsys.progress import progress_bar
from training.config import Config, load_config
from training.prepare import fit_recommender, judging_rows, prepare

METRIC = "ndcg@10"
SASREC = {"softmax": ("--loss", "softmax"), "BCE, 1 negative": ("--loss", "BCE", "--negatives", "1")}
"""Losses of SASRec: the one that learned more in an epoch, and the one whose epochs took a sixth of its time."""
Curve = list[dict[str, float]]


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rectools", type=Path, help="the Python of an environment with RecTools; none: left out")
    parser.add_argument("--budget", type=float, default=2400, help="most seconds of training for each SASRec (2400)")
    parser.add_argument("--only", choices=SASREC, nargs="*", default=list(SASREC), help="run these losses of SASRec")
    options = parser.parse_args()
    lake = imported("s3rec_beauty", options.datasets, "s3rec_sequential", options.work)
    config = load_config("beauty", options.set)
    work = options.work / "training"
    speed = gflops(config.threads)
    own = _own(config, lake, work / "own")
    data = _sequences(config, lake, work)
    peers = {"ALS (implicit)": _als(config, lake, data)}
    if options.rectools:
        for name in options.only:
            peers[f"SASRec (RecTools), {name}"] = _sasrec(options, config, work / "sasrec.json", SASREC[name])
    results = {
        "gflops": speed,
        "budget": options.budget,
        "customers": len(data["asked"]),
        "two_tower": own,
        "peers": peers,
    }
    write("training", "Time to quality", _text(results, config), results)


def _own(config: Config, lake: Lake, work: Path) -> Curve:
    """The learning curve of a fit from the lake; seconds begin with the features and hold the judging of each epoch."""
    shutil.rmtree(work, ignore_errors=True)
    began = time.perf_counter()
    with progress_bar("Training") as progress:
        data = prepare(config, lake, work, progress)
        spent = time.perf_counter() - began
        fitted = fit_recommender(config, data, work / "checkpoints", progress)
    shutil.rmtree(work)
    curve = []
    for record in fitted.history:
        spent += record["seconds"]
        curve.append({"epoch": record["epoch"], "seconds": spent, METRIC: record[METRIC]})
    return curve


def _sequences(config: Config, lake: Lake, work: Path) -> dict[str, np.ndarray]:
    """What training may see, as products in their order, and the validation item of the same customers that we ask."""
    shutil.rmtree(work / "arrays", ignore_errors=True)
    with progress_bar("Reading") as progress:
        prepared = prepare(config, lake, work / "arrays", progress)
    buckets = [lake.bucket(bucket) for bucket in range(lake.buckets)]
    examples = pl.concat([protocol_examples(tables, config.evaluation, "validation", lake.as_of) for tables in buckets])
    asked = examples[judging_rows(config, prepared)]
    shutil.rmtree(work / "arrays")
    until = examples.select("customer_id", pl.col("position").alias("until"))
    seen = lake.read("interactions").filter(pl.col("kind") == "acquired").join(until, on="customer_id")
    seen = seen.filter(pl.col("position") < pl.col("until")).sort("customer_id", "position")
    found = {
        "customers": seen["customer_id"].to_numpy().astype(str),
        "products": seen["product_id"].to_numpy().astype(str),
        "positions": seen["position"].to_numpy(),
        "asked": asked["customer_id"].to_numpy().astype(str),
        "targets": asked["targets"].list.first().to_numpy().astype(str),
    }
    np.savez(work / "sequences.npz", **found)
    return found


def _als(config: Config, lake: Lake, data: Mapping[str, np.ndarray]) -> Curve:
    """ALS after 1, 2, 5 and 15 rounds, each a fit of its own, with the project's settings for it."""
    products = sorted(lake.read("products")["product_id"])
    place = {product: column for column, product in enumerate(products)}
    customers, row = np.unique(data["customers"], return_inverse=True)
    column = np.array([place[product] for product in data["products"]])
    held = sparse.csr_matrix((np.ones(len(row), np.float32), (row, column)), shape=(len(customers), len(products)))
    held.data[:] = 1.0
    asked = held[np.searchsorted(customers, data["asked"])]
    targets = np.array([place[product] for product in data["targets"]])
    curve = []
    for rounds in (1, 2, 5, 15):
        began = time.perf_counter()
        fitted = ALS(ALSConfig(iterations=rounds, threads=config.threads)).fit(held)
        spent = time.perf_counter() - began
        total = 0.0
        for start in range(0, len(targets), 4096):
            part = slice(start, start + 4096)
            wanted = np.zeros((len(targets[part]), len(products)), dtype=bool)
            wanted[np.arange(len(wanted)), targets[part]] = True
            allowed = asked[part].toarray() == 0
            total += rank_metrics(fitted.scores(asked[part]), allowed, wanted, (10,))[METRIC].sum()
        curve.append({"epoch": rounds, "seconds": spent, METRIC: total / len(targets)})
    return curve


def _sasrec(options: Namespace, config: Config, out: Path, loss: Sequence[str]) -> Curve:
    """Its learning curve, by the script that runs in RecTools' environment."""
    script = ROOT / "benchmarks" / "training_sasrec.py"
    sizes = ("--dim", config.model.dim, "--length", config.features.history_length, "--threads", config.threads)
    command = [options.rectools, script, out.parent / "sequences.npz", out, *loss, *sizes, "--budget", options.budget]
    subprocess.run([str(part) for part in command], check=True, stdout=sys.stderr)
    return list(json.loads(out.read_text()))


def _best(curve: Curve) -> dict[str, float]:
    return max(curve, key=lambda record: record[METRIC])


def _reached(curve: Curve, value: float) -> float:
    """Seconds until the metric was first at least this good; infinite if it never was."""
    return next((record["seconds"] for record in curve if record[METRIC] >= value), math.inf)


def _text(results: Mapping[str, Any], config: Config) -> str:
    rows = []
    for name, curve in results["peers"].items():
        best = _best(curve)
        own = _reached(results["two_tower"], best[METRIC])
        rows.append(
            f"| {name} | {best[METRIC]:.4f} | {best['epoch']:.0f} of {curve[-1]['epoch']:.0f} | "
            f"{best['seconds']:.0f} s | {own:.0f} s | {own / best['seconds']:.2f} |"
        )
    curves = {"two_tower": results["two_tower"], **results["peers"]}
    return "\n".join(
        [
            f"Amazon Beauty, products in order; {results['customers']:,} customers are asked for their validation "
            f"item, what they hold is excluded, all 12,101 products are ranked. Vectors of {config.model.dim}, "
            f"histories of {config.features.history_length}, {config.threads} threads; the machine made "
            f"{results['gflops']:.0f} GFLOP/s in a float32 product of 2048³. The recommender's seconds begin with the "
            "lake and hold the judging after each epoch; those of the others begin with the data in memory and are "
            "training alone. One after the other on the same machine, SASRec in a process of its own. It has two "
            "blocks, four heads and otherwise RecTools' own settings, batches of 256, and stops after three epochs "
            f"without a better one, after 30 epochs, or after {results['budget']:.0f} s: where its best is its last "
            "epoch, it was still rising.",
            "",
            "| peer | its best NDCG@10 | epoch | its time to it | our time to it | share of its time |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            "The learning curves, seconds: NDCG@10.",
            "",
            *(
                f"- {name}: " + ", ".join(f"{r['seconds']:.0f}: {r[METRIC]:.4f}" for r in curve)
                for name, curve in curves.items()
            ),
        ]
    )


if __name__ == "__main__":
    main()
