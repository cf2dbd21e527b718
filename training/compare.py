"""Two bundles on the same test split: the paired difference, its interval, which is better."""

from dataclasses import asdict
from typing import Any

import numpy as np

from recsys.bootstrap import bootstrap_many, paired_bootstrap_many
from recsys.bundle import Bundle
from recsys.errors import ConfigError, DataError
from recsys.lake.store import Lake
from recsys.progress import Progress
from training.config import Config, parse_config
from training.evaluate import MODEL, outcome_on_test

DECIDES = {
    "temporal": ("protocol", "horizon_days", "until"),
    "hold_one_out": ("protocol", "seed", "test_share", "until"),
    "leave_last_out": ("protocol",),
    "given": ("protocol",),
}
"""What makes the test split, for each protocol."""


def compare(first: Bundle, second: Bundle, lake: Lake, metric: str | None, progress: Progress) -> dict[str, Any]:
    """The report of `recsys compare --json`: both bundles' figures and first minus second, paired over customers.

    `metric` decides which is better; by default the one that both were trained for, else ndcg@10.
    Raises ConfigError if the bundles have different test splits, or if there is no such metric.
    """
    bundles = {"first": first, "second": second}
    configs = {name: parse_config(b.config, f"{b.path}/config.yaml") for name, b in bundles.items()}
    _refuse_other_split(configs["first"], configs["second"])
    found = {}
    for i, (name, bundle) in enumerate(bundles.items()):

        def half(done: int, total: int, what: str, i: int = i) -> None:
            progress(i * total + done, 2 * total, what)

        found[name] = outcome_on_test(bundle, lake, half, baselines=())
    if not np.array_equal(found["first"].customers, found["second"].customers):
        raise DataError(
            f"{lake.path}: the bundles' catalogues differ so far that their test customers differ "
            f"({len(found['first'].customers):,} and {len(found['second'].customers):,}); train both on this lake"
        )
    metrics = {name: outcome.metrics[MODEL] for name, outcome in found.items()}
    groups, evaluation = found["first"].customers, configs["first"].evaluation
    samples, seed = evaluation.bootstrap, evaluation.seed
    chosen = metric or _shared_metric(configs["first"], configs["second"])
    if chosen not in metrics["first"]:
        raise ConfigError(f"--metric {chosen!r}: not one of {', '.join(metrics['first'])}")
    differences = paired_bootstrap_many(metrics["first"], metrics["second"], groups, samples, seed)
    return {
        "protocol": evaluation.protocol,
        "customers": len(np.unique(groups)),
        "metric": chosen,
        "bundles": {
            name: {
                "bundle_id": bundle.bundle_id,
                "path": str(bundle.path),
                "same_lake": bundle.manifest["lake"]["identity"] == lake.identity(),
                "metrics": {m: asdict(v) for m, v in bootstrap_many(metrics[name], groups, samples, seed).items()},
                "coverage": found[name].coverage[MODEL],
            }
            for name, bundle in bundles.items()
        },
        "differences": {m: asdict(interval) for m, interval in differences.items()},
        "better": _better(differences[chosen].low, differences[chosen].high),
    }


def _better(low: float, high: float) -> str | None:
    """`first` or `second` where the interval of the difference excludes 0, else None: it cannot be told."""
    return "first" if low > 0 else "second" if high < 0 else None


def _shared_metric(first: Config, second: Config) -> str:
    return first.training.metric if first.training.metric == second.training.metric else "ndcg@10"


def _refuse_other_split(first: Config, second: Config) -> None:
    names = DECIDES[first.evaluation.protocol]
    pairs = [(f"evaluation.{n}", getattr(first.evaluation, n), getattr(second.evaluation, n)) for n in names]
    pairs.append(("serving.exclude_held", first.serving.exclude_held, second.serving.exclude_held))
    differing = [f"{name} is {a} and {b}" for name, a, b in pairs if a != b]
    if differing:
        raise ConfigError(
            f"the bundles are judged on different questions ({'; '.join(differing)}); "
            "train both with the same evaluation section"
        )
