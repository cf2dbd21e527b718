"""A customer's segment when an event arrives: embedding and assignment alone, and all of it; on one thread."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.measure import ROOT, arguments, gflops, synthetic_bank, write
from recsys.bundle import Bundle, Segmentation
from recsys.bundle.segment_of import segment_of, segment_of_arrays, segment_of_row, with_events
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.store import Lake
from recsys.progress import progress_bar

ASKED = 200
"""Customers that are asked about, each once a round."""
STEPS = {
    "arrays": "embed and assign, the encoder's arrays given",
    "row": "the same with encoding, the feature row given",
    "event": "from the event: joined to the customer's rows, features, encoding, embedding, segment",
}
BOUNDS = {"arrays": 0.3, "event": 10.0}
"""Milliseconds that were to be kept, at the median."""


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--customers", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--bundle", type=Path, help="a bundle trained before; else one is trained")
    parser.add_argument("--inside", action="store_true", help="internal: measure on one thread, as JSON")
    options = parser.parse_args()
    lake = synthetic_bank(options.customers, options.seed, options.work)
    if options.inside:
        print(json.dumps(_measured(lake, Bundle.load(options.bundle), options.rounds)))
        return
    bundle = options.bundle or _trained(lake, options.work)
    command = [sys.executable, "-m", "benchmarks.segment_online", "--inside", "--bundle", str(bundle)]
    command += ["--work", str(options.work), "--rounds", str(options.rounds)]
    command += ["--customers", str(options.customers), "--seed", str(options.seed)]
    alone = {**os.environ, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=alone, stdout=subprocess.PIPE, text=True, check=True)
    results: dict[str, Any] = json.loads(done.stdout) | {"gflops": gflops(1), "load": os.getloadavg()[0]}
    write("segment_online", "A customer's segment when an event arrives", _text(results), results)


def _trained(lake: Lake, work: Path) -> Path:
    """The demo's embedding and segments at their full size; one epoch, since quality is no matter here."""
    from training.config import load_config
    from training.fit import train

    quick = [
        "recommender=false",
        "adoption=null",
        "churn=null",
        "embedding.autoencoder.epochs=1",
        "embedding.sequence={epochs: 1}",
    ]
    quick += ["segments={algorithms: [k_means], bootstraps: 2}"]
    with progress_bar("Training") as progress:
        return train(load_config("demo", quick), lake, work / "bundles", progress)


def _measured(lake: Lake, bundle: Bundle, rounds: int) -> dict[str, Any]:
    segmentation, day = Segmentation(bundle), lake.as_of
    assert day is not None
    ids = lake.read("customers")["customer_id"].unique().sort()
    chosen = ids.gather_every(max(1, len(ids) // ASKED)).head(ASKED).to_list()
    asked = [_Asked(segmentation, customer, lake.customers([customer]), day) for customer in chosen]
    times: dict[str, list[float]] = {name: [] for name in STEPS}
    for turn in range(rounds + 1):
        for name in STEPS:
            for one in asked:
                began = time.perf_counter()
                one.steps[name]()
                if turn:  # the first round warms up
                    times[name].append(1000 * (time.perf_counter() - began))
    about = segmentation.embedding.about
    return {
        "customers": len(chosen),
        "calls": len(times["row"]),
        "events": int(np.median([one.events for one in asked])),
        "columns": len(about.features),
        "dimensions": about.dimensions,
        "segments": len(segmentation.segments),
        "milliseconds": {name: _quantiles(values) for name, values in times.items()},
    }


class _Asked:
    """A customer with everything at hand that a step begins from."""

    def __init__(
        self, segmentation: Segmentation, customer: str, tables: Mapping[str, pl.DataFrame], day: date
    ) -> None:
        self.events = sum(tables[name].height for name in tables if "at" in tables[name].columns)
        event = {"transactions": _event(tables, customer, day)}
        tomorrow = day + timedelta(days=1)
        rows = features(tables, scoring_examples([customer], day), segmentation.definition)
        arrays = segmentation.encoder.encode(rows)
        self.steps: dict[str, Callable[[], object]] = {
            "arrays": lambda: segment_of_arrays(segmentation, arrays),
            "row": lambda: segment_of_row(segmentation, rows),
            "event": lambda: segment_of(segmentation, customer, with_events(tables, event), tomorrow),
        }


def _event(tables: Mapping[str, pl.DataFrame], customer: str, day: date) -> pl.DataFrame:
    """A payment on that day, from the customer's first account or, without one, from themselves."""
    accounts = tables["account_holders"]["account_id"]
    account = accounts[0] if len(accounts) else None
    row = {"event_id": "new", "account_id": account, "customer_id": None if account else customer, "amount": -2500}
    schema = {"event_id": pl.String, "account_id": pl.String, "customer_id": pl.String, "amount": pl.Int64}
    return pl.DataFrame([row], schema=schema).with_columns(at=pl.lit(day).cast(pl.Datetime("us")))


def _quantiles(values: list[float]) -> dict[str, float]:
    cuts = {"median": 0.5, "p95": 0.95, "p99": 0.99}
    return {name: round(float(np.quantile(values, q)), 4) for name, q in cuts.items()}


def _text(results: Mapping[str, Any]) -> str:
    lines = ["| step | median | 95 % | 99 % | at most |", "|---|---|---|---|---|"]
    for name, said in STEPS.items():
        found = results["milliseconds"][name]
        bound = f"{BOUNDS[name]:g} ms" if name in BOUNDS else ""
        cells = " | ".join(f"{found[key]:.3f} ms" for key in ("median", "p95", "p99"))
        lines.append(f"| {said} | {cells} | {bound} |")
    missed = [STEPS[name] for name, most in BOUNDS.items() if results["milliseconds"][name]["median"] > most]
    verdict = f"Above its bound in this run: {'; '.join(missed)}." if missed else "Both bounds are kept."
    return "\n".join(
        [
            f"{results['customers']} customers of a synthetic bank with {results['events']} dated rows each at the "
            f"median, {results['calls']:,} calls of each step after a round that warmed up, each step for all "
            "customers before the next, in one process on one thread (ONNX Runtime, Polars and OpenMP). The embedding "
            "is the demo's at its full size: "
            f"{results['columns']} features and the history, {results['dimensions']} dimensions, "
            f"{results['segments']} segments. Each answer also says what is unusual about the customer.",
            "",
            *lines,
            "",
            verdict,
            "",
            "The customer's rows are in memory: reading them, from a lake or a store, is not part of it. A machine of "
            f"{results['gflops']:.0f} GFLOP/s on one thread, with a load of {results['load']:.1f} when it was asked "
            "afterwards; above 1, other processes took part of the time.",
        ]
    )


if __name__ == "__main__":
    main()
