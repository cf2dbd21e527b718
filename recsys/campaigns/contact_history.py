"""What past contacts leave of a customer: contact pressure, channels that rest, and how many contacts are left."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from recsys.campaigns.plan import CampaignPlan
from recsys.features.view import AT, DAY, FEW_ROWS, NEVER, Column, arrays, tuples
from recsys.features.vocabulary import Vocabulary, vocabulary

SECOND = 1_000_000
"""Microseconds."""
UNKNOWN = (1.0, 1.0)
"""Pressure of a channel that is not the plan's, OTHER or MISSING, whose places -1 and -2 are the last two."""


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
    wanted["contacted"] = pl.Boolean()
    day = (as_of - date(1970, 1, 1)).days * DAY
    if count == 1 and contacts.height <= FEW_ROWS:
        _one(found, tuples(contacts, wanted), plan, day)
    else:
        _many(found, arrays(contacts, wanted), customers.places(ids), plan, day)
    return found


def _one(found: History, contacts: Iterable[tuple[int, ...]], plan: CampaignPlan, day: int) -> None:
    """Fill in the one customer's, by contacts before a day, microseconds: customer, channel, time and contacted."""
    weights = [*(one.pressure for one in plan.channels), *UNKNOWN]
    made = sorted(
        (at, weights[channel], channel)
        for customer, channel, at, contacted in contacts
        if customer >= 0 and contacted == 1 and NEVER < at < day
    )
    if not made:
        return
    ages = [(day - at) // SECOND / 86400 for at, _, _ in made]
    faded = 2.0 ** (-np.array(ages) / plan.fatigue.half_life_days)  # by NumPy, whose last bits are its own
    for (_, weight, channel), age, share in zip(made, ages, faded.tolist(), strict=True):
        found.pressure[0] += weight * share
        if channel >= 0 and age <= (plan.channels[channel].cooling_off_days or -1):
            found.resting[0, channel] = True
    if plan.caps.in_window is not None:
        lately = sum(age <= plan.caps.window_days for age in ages)
        found.left[0] = min(found.left[0], max(plan.caps.in_window - lately, 0))


def _many(found: History, table: Mapping[str, np.ndarray], places: np.ndarray, plan: CampaignPlan, day: int) -> None:
    """The same of customers [N] with these places in a vocabulary, by `arrays` of the contacts, all at once."""
    made = (table["customer_id"] >= 0) & (table["contacted"] == 1) & (table["at"] != NEVER) & (table["at"] < day)
    if not made.any():
        return
    channel, at = table["channel"][made], table["at"][made]
    age = (day - at) // SECOND / 86400
    weight = np.array([*(one.pressure for one in plan.channels), *UNKNOWN])[channel]
    row = np.argsort(places)[table["customer_id"][made]]
    order = np.lexsort((weight, at))  # sums of floats depend on their order, and tables are in any
    np.add.at(found.pressure, row[order], (weight * 2.0 ** (-age / plan.fatigue.half_life_days))[order])
    cooling = np.array([*(one.cooling_off_days or -1 for one in plan.channels), -1, -1])[channel]
    rests = age <= cooling
    found.resting[row[rests], channel[rests]] = True
    if plan.caps.in_window is not None:
        lately = np.bincount(row[age <= plan.caps.window_days], minlength=len(places))
        np.minimum(found.left, np.maximum(plan.caps.in_window - lately, 0), out=found.left)
