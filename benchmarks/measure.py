"""What every benchmark shares: where data and results lie, one train-and-test run, and its table in Markdown."""

import argparse
import hashlib
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recsys.bundle import Bundle
from recsys.lake.catalog import import_catalog
from recsys.lake.store import Lake
from recsys.progress import progress_bar
from recsys.shipped import shipped
from recsys.synthetic.generate import generate
from training.config import Config, load_config
from training.evaluate import MODEL, Outcome, outcome_on_test
from training.fit import train

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("two_tower", "popularity", "popularity_by_group", "item_knn", "als", "ease")


def arguments(description: str) -> argparse.ArgumentParser:
    """The options of every benchmark."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--datasets", type=Path, default=ROOT.parent / "shared" / "datasets", help="folder of the public data sets"
    )
    parser.add_argument(
        "--work", type=Path, default=ROOT / "runs" / "benchmarks", help="where lakes and bundles are made"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override one key of the configuration"
    )
    return parser


def imported(catalog: str, datasets: Path, folder: str, work: Path) -> Lake:
    """The lake of a public source, imported on first use."""
    out = work / catalog
    if not (out / "lake.json").exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        with progress_bar(f"Importing {catalog}") as progress:
            import_catalog(shipped("catalog", catalog), out, datasets / folder, progress=progress)
    return Lake.open(out)


def synthetic_bank(customers: int, seed: int, work: Path, buckets: int = 16) -> Lake:
    """The lake of a synthetic bank, made on first use; its truth lies beside it, in `PATH.truth`."""
    out = work / f"synthetic-{customers}-{seed}"
    if not (out / "lake.json").exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        with progress_bar("Making the bank") as progress:
            generate(out, customers, seed, buckets, progress)
    return Lake.open(out)


def fit_and_test(
    config: str, lake: Lake, work: Path, overrides: Sequence[str] = (), baselines: Sequence[str] | None = None
) -> tuple[Config, Bundle, Outcome]:
    """Train a configuration on a lake and judge the bundle on its own test split, beside its or these baselines.

    The recommender alone is judged, so embeddings and segments are left out.
    The model's fit time is everything from the lake to the fitted model: features, encoding and the epochs.
    """
    without = ["churn=null", "embedding=null", "segments=null", *overrides]
    read, bundle = load_config(config, without), trained(config, lake, work, without)
    with progress_bar("Evaluating") as progress:
        outcome = outcome_on_test(bundle, lake, progress, baselines)
    spent = bundle.manifest["seconds"]
    return read, bundle, replace(outcome, seconds={**outcome.seconds, MODEL: spent["features"] + spent["fit"]})


def trained(config: str, lake: Lake, work: Path, overrides: Sequence[str] = ()) -> Bundle:
    """Train a configuration on a lake.

    A bundle that the same code made from the same lake and configuration before is used again, with its times; a
    training that was stopped goes on.
    """
    read = load_config(config, overrides)
    made = work / "made" / f"{digest(read.model_dump_json(), lake.identity(), code_digest())}.path"
    if not made.exists() or not Path(made.read_text()).exists():
        with progress_bar("Training") as progress:
            path = train(read, lake, work / "bundles", progress)
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(str(path))
    return Bundle.load(Path(made.read_text()))


def code_digest() -> str:
    """All of the code that makes a bundle, as one hash."""
    sources = sorted(path for part in ("recsys", "training") for path in (ROOT / part).rglob("*.py"))
    return digest(*(path.read_text(encoding="utf-8") for path in sources))


def digest(*texts: str) -> str:
    """One hash of several texts."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def pool(outcomes: Sequence[Outcome]) -> Outcome:
    """All runs as one: rows side by side, fit times averaged; models that not every run has are left out."""
    first = outcomes[0]
    names = [name for name in first.metrics if all(name in o.metrics for o in outcomes)]
    return Outcome(
        customers=np.concatenate([o.customers for o in outcomes]),
        metrics={
            name: {
                metric: np.concatenate([o.metrics[name][metric] for o in outcomes]) for metric in first.metrics[name]
            }
            for name in names
        },
        coverage={
            name: {k: float(np.mean([o.coverage[name][k] for o in outcomes])) for k in first.coverage[name]}
            for name in names
        },
        seconds={name: float(np.mean([o.seconds[name] for o in outcomes])) for name in names},
        refused=first.refused,
        top={name: np.concatenate([o.top[name] for o in outcomes]) for name in names},
        slices={name: np.concatenate([o.slices[name] for o in outcomes]) for name in first.slices},
        held=first.held,
    )


def gflops(threads: int = 2, size: int = 2048, rounds: int = 5) -> float:
    """The machine's speed at this moment: billions of float32 operations a second in a size³ product, at best."""
    torch.set_num_threads(threads)
    left, right = torch.rand(size, size), torch.rand(size, size)
    best = np.inf
    for _ in range(rounds):
        began = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - began)
    return float(2 * size**3 / best / 1e9)


def peak_mib() -> float:
    """The largest resident size of this process; unlike getrusage, it forgets what its parent had."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def markdown(report: Mapping[str, Any], metrics: Sequence[str]) -> str:
    """A table of models × metrics with intervals, then the paired differences."""
    lines = ["| model | " + " | ".join(metrics) + " | fit |", "|---" * (len(metrics) + 2) + "|"]
    for name in sorted(report["models"], key=lambda n: MODELS.index(n) if n in MODELS else len(MODELS)):
        cells = [_cell(report["models"][name][metric], "") for metric in metrics]
        fit = report["seconds"].get(name)
        lines.append(f"| {name} | " + " | ".join(cells) + (f" | {fit:.1f} s |" if fit is not None else " | |"))
    for name, differences in report["differences"].items():
        cells = [_cell(differences[metric], "+") for metric in metrics]
        lines.append(f"| two_tower − {name} | " + " | ".join(cells) + " | |")
    lines += [f"\nNot fitted: {name}: {reason}." for name, reason in report["refused"].items()]
    return "\n".join(lines)


def write(name: str, title: str, text: str, results: Mapping[str, Any]) -> None:
    """Put the result beside the benchmark: `name.md` for people, `name.json` for programs."""
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    page = f"# {title}\n\n{text}\n\nMade by `python -m benchmarks.{name}` on {machine}.\n"
    (ROOT / "benchmarks" / f"{name}.md").write_text(page, encoding="utf-8")
    (ROOT / "benchmarks" / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(page)


def last_results(name: str) -> dict[str, Any]:
    """What stands beside the benchmark from earlier runs; nothing where there was none."""
    path = ROOT / "benchmarks" / f"{name}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _cell(interval: Mapping[str, float], sign: str) -> str:
    value, low, high = (f"{interval[key]:{sign}.4f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"
