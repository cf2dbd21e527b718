"""What a policy would have earned on a lake's logged decisions, put together as one report."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.campaigns.ope.estimators import ESTIMATORS, Terms
from recsys.campaigns.ope.evaluation import Evaluation, Verdict, evaluate, logged, release
from recsys.campaigns.ope.log import Floats
from recsys.campaigns.ope.policy import from_table, same_for_all
from recsys.campaigns.ope.reward_model import cross_fitted
from recsys.campaigns.ope.tables import REVENUE, Logged
from recsys.decision_log import Asked, Gathered, gather
from recsys.errors import ConfigError, DataError
from recsys.lake.store import Lake
from recsys.pages.page import write_page
from recsys.progress import Progress
from training.policy_page import page

CROSSED = 400
"""Columns up to which the reward model learns the context anew for every action."""


@dataclass(frozen=True)
class Policies:
    """The policy that is evaluated and the one in force, as they were asked for."""

    candidate: str
    in_force: str | None = None
    """None: the policy that made the log."""
    otherwise: str | None = None
    estimator: str = "dr"


def explain(
    lake: Lake, asked: Asked, policies: Policies, memory: int, progress: Progress, samples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """The content of the report. Raises ConfigError or DataError where lake or policies cannot answer."""
    if policies.estimator not in ESTIMATORS or policies.estimator == "dm":
        usable = ", ".join(name for name in ESTIMATORS if name != "dm")
        raise ConfigError(f"--estimator {policies.estimator}: a policy is released by one of {usable}")
    found = gather(lake, asked, memory, progress)
    log = found.logged.log
    candidate = probabilities(policies.candidate, found.logged, policies.otherwise)
    crossed = len(log.actions) * (found.context.shape[1] + 1) <= CROSSED
    q = cross_fitted(log, found.context, crossed=crossed, seed=seed)
    told = evaluate(log, candidate, q, samples=samples, seed=seed)
    rival, refused = _in_force(policies, found, q, samples, seed)
    if rival is None:
        verdict = Verdict(False, f"not released: of the policy in force, {refused}", policies.estimator)
    else:
        verdict = release(told, rival, log, policies.estimator)
    return {
        "schema": 1,
        "lake": {"source": lake.source, "version": lake.version, "identity": lake.identity()},
        "asked": {**asdict(asked), "customers": [list(pair) for pair in asked.customers]},
        "policy": asdict(policies),
        "currency": lake.currency if asked.reward == REVENUE else None,
        "decisions": len(log),
        "customers": int(log.customer.max()) + 1,
        "logged_value": float(log.reward.mean()),
        "context": {"columns": len(found.names), "crossed": crossed},
        "seed": seed,
        "actions": _actions(found.logged, candidate),
        **told.as_json(),
        "released": verdict.released,
        "verdict": verdict.reason,
        "gain": None if verdict.gain is None else asdict(verdict.gain),
    }


def write_report(content: Mapping[str, Any], out: Path) -> tuple[Path, Path]:
    """Write `out/policy.json` and `out/policy.html`; return their paths."""
    return write_page(out, "policy", content, page(content))


def probabilities(spec: str, log: Logged, otherwise: str | None) -> Floats:
    """What `--policy` names over the log, float64 [N, A]: a file, the folder of a plan, or the same for everybody."""
    path = Path(spec)
    return from_table(read_table(path), log, otherwise) if path.exists() else same_for_all(spec, log)


def read_table(path: Path) -> pl.DataFrame:
    """A table of who gets what: a CSV or Parquet file, or the folder of a plan, whose rows without action are dropped.

    What a plan has drawn is taken as it is, hold-out and explorers included.
    """
    try:
        if path.is_dir():
            parts = sorted(path.glob("*.parquet")) or sorted(path.rglob("*.parquet"))  # a plan's folder holds others
            if not parts:
                raise DataError(f"{path}: holds no Parquet file; the folder of a plan has them")
            table = pl.concat([pl.read_parquet(part) for part in parts], how="diagonal")
        elif path.suffix == ".parquet":
            table = pl.read_parquet(path)
        else:
            table = pl.read_csv(path, schema_overrides={"customer_id": pl.String, "action": pl.String})
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path}: cannot be read as a table: {' '.join(str(error).split())}") from error
    return table.filter(pl.col("action").is_not_null()) if path.is_dir() and "action" in table.columns else table


def _in_force(policies: Policies, found: Gathered, q: Floats, samples: int, seed: int) -> tuple[Terms | None, str]:
    """The terms of the policy in force, or why there are none."""
    log = found.logged.log
    if policies.in_force is None:
        return logged(log), ""
    chances = probabilities(policies.in_force, found.logged, policies.otherwise)
    told: Evaluation = evaluate(log, chances, q, samples=samples, seed=seed)
    return (told.terms[policies.estimator], "") if told.answered else (None, told.overlap.refused[0])


def _actions(found: Logged, candidate: Floats) -> list[dict[str, Any]]:
    """For each action how often it was drawn, at which propensity, what it earned, and what the policy would do."""
    log, rows = found.log, []
    for place, name in enumerate(log.actions):
        here = log.action == place
        rows.append(
            {
                "action": name,
                "drawn": int(here.sum()),
                "least_propensity": float(log.propensity[here].min()),
                "mean_reward": float(log.reward[here].mean()),
                "policy_share": float(np.mean(candidate[:, place])),
            }
        )
    return rows
