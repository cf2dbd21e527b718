"""The job `recsys campaign plan`: values bucket by bucket, prices from all of them, then the plan bucket by bucket."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.campaigns.allocation import Limits, Problem, Solution, solve
from recsys.campaigns.draw import EXPLORED, HELD_OUT, PLANNED, Draw, Expected, draw, set_aside
from recsys.campaigns.offers import Offers
from recsys.campaigns.plan import CampaignPlan
from recsys.campaigns.prices import PublishedLimit, PublishedPrices
from recsys.campaigns.reasons import Words, best_single, charged
from recsys.durable import rename
from recsys.pages.page import write_page
from recsys.progress import Progress
from serving.batch import PARQUET
from serving.buckets import Engine, Work, answer_all
from serving.campaign_arrays import read_values, valuing_all
from serving.campaign_job import VALUES, Job
from serving.campaign_off_policy import off_policy
from serving.campaign_page import plan_page
from serving.campaign_summary import summary
from serving.campaign_values import Bucket
from serving.run_record import partial_of

PRICES, SUMMARY, REMOVED = "prices.json", "plan.json", "removed"
GAP = 1e-5
ARMS = (PLANNED, HELD_OUT, EXPLORED)
COLUMNS: dict[str, Any] = {
    "customer_id": pl.String,
    "action": pl.String,
    "product_id": pl.String,
    "channel": pl.String,
    "level": pl.String,
    "expected_gain": pl.Float64,
    "cost": pl.Float64,
    "price": pl.Float64,
    "reason": pl.String,
    "arm": pl.String,
    "propensity": pl.Float64,
}
"""A row for each contact, and one without an action for each customer who gets none. `expected_gain` (costs taken
off), `cost` and `price` (of what the contact takes of the limits) in minor units; `propensity`: of the whole decision
about the customer."""


def make_plan(job: Job, memory: int, threads: int, progress: Progress, engine: Engine | None = None) -> dict[str, Any]:
    """Write the plan, its prices and its summary; return the summary. A run that was cut short is continued.

    With an `engine` other processes value the buckets; prices and files are made here, from the same values.
    """
    if (job.out / SUMMARY).exists():
        found: dict[str, Any] = json.loads((job.out / SUMMARY).read_text(encoding="utf-8"))
        return found
    buckets = valued(job, memory, threads, engine, progress)
    with job.judging():
        problem, limits = problem_of(job.plan, buckets)
        solution = solve(problem, threads=threads, gap=GAP, said=lambda what: progress(0, 1, what))
    words, drawn = Words(Offers(job.plan), job.unit), []
    for number, bucket in enumerate(buckets):
        progress(number, len(buckets), "buckets written")
        here = drawn_of(job.plan, bucket, solution.chosen[number])
        drawn.append(here)
        rows = _rows(job, bucket, problem, solution, number, here, words)
        _write_rows(job.out / f"bucket={number:04d}.parquet", rows)
        if bucket.removed is not None:
            (job.out / REMOVED).mkdir(exist_ok=True)
            _write_rows(job.out / REMOVED / f"bucket={number:04d}.parquet", _removed(job, bucket))
    published(job, problem, solution).write(job.out / PRICES)
    content = summary(job, problem, limits, solution, buckets, drawn)
    content["off_policy"] = off_policy(job, buckets, solution.chosen, memory, progress)
    write_page(job.out, "plan", content, plan_page(content))
    job.tidy()
    return content


def valued(job: Job, memory: int, threads: int, engine: Engine | None, progress: Progress) -> list[Bucket]:
    """Values of every bucket, found in this process or by an engine, written once and mapped."""
    ask = partial(
        valuing_all, plan=job.plan, rules=job.rules, rules_file=job.rules_path, threads=threads, since=job.since
    )
    (job.out / VALUES).mkdir(exist_ok=True)
    work = Work.of(job.bundle, job.lake, job.day, ask, job.out / VALUES, suffix="", memory=memory)
    answer_all(work, ask(job.bundle, job.lake, job.day), job.lake, engine, progress, "buckets valued")
    return [read_values(work.file(bucket)) for bucket in range(job.lake.buckets)]


def problem_of(plan: CampaignPlan, buckets: Sequence[Bucket]) -> tuple[Problem, Limits]:
    """What is allocated, and the limits as the plan states them; of those explorers are set aside what they take."""
    offers, stated = Offers(plan), Offers(plan).limits()
    expected, share = Expected.nothing(stated), (1 - plan.holdout) * plan.exploration
    for bucket in buckets:
        expected.add(stated, bucket.allowed, bucket.part.costs, bucket.part.group, share)
    usable = set_aside(stated, expected, plan.holdout, plan.exploration, plan.caps.contacts)
    limits = replace(stated, limit=usable)
    return Problem(offers.actions, limits, [bucket.part for bucket in buckets], plan.caps.contacts), stated


def drawn_of(plan: CampaignPlan, bucket: Bucket, planned: np.ndarray) -> Draw:
    """The draw of hold-out and explorers for a bucket."""
    return draw(bucket.ids, planned, bucket.allowed, plan.holdout, plan.exploration, plan.seed)


def published(job: Job, problem: Problem, solution: Solution) -> PublishedPrices:
    """What `prices.json` says."""
    table, limits = Offers(job.plan).table, problem.limits
    budgets = job.plan.segment_budgets
    return PublishedPrices(
        plan=job.plan.name,
        version=job.version,
        bundle_id=job.bundle.bundle_id,
        as_of=job.day,
        valid_until=job.day + timedelta(days=job.plan.valid_days) if job.day else None,
        contacts=problem.most,
        groups=tuple(budgets.amounts) if budgets else (),
        action=tuple(table["action"]),
        product_id=tuple(table["product_id"]),
        channel=tuple(table["channel"]),
        level=tuple(table["level"]),
        cost=tuple(table["cost"]),
        limits=tuple(
            PublishedLimit(
                name=limits.names[j],
                price=float(solution.dual[j]),
                limit=float(limits.limit[j]),
                planned=float(solution.used[j]),
                use=tuple(limits.use[j].tolist()),
                personal=bool(limits.personal[j]),
                group=int(limits.group[j]),
            )
            for j in range(len(limits))
        ),
    )


def _rows(
    job: Job, bucket: Bucket, problem: Problem, solution: Solution, number: int, here: Draw, words: Words
) -> pl.DataFrame:
    """The file's rows for one bucket, by customer and action."""
    table, prices = Offers(job.plan).table, problem.limits.prices(solution.dual, problem.groups)
    part, planned, priced = bucket.part, solution.chosen[number], solution.priced[number]
    place = [np.flatnonzero(row >= 0) for row in here.chosen]
    who = np.concatenate(place)
    what = np.concatenate([row[at] for row, at in zip(here.chosen, place, strict=True)]).astype(np.int64)
    nobody = np.flatnonzero((here.chosen < 0).all(axis=0))
    found = charged(part.take(who), prices, what)
    by_price = (priced[:, who] == what).any(axis=0)
    cost = table["cost"].to_numpy()[what] if part.costs is None else np.asarray(part.costs)[what, who].astype(float)
    reasons = [
        "drawn at random to learn" if arm == 2 else words.contacted(gain, price, by)
        for arm, gain, price, by in zip(here.arm[who], found.gain, found.price, by_price, strict=True)
    ]
    contacts = pl.DataFrame({"customer_id": bucket.ids.gather(who)}).with_columns(
        *(table[name].gather(what) for name in ("action", "product_id", "channel", "level")),
        pl.Series("expected_gain", found.gain),
        pl.Series("cost", cost),
        pl.Series("price", found.price),
        pl.Series("reason", reasons, dtype=pl.String),
        *_drawn_columns(here, who),
    )
    rest = pl.DataFrame({"customer_id": bucket.ids.gather(nobody)}).with_columns(
        pl.Series("reason", _why_not(bucket, planned, here, nobody, prices, words), dtype=pl.String),
        *_drawn_columns(here, nobody),
    )
    rows = pl.concat([contacts, rest], how="diagonal").sort("customer_id", "action")
    return rows.select(pl.col(name).cast(dtype) for name, dtype in COLUMNS.items())


def _drawn_columns(here: Draw, rows: np.ndarray) -> list[pl.Series]:
    return [
        pl.Series("arm", [ARMS[arm] for arm in here.arm[rows]], dtype=pl.String),
        pl.Series("propensity", here.propensity[rows]),
    ]


def _removed(job: Job, bucket: Bucket) -> pl.DataFrame:
    """`customer_id, action, rule`: every action that a rule removed and all else had allowed, by customer."""
    assert bucket.removed is not None
    who, what = np.nonzero(np.asarray(bucket.removed).T >= 0)
    rule = np.asarray(bucket.removed)[what, who]
    return pl.DataFrame(
        {
            "customer_id": bucket.ids.gather(who),
            "action": Offers(job.plan).table["action"].gather(what),
            "rule": pl.Series(bucket.rules, dtype=pl.String).gather(rule),
        }
    )


def _why_not(bucket: Bucket, planned: np.ndarray, here: Draw, rows: np.ndarray, prices: Any, words: Words) -> list[str]:
    part = bucket.part.take(rows)
    best = best_single(part, prices)
    at = charged(part, prices, best)
    said = []
    for i, row in enumerate(rows.tolist()):
        if here.arm[row] == 1 and (planned[:, row] >= 0).any():
            said.append("held out to measure the effect")
        else:
            gain, price = float(at.gain[i]), float(at.price[i])
            said.append(words.not_contacted(int(bucket.blocked[row]), int(best[i]), gain, price, bucket.ruled_by(row)))
    return said


def _write_rows(path: Path, rows: pl.DataFrame) -> None:
    written = partial_of(path)
    rows.write_parquet(written, **PARQUET)
    rename(written, path)
