"""What the log of decisions says of a plan: its gain over no contact, beside the model's, or why that is not known."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from recsys.campaigns.offers import Offers
from recsys.campaigns.ope.evaluation import Evaluation, evaluate
from recsys.campaigns.ope.intervals import difference
from recsys.campaigns.ope.policy import from_table, same_for_all
from recsys.campaigns.ope.reward_model import cross_fitted
from recsys.campaigns.ope.tables import REVENUE
from recsys.decision_log import Asked, gather
from recsys.errors import ConfigError, DataError
from recsys.progress import Progress
from serving.campaign_job import Job
from serving.campaign_values import Bucket

ESTIMATOR, NONE = "dr", "none"
CROSSED = 400
"""Columns up to which the reward model learns the context anew for every action."""
POLICY: dict[str, Any] = {"customer_id": pl.String, "action": pl.String, "probability": pl.Float64, "worth": pl.Float64}


def off_policy(
    job: Job, buckets: Sequence[Bucket], planned: Sequence[np.ndarray], memory: int, progress: Progress
) -> dict[str, Any]:
    """Per decision of the log, in minor units: what the plan with its draw earns beyond doing nothing, contacts' costs
    taken off, doubly robust with a 95 % interval, and what the model expects of the same customers.

    `why` instead of these where the log cannot tell it.
    """
    lake = job.lake
    if "decisions" not in lake.tables or "outcomes" not in lake.tables:
        return {"why": "the lake has no tables decisions and outcomes: no decision and what came of it is logged"}
    try:
        found = gather(lake, Asked(REVENUE, by="action"), memory, progress)
        log, customers = found.logged.log, found.logged.rows["customer_id"]
        table = policy_table(job, buckets, planned, customers.unique())
        candidate = from_table(table, found.logged, NONE)
        nothing = same_for_all(f"always:{NONE}", found.logged)
    except (ConfigError, DataError) as error:
        return {"why": str(error)}
    crossed = len(log.actions) * (found.context.shape[1] + 1) <= CROSSED
    q = cross_fitted(log, found.context, crossed=crossed, seed=job.plan.seed)
    told, still = evaluate(log, candidate, q, seed=job.plan.seed), evaluate(log, nothing, q, seed=job.plan.seed)
    if why := _refused(told, still):
        return {"why": why, "decisions": len(log)}
    gain = difference(told.terms[ESTIMATOR], still.terms[ESTIMATOR], log.customer)
    cost = float((candidate @ _costs(job, log.actions)).mean())
    worth = dict(table.group_by("customer_id").agg(pl.col("worth").sum()).iter_rows())
    return {
        "estimator": ESTIMATOR,
        "decisions": len(log),
        "customers": int(log.customer.max()) + 1,
        "effective": round(told.overlap.effective, 1),
        "value": round(gain.value - cost, 4),
        "low": round(gain.low - cost, 4),
        "high": round(gain.high - cost, 4),
        "model": round(float(np.mean([worth.get(customer, 0.0) for customer in customers])), 4),
    }


def policy_table(
    job: Job, buckets: Sequence[Bucket], planned: Sequence[np.ndarray], customers: pl.Series
) -> pl.DataFrame:
    """Who gets which action with which probability under the plan and its draw, and what the model expects of that
    (`worth`: probability × expected gain); the rest of 1 is no contact. Several contacts are one action, `a + b`."""
    plan, names = job.plan, Offers(job.plan).table["action"].to_list()
    rows: list[tuple[str, str, float, float]] = []
    for bucket, chosen in zip(buckets, planned, strict=True):
        for row in np.flatnonzero(bucket.ids.is_in(customers.implode()).to_numpy()):
            customer, value = bucket.ids[int(row)], np.asarray(bucket.part.values[:, row], dtype=np.float64)
            allowed = np.flatnonzero(np.isfinite(value))
            explore = plan.exploration if len(allowed) else 0.0
            mine = sorted(int(action) for action in chosen[:, row] if action >= 0)
            share = (1 - plan.holdout) * explore / max(len(allowed), 1)
            chance: dict[tuple[int, ...], float] = {(int(action),): share for action in allowed if share}
            if mine:
                done = (1 - plan.holdout) * (1 - explore)
                chance[tuple(mine)] = chance.get(tuple(mine), 0.0) + done
            rows += [
                (customer, " + ".join(sorted(names[a] for a in actions)), p, p * float(value[list(actions)].sum()))
                for actions, p in chance.items()
            ]
    return pl.DataFrame(rows, schema=POLICY, orient="row")


def _costs(job: Job, actions: Sequence[str]) -> np.ndarray:
    """float64 [A]: of the contacts of each action that the log knows, rewards aside; 0 for what is not of this plan."""
    cost = dict(Offers(job.plan).table.select("action", "cost").iter_rows())
    return np.array([sum(cost.get(name, 0.0) for name in action.split(" + ")) for action in actions])


def _refused(told: Evaluation, still: Evaluation) -> str | None:
    if not told.answered:
        return told.overlap.refused[0]
    return None if still.answered else f"of no contact at all, {still.overlap.refused[0]}"
