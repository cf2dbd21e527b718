"""What a retention list costs and may gain, on what assumptions, and what it will be able to show: aggregates only."""

from typing import Any

import numpy as np
import polars as pl

from recsys.retention.listing import CONTACT, HOLD_OUT, Drawn
from recsys.retention.measurement import detectable
from recsys.retention.plan import RetentionPlan
from recsys.segment_cards.suppression import hidden_parts

UNMEASURED = (
    "Save rates have not been measured. Gains are what follows if they are right; the hold-out of this list measures "
    "them."
)


def summary(drawn: Drawn, plan: RetentionPlan) -> dict[str, Any]:
    """Sums over the list; nothing is told of groups of fewer than ten customers, nor what would give them away."""
    rows, choice = drawn.rows, drawn.choice
    contacted = rows.filter(pl.col("arm") == CONTACT)
    return {
        "schema": 1,
        "budget": drawn.budget,
        "listed": rows.height,
        "contacted": contacted.height,
        "held_out": rows.height - contacted.height,
        "spent": round(choice.spent, 2),
        "expected_leavers": round(float(contacted["probability"].sum()), 3),
        "expected_saved": round(float((contacted["probability"] * contacted["save_rate"]).sum()), 3),
        "expected_gain": {name: round(_gain(contacted, plan, name), 2) for name in ("value", "low", "high")},
        "of_the_best_possible": round(choice.gain / choice.bound, 6) if choice.bound > 0 else None,
        "actions": _actions(contacted, plan),
        "tiers": _tiers(contacted),
        "measurement": _measurement(rows, plan),
        "notes": _notes(drawn, plan),
    }


def _gain(contacted: pl.DataFrame, plan: RetentionPlan, which: str) -> float:
    """Expected gain of the same list if every save rate is the best guess, the least or the most that it may be."""
    rates = {a.name: a.save_rate.value if (r := getattr(a.save_rate, which)) is None else r for a in plan.actions}
    rate = contacted["action"].replace_strict(rates, return_dtype=pl.Float64)
    return float((contacted["probability"] * contacted["at_stake"] * rate - contacted["cost"]).sum())


def _actions(contacted: pl.DataFrame, plan: RetentionPlan) -> list[dict[str, Any]]:
    counts = [contacted.filter(pl.col("action") == action.name).height for action in plan.actions]
    return [
        {
            "action": action.name,
            "channel": action.channel,
            "cost": action.expected_cost,
            "save_rate": action.save_rate.model_dump(),
            "customers": None if hidden else count,
        }
        for action, count, hidden in zip(plan.actions, counts, _hidden(counts), strict=True)
    ]


def _tiers(contacted: pl.DataFrame) -> list[dict[str, Any]]:
    each = contacted.group_by("tier").agg(
        pl.len().alias("customers"), pl.col("probability").mean(), pl.col("cost").sum(), pl.col("expected_gain").sum()
    )
    each = each.sort("probability", "tier", descending=[True, False])
    shown = each.filter(~pl.Series(_hidden(each["customers"].to_list()), dtype=pl.Boolean))
    return shown.with_columns(pl.col(pl.Float64).round(4)).to_dicts()


def _hidden(counts: list[int]) -> list[bool]:
    """Which parts of the whole stand for too few; a lone one would be the whole less the others."""
    return [bool(hidden) for hidden in hidden_parts(np.array(counts, dtype=np.float64).reshape(-1, 1))[:, 0]]


def _measurement(rows: pl.DataFrame, plan: RetentionPlan) -> dict[str, Any]:
    both = rows.filter("randomised")
    held = (both["arm"] == HOLD_OUT).to_numpy()
    least = detectable(both["probability"].to_numpy(), held)
    return {
        "share_held_out": plan.holdout,
        "seed": plan.seed,
        "contacted": int((~held).sum()),
        "held_out": int(held.sum()),
        "detectable_save_rate": None if least is None else round(least, 4),
    }


def _notes(drawn: Drawn, plan: RetentionPlan) -> list[str]:
    if drawn.budget <= 0:
        return ["The budget is 0: nobody is contacted."]
    if not drawn.rows.height:
        return ["Nobody is contacted: no allowed action is expected to bring more than it costs."]
    said = [] if all(action.save_rate.origin == "measured" for action in plan.actions) else [UNMEASURED]
    found = _measurement(drawn.rows, plan)
    least, expected = found["detectable_save_rate"], _mean_rate(drawn.rows)
    if plan.holdout == 0:
        said.append("Nobody is held out, so what this list brings cannot be measured.")
    elif least is None:
        said.append(
            f"{found['held_out']} held out beside {found['contacted']} contacted are too few to show any save rate; a "
            "longer list or a larger hold-out is needed to measure one."
        )
    elif least > expected:
        said.append(
            f"With {found['held_out']:,} held out beside {found['contacted']:,} contacted, a save rate of {least:.0%} "
            f"would be found 4 times of 5. The expected {expected:.0%} is less, so this list alone may not show it: "
            "hold out more, or add several lists up."
        )
    return said


def _mean_rate(rows: pl.DataFrame) -> float:
    risk = rows["probability"].to_numpy()
    return float(np.average(rows["save_rate"].to_numpy(), weights=risk)) if risk.sum() > 0 else 0.0
