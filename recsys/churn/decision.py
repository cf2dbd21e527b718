"""From probabilities to a decision: the threshold at which acting pays, and tiers from the most likely down."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from recsys.churn.config import ChurnCosts

REST = "low"
"""The tier of all others."""


class Threshold(BaseModel):
    """From which probability on a customer is acted on, why, and what that gives on validation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    probability: float = Field(ge=0, le=1)
    by: Literal["costs", "f1"]
    costs: ChurnCosts | None
    acted_on: float
    """Share of the validation customers."""
    precision: float
    """Share of those acted on who left."""
    recall: float
    """Share of those who left who were acted on."""
    f1: float
    cost: float | None
    """Mean cost of a customer, in the unit of the costs."""
    cost_of_none: float | None
    """The same if nobody were acted on."""
    cost_of_all: float | None
    """The same if everybody were."""


class Tier(BaseModel):
    """Customers from this probability on, below the tier before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    probability: float = Field(ge=0, le=1)


def choose_threshold(probabilities: np.ndarray, outcomes: np.ndarray, costs: ChurnCosts | None) -> Threshold:
    """The threshold for calibrated `probabilities` [N] of customers with these 0/1 `outcomes` [N].

    With costs, acting pays where p · missed ≥ (1 - p) · false_alarm, so from false_alarm / (false_alarm + missed) on
    (Elkan, The Foundations of Cost-Sensitive Learning, IJCAI 2001, equation 2). Without, the probability at which F1
    is best on these customers; of equal ones the highest.
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(outcomes, dtype=np.int64)
    if costs is not None:
        return judged(costs.false_alarm / (costs.false_alarm + costs.missed), "costs", p, y, costs)
    order = np.argsort(-p, kind="stable")
    last = np.append(np.diff(p[order]) != 0, True)
    hits, acted = np.cumsum(y[order])[last], np.flatnonzero(last) + 1
    f1 = 2 * hits / (acted + y.sum())
    return judged(float(p[order][last][np.argmax(f1)]), "f1", p, y, None)


def judged(
    threshold: float, by: Literal["costs", "f1"], p: np.ndarray, y: np.ndarray, costs: ChurnCosts | None
) -> Threshold:
    """What a threshold gives on customers with these probabilities and outcomes."""
    acted = p >= threshold
    hits, left, count = int((acted & (y == 1)).sum()), int((y == 1).sum()), len(y)
    false_alarms, missed = int(acted.sum()) - hits, left - hits
    return Threshold(
        probability=threshold,
        by=by,
        costs=costs,
        acted_on=float(acted.mean()),
        precision=hits / max(1, int(acted.sum())),
        recall=hits / max(1, left),
        f1=2 * hits / max(1, int(acted.sum()) + left),
        cost=None if costs is None else (false_alarms * costs.false_alarm + missed * costs.missed) / count,
        cost_of_none=None if costs is None else left * costs.missed / count,
        cost_of_all=None if costs is None else (count - left) * costs.false_alarm / count,
    )


def tier_bounds(probabilities: np.ndarray, shares: Mapping[str, float]) -> tuple[Tier, ...]:
    """The probability from which each tier begins, so that these shares of the customers are at or above it."""
    p = np.sort(np.asarray(probabilities, dtype=np.float64))[::-1]
    places = {name: min(len(p) - 1, max(0, round(share * len(p)) - 1)) for name, share in shares.items()}
    return tuple(Tier(name=name, probability=float(p[place])) for name, place in places.items())


def tier_of(probabilities: np.ndarray, tiers: Sequence[Tier]) -> pl.Series:
    """The name of each customer's tier; `low` below all of them."""
    p = np.asarray(probabilities, dtype=np.float64)
    place = np.full(len(p), len(tiers))
    for i in reversed(range(len(tiers))):
        place[p >= tiers[i].probability] = i
    return pl.Series("tier", [*(tier.name for tier in tiers), REST], dtype=pl.String)[place]
