"""The retention list: who is contacted, by what, with what expected gain, and who is held out to measure it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from recsys.retention.choice import NONE, Capacity, Choice, within
from recsys.retention.measurement import held_out
from recsys.retention.plan import RetentionPlan

CONTACT, HOLD_OUT = "contact", "hold_out"
LIST: dict[str, Any] = {
    "rank": pl.Int64,
    "customer_id": pl.String,
    "tier": pl.String,
    "probability": pl.Float64,
    "at_stake": pl.Float64,
    "action": pl.String,
    "channel": pl.String,
    "cost": pl.Float64,
    "save_rate": pl.Float64,
    "save_rate_origin": pl.String,
    "expected_gain": pl.Float64,
    "break_even": pl.Float64,
    "arm": pl.String,
    "propensity": pl.Float64,
    "randomised": pl.Boolean,
}
"""Columns of the list. `cost`, `at_stake`, `expected_gain` in minor units; `break_even`: the save rate from which the
action pays; `propensity`: the probability of the arm that was drawn, as the table contacts has it."""


@dataclass(frozen=True)
class Drawn:
    """A list, and how it came about."""

    rows: pl.DataFrame
    """`LIST`, by rank."""
    choice: Choice
    budget: float


def gains(customers: pl.DataFrame, plan: RetentionPlan) -> tuple[np.ndarray, np.ndarray]:
    """Expected gain [N, K] of each action, P(leave) · at stake · save rate - cost, and the cost [K] of a contact."""
    risk = (customers["probability"] * customers["at_stake"]).to_numpy()
    rates = np.array([action.save_rate.value for action in plan.actions])
    cost = np.array([action.expected_cost for action in plan.actions])
    return risk[:, None] * rates - cost, cost


def draw_up(customers: pl.DataFrame, allowed: np.ndarray, plan: RetentionPlan, budget: float) -> Drawn:
    """The list for customers with `customer_id`, `tier`, `probability` of leaving and `at_stake` (minor units).

    `allowed` bool [N, K]: who may be contacted by which action. Each customer gets at most one action, only one with
    an expected gain; all of them together cost at most `budget` (minor units) and keep the channels' capacities. A
    random share is held out.
    """
    gain, cost = gains(customers, plan)
    out = held_out(customers["customer_id"], plan.holdout, plan.seed)
    choice = within(gain, cost, allowed, budget, out, _capacities(plan))
    rows = np.flatnonzero(choice.action != NONE)
    action = choice.action[rows]
    chosen = [plan.actions[k] for k in action]
    risk = (customers["probability"] * customers["at_stake"]).to_numpy()[rows]
    shares = np.where(out[rows], plan.holdout, 1 - plan.holdout)
    found = customers[rows].select("customer_id", "tier", "probability", "at_stake")
    found = found.with_columns(
        pl.Series("action", [a.name for a in chosen], dtype=pl.String),
        pl.Series("channel", [a.channel for a in chosen], dtype=pl.String),
        pl.Series("cost", cost[action]),
        pl.Series("save_rate", [a.save_rate.value for a in chosen], dtype=pl.Float64),
        pl.Series("save_rate_origin", [a.save_rate.origin for a in chosen], dtype=pl.String),
        pl.Series("expected_gain", gain[rows, action]),
        pl.Series("break_even", cost[action] / risk),
        pl.Series("arm", np.where(out[rows], HOLD_OUT, CONTACT).tolist(), dtype=pl.String),
        pl.Series("propensity", np.where(choice.randomised[rows], shares, 1.0)),
        pl.Series("randomised", choice.randomised[rows]),
    )
    found = found.sort("expected_gain", "customer_id", descending=[True, False]).with_row_index("rank", offset=1)
    return Drawn(found.select(pl.col(name).cast(dtype) for name, dtype in LIST.items()), choice, budget)


def _capacities(plan: RetentionPlan) -> list[Capacity]:
    return [
        Capacity(f"capacity of {channel}", np.array([action.channel == channel for action in plan.actions]), most)
        for channel, most in plan.capacities.items()
    ]
