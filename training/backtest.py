"""Rolling-origin evaluation: the same configuration trained and judged at several cuts in time, and the spread."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from recsys.bundle import Bundle
from recsys.durable import rename
from recsys.errors import ConfigError
from recsys.features.examples import last_day
from recsys.lake.store import Lake
from recsys.progress import Progress
from training.config import Config
from training.evaluate import MODEL, evaluate
from training.fit import train


def origins(config: Config, lake: Lake, count: int, stride_days: int | None) -> list[Config]:
    """The configuration at each origin, the earliest first; the last one is the configuration's own.

    All other parts are left out: the recommender is what is judged, and needs a shorter past.
    Without a stride the test windows touch and do not overlap: the stride is the horizon.
    Raises ConfigError for a protocol that does not split by time.
    """
    if config.evaluation.protocol != "temporal":
        raise ConfigError(
            f"evaluation.protocol: {config.evaluation.protocol} does not split by time, so it cannot be moved in time; "
            "a backtest needs temporal"
        )
    until = last_day(config.evaluation, lake.as_of)
    if until is None:
        raise ConfigError("evaluation.protocol: temporal needs dated events, and this lake has none")
    stride = timedelta(days=stride_days or config.evaluation.horizon_days)
    moved = []
    for back in reversed(range(count)):
        evaluation = config.evaluation.model_copy(update={"until": until - stride * back})
        others = dict.fromkeys(("adoption", "churn", "embedding", "segments", "uplift", "tuning"))
        moved.append(config.model_copy(update={"evaluation": evaluation, **others}))
    return moved


def backtest(at: Sequence[Config], lake: Lake, out: Path, progress: Progress) -> dict[str, Any]:
    """Train and judge at each origin; the report of `recsys backtest --json`.

    What an origin gave is kept in `out/.backtest-…`, named by configuration and lake version, so that a run that was
    stopped goes on with the origin at which it stopped; the bundles stay under `out`.
    """
    key = hashlib.sha256("".join([c.model_dump_json() for c in at] + [lake.identity()]).encode()).hexdigest()[:12]
    kept = out / f".backtest-{at[-1].name}-{key}"
    kept.mkdir(parents=True, exist_ok=True)
    found = []
    for i, config in enumerate(at):

        def within(done: int, total: int, what: str, i: int = i, day: object = config.evaluation.until) -> None:
            progress(i * 1000 + (1000 * done) // max(total, 1), 1000 * len(at), f"until {day}: {what}")

        path = kept / f"{config.evaluation.until}.json"
        if not path.exists():
            bundle = train(config, lake, out, within)
            result = {"until": str(config.evaluation.until), "bundle": str(bundle)}
            result |= evaluate(Bundle.load(bundle), lake, within)
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(result), encoding="utf-8")
            rename(partial, path)
        found.append(json.loads(path.read_text(encoding="utf-8")))
    return {"origins": found, **_spread(found)}


def _spread(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Over origins: mean, standard deviation, least and most of each metric, of the models that every origin has.

    `ahead` and `behind` count the origins at which the interval of a difference excludes 0.
    """
    models = [name for name in found[0]["models"] if all(name in one["models"] for one in found)]
    spread = {
        name: {
            metric: _over([one["models"][name][metric]["value"] for one in found])
            for metric in found[0]["models"][name]
        }
        for name in models
    }
    ahead = {
        name: {
            metric: {
                **_over([one["differences"][name][metric]["value"] for one in found]),
                "ahead": sum(one["differences"][name][metric]["low"] > 0 for one in found),
                "behind": sum(one["differences"][name][metric]["high"] < 0 for one in found),
            }
            for metric in found[0]["differences"][name]
        }
        for name in models
        if name != MODEL
    }
    return {"models": spread, "differences": ahead}


def _over(values: Sequence[float]) -> dict[str, float]:
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "sd": sd, "min": min(values), "max": max(values)}
