"""What past contacts leave of a customer: contact pressure, channels that rest, and how many contacts are left."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from recsys.campaigns.plan import CampaignPlan
from recsys.features.view import AT, DAY, NEVER, Column, arrays
from recsys.features.vocabulary import Vocabulary, vocabulary

SECOND = 1_000_000
"""Microseconds."""


@dataclass(frozen=True)
class History:
    """Of each customer asked for."""

    pressure: np.ndarray
    """float64 [N]: Σ of past contacts' pressures, each halved by the half-life."""
    resting: np.ndarray
    """bool [N, C]: contacted through the channel too recently."""
    left: np.ndarray
    """int64 [N]: contacts that the caps leave."""


def history(contacts: pl.DataFrame | None, ids: pl.Series, plan: CampaignPlan, as_of: date | None) -> History:
    """Contacts that were made before `as_of` count; without the table, or without a day, nothing has happened."""
    count, channels = len(ids), [channel.channel for channel in plan.channels]
    found = History(
        np.zeros(count),
        np.zeros((count, len(channels)), dtype=bool),
        np.full(count, plan.caps.contacts, dtype=np.int64),
    )
    if contacts is None or as_of is None or contacts.is_empty():
        return found
    customers = Vocabulary.of(ids)
    wanted: dict[str, Column] = {"customer_id": customers, "channel": vocabulary(tuple(channels)), "at": AT}
    table = arrays(contacts, {**wanted, "contacted": pl.Boolean()})
    day = (as_of - date(1970, 1, 1)).days * DAY
    made = (table["customer_id"] >= 0) & (table["contacted"] == 1) & (table["at"] != NEVER) & (table["at"] < day)
    if not made.any():
        return found
    channel, at = table["channel"][made], table["at"][made]
    age = (day - at) // SECOND / 86400
    unknown = (1.0, 1.0)  # of a channel that is not the plan's, OTHER or MISSING, the last two places
    weight = np.array([*(one.pressure for one in plan.channels), *unknown])[channel]
    row = table["customer_id"][made]
    if count > 1:
        row = np.argsort(customers.places(ids))[row]
    order = np.lexsort((weight, at))  # sums of floats depend on their order, and tables are in any
    np.add.at(found.pressure, row[order], (weight * 2.0 ** (-age / plan.fatigue.half_life_days))[order])
    cooling = np.array([*(one.cooling_off_days or -1 for one in plan.channels), -1, -1])[channel]
    rests = age <= cooling
    found.resting[row[rests], channel[rests]] = True
    if plan.caps.in_window is not None:
        lately = np.bincount(row[age <= plan.caps.window_days], minlength=count)
        np.minimum(found.left, np.maximum(plan.caps.in_window - lately, 0), out=found.left)
    return found
