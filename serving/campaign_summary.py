"""What a campaign plan comes to: value beside its bound, prices in words, use of every limit; aggregates only."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np

from recsys.campaigns.allocation import Limits, Problem, Solution
from recsys.campaigns.allocation.solve import plan_use, plan_value
from recsys.campaigns.draw import Draw
from recsys.campaigns.offers import Offers, used_money
from recsys.campaigns.reasons import CAPPED, CONSENT, LATER, LEFT, NOTHING, RESTING, RULED
from recsys.segment_cards.suppression import hidden_parts
from serving.campaign_job import Job
from serving.campaign_values import Bucket
from serving.store.event_rows import TABLES_IN

BLOCKED = {
    "has_left": LEFT,
    "not_a_customer_yet": LATER,
    "no_consent": CONSENT,
    "resting": RESTING,
    "window_used_up": CAPPED,
    "nothing_eligible": NOTHING,
    "ruled_out": RULED,
}


def summary(
    job: Job, problem: Problem, stated: Limits, solution: Solution, buckets: Sequence[Bucket], drawn: Sequence[Draw]
) -> dict[str, Any]:
    """The content of `plan.json`; groups of fewer than ten customers are not told of."""
    done = [here.chosen for here in drawn]
    arms = np.bincount(np.concatenate([here.arm for here in drawn]), minlength=3)
    used = plan_use(problem, done)
    money_rows = used_money(stated.names)
    blocked = np.concatenate([bucket.blocked for bucket in buckets])
    content = {
        **job.identity,
        "version": job.version,
        "currency": job.lake.currency,
        "customers": problem.customers,
        "contacted": int(sum((chosen >= 0).any(axis=0).sum() for chosen in done)),
        "contacts": int(sum((chosen >= 0).sum() for chosen in done)),
        "held_out": int(arms[1]),
        "exploring": int(arms[2]),
        "expected_gain": round(plan_value(problem, done), 2),
        "planned_gain": round(solution.value, 2),
        "bound": round(solution.bound, 2),
        "gap": solution.gap,
        "cautious": job.plan.caution,
        "passes": solution.passes,
        "limits": [_limit(job, problem, stated, solution, used, j, bool(money_rows[j])) for j in range(len(stated))],
        "actions": _actions(job, problem, done),
        "not_allowed": {name: int((blocked == code).sum()) for name, code in BLOCKED.items()},
        "removed": _removed(buckets),
        "notes": [],
    }
    content["notes"] = _notes(job, content)
    return content


def _limit(
    job: Job, problem: Problem, stated: Limits, solution: Solution, used: np.ndarray, j: int, is_money: bool
) -> dict[str, Any]:
    """A limit, what the plan and the draw took of it, and its price in words."""
    name, price = stated.names[j], float(solution.dual[j])
    sign = -1.0 if stated.limit[j] < 0 else 1.0
    return {
        "name": name,
        "limit": float(sign * stated.limit[j]),
        "usable": round(float(sign * problem.limits.limit[j]), 2),
        "planned": round(float(sign * solution.used[j]), 2),
        "used": round(float(sign * used[j]), 2),
        "price": price,
        "words": _words(job, name, price, is_money),
    }


def _words(job: Job, name: str, price: float, is_money: bool) -> str:
    if price <= 0 and name.startswith("minimum"):
        return f"{name}: met without loss, less asked for would bring nothing"
    if price <= 0:
        return f"{name}: not used up, more of it would bring nothing"
    if is_money:
        return f"{name}: one more unit of money brings {1 + price:.2f} before its cost, {price:.2f} after it"
    what = name.split(" of ", 1)[-1]
    brings = f"{price / job.unit:,.2f} {job.lake.currency or '(minor units)'}"
    if name.startswith("minimum"):
        return f"{name}: one contact about {what} less asked for brings {brings}"
    if name.startswith("capacity"):
        return f"{name}: one more contact by {what} brings {brings}"
    return f"{name}: one more {what} brings {brings}"


def _actions(job: Job, problem: Problem, done: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    table = Offers(job.plan).table
    counts = np.zeros(table.height)
    gain = np.zeros(table.height)
    for part, chosen in zip(problem.parts, done, strict=True):
        for row in chosen:
            who = np.flatnonzero(row >= 0)
            counts += np.bincount(row[who], minlength=table.height)
            gain += np.bincount(row[who], weights=part.values[row[who], who], minlength=table.height)
    hidden = hidden_parts(counts.reshape(-1, 1))[:, 0]
    return [
        {
            **row,
            "contacts": None if hidden[k] else int(counts[k]),
            "expected_gain": None if hidden[k] else round(float(gain[k]), 2),
        }
        for k, row in enumerate(table.select("action", "product_id", "channel", "level", "cost").to_dicts())
    ]


def _removed(buckets: Sequence[Bucket]) -> list[dict[str, Any]]:
    """What each rule was the first to remove of what all else had allowed."""
    names = next((bucket.rules for bucket in buckets if bucket.rules), ())
    actions, customers = np.zeros(len(names), dtype=np.int64), np.zeros(len(names), dtype=np.int64)
    for bucket in buckets:
        if bucket.removed is not None:
            for rule in range(len(names)):
                gone = np.asarray(bucket.removed) == rule
                actions[rule] += gone.sum()
                customers[rule] += gone.any(axis=0).sum()
    return [
        {"rule": name, "customers": int(customers[rule]), "actions": int(actions[rule])}
        for rule, name in enumerate(names)
    ]


def _notes(job: Job, content: dict[str, Any]) -> list[str]:
    plan, said = job.plan, []
    if plan.budget == 0:
        said.append("The budget is 0: only what costs nothing can be done.")
    if not content["contacts"] and plan.budget != 0:
        said.append("Nobody is contacted: no allowed contact is expected to bring more than it costs and takes.")
    if plan.effect == "lift" and any(c.lift and c.lift.origin != "measured" for c in plan.channels):
        said.append(
            "The lifts have not been measured on this bank's customers. Gains are what follows if they are right; the "
            "hold-out of this plan measures them (recsys campaign measure)."
        )
    if "consents" not in job.lake.tables:
        said.append("The lake has no table consents: whether these customers may be contacted is not known here.")
    if "contacts" not in job.lake.tables and job.store is None:
        said.append("The lake has no table contacts: cooling-off, windows and contact pressure start from nothing.")
    if job.store is not None:
        said.append(_since(job.store, job.day))
    if not plan.holdout:
        said.append("Nobody is held out, so what this plan brings cannot be measured.")
    return said


def _since(store: Mapping[str, Any], day: date | None) -> str:
    """What the plan took from a store."""
    later = day is not None and store.get("last", "") >= day.isoformat()
    events = sum(store[table] for table in TABLES_IN)
    return (
        f"From the store since the lake: {events:,} events ({store['contacts']:,} of them contacts made), "
        f"{store['decisions']:,} decisions, {store['consents']:,} consents given or withdrawn, {store['erased']:,} "
        "customers erased" + (f"; what is of {day} or later does not count." if later else ".")
    )
