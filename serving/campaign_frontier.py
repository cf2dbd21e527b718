"""The job `recsys campaign frontier`: the plan solved again over budgets, and what each level of contact brings."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recsys.campaigns.allocation import Actions, Problem, Solution, solve
from recsys.campaigns.offers import Offers
from recsys.campaigns.plan import CampaignPlan
from recsys.errors import DataError
from recsys.progress import Progress
from serving.buckets import Engine
from serving.campaign_job import Job
from serving.campaign_plan import problem_of, valued
from serving.campaign_values import Bucket

SHARES = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.25, 1.6, 2.0, 3.0)
"""The budgets that are tried, as shares of the plan's; without one, of what is spent without a budget."""
GAP = 1e-4
PAYS = 0.01
"""More budget no longer pays where one more unit of money brings less than this, its own cost taken off."""


@dataclass(frozen=True)
class Solved:
    """The plan at one budget, before any draw."""

    plan: CampaignPlan
    problem: Problem
    solution: Solution

    @classmethod
    def of(cls, plan: CampaignPlan, buckets: Sequence[Bucket], threads: int, start: np.ndarray | None) -> "Solved":
        """`start`: prices of a plan with the same limits."""
        whole = plan.model_copy(update={"holdout": 0.0, "exploration": 0.0})
        problem, _ = problem_of(whole, buckets)
        usable = start if start is not None and len(start) == len(problem.limits) else None
        return cls(whole, problem, solve(problem, threads=threads, start=usable, gap=GAP))

    @property
    def marginal(self) -> float:
        """What one more unit of budget brings, its own cost taken off: the budget's price."""
        names = list(self.problem.limits.names)
        return float(self.solution.dual[names.index("budget")]) if "budget" in names else 0.0

    def sums(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Contacts, gain and cost, float64 [G, K]: by group of segments' budgets (the last for none) and action."""
        table, groups = Offers(self.plan).table, self.problem.groups
        found = np.zeros((3, groups, table.height))
        for part, chosen in zip(self.problem.parts, self.solution.chosen, strict=True):
            for row in chosen:
                who = np.flatnonzero(row >= 0)
                what = row[who].astype(np.int64)
                group = np.full(len(who), -1) if part.group is None else np.asarray(part.group[who])
                cost = table["cost"].to_numpy()[what] if part.costs is None else part.costs[what, who]
                for kind, weight in enumerate((np.ones(len(who)), part.values[what, who], cost)):
                    np.add.at(found[kind], (group % groups, what), weight)
        return found[0], found[1], found[2]

    def point(self, budget: int | None) -> dict[str, Any]:
        """One point of the frontier; money in minor units."""
        contacts, gain, cost = self.sums()
        names = list(self.plan.segment_budgets.amounts) if self.plan.segment_budgets else []
        channel = Offers(self.plan).table["channel"].to_numpy()
        channels = [one.channel for one in self.plan.channels]
        return {
            "budget": budget,
            "spend": round(float(cost.sum()), 2),
            "expected_gain": round(float(gain.sum()), 2),
            "incremental_margin": round(float((gain + cost).sum()), 2),
            "bound": round(self.solution.bound, 2),
            "gap": self.solution.gap,
            "marginal_roi": round(self.marginal, 6),
            "contacts": int(contacts.sum()),
            "channels": {name: _part(gain[:, channel == name], cost[:, channel == name]) for name in channels},
            "segments": {name: _part(gain[g], cost[g]) for g, name in enumerate(names)},
        }


def _part(gain: np.ndarray, cost: np.ndarray) -> dict[str, float]:
    spend = round(float(cost.sum()), 2)
    return {"spend": spend, "incremental_margin": round(float(gain.sum()) + spend, 2)}


def frontier(job: Job, memory: int, threads: int, progress: Progress, engine: Engine | None = None) -> dict[str, Any]:
    """Spend and margin at every budget, where more stops paying, by channel and segment, and what levels bring."""
    buckets = valued(job, memory, threads, engine, progress)
    with job.judging():
        return _frontier(job, buckets, threads, progress)


def _frontier(job: Job, buckets: Sequence[Bucket], threads: int, progress: Progress) -> dict[str, Any]:
    plan = job.plan
    free = Solved.of(plan.model_copy(update={"budget": None}), buckets, threads, None)
    most = free.point(None)
    base = float(plan.budget or most["spend"])
    points, start, impossible = [], None, []
    for number, share in enumerate(SHARES):
        progress(number, len(SHARES), "budgets")
        budget = round(base * share)
        try:
            found = Solved.of(plan.model_copy(update={"budget": budget}), buckets, threads, start)
        except DataError as error:  # too little for the minimum volumes
            impossible.append({"budget": budget, "why": str(error)})
            continue
        start = found.solution.dual
        points.append(found.point(budget))
    return {
        **job.identity,
        "currency": job.lake.currency,
        "customers": free.problem.customers,
        "points": points,
        "impossible": impossible,
        "unlimited": most,
        "stops_paying_at": next((point["budget"] for point in points if point["marginal_roi"] < PAYS), None),
        "levels": _levels(job, buckets, threads, progress),
    }


def _levels(job: Job, buckets: Sequence[Bucket], threads: int, progress: Progress) -> list[dict[str, Any]]:
    """The plan with each level alone, and with all: what a level brings beside its own cost."""
    plan, found = job.plan, []
    whole = Solved.of(plan, buckets, threads, None)
    contacts, _, _ = whole.sums()
    of = Offers(plan).table["level"].to_numpy()
    for number, level in enumerate(plan.levels):
        progress(number, len(plan.levels), "levels")
        kept = np.flatnonzero(of == level.level)
        without = np.flatnonzero(of != level.level)
        found.append(
            {
                "level": level.level,
                "factor": level.factor,
                "cost": level.cost,
                "contacts": int(contacts[:, kept].sum()),
                "gain_with_all": round(whole.solution.value, 2),
                "gain_alone": round(_value(whole, kept, threads), 2),
                "gain_without": round(_value(whole, without, threads), 2),
            }
        )
    return found


def _value(whole: Solved, kept: np.ndarray, threads: int) -> float:
    """What the plan is worth with some of its actions only; 0 with none."""
    if not len(kept):
        return 0.0
    problem = whole.problem
    parts = [
        replace(part, values=part.values[kept], costs=None if part.costs is None else part.costs[kept])
        for part in problem.parts
    ]
    limits = replace(problem.limits, use=problem.limits.use[:, kept])
    actions = Actions(problem.actions.channel[kept], problem.actions.product[kept])
    return solve(Problem(actions, limits, parts, problem.most), threads=threads, gap=GAP).value
