"""What past contacts leave of a customer: contact pressure, channels that rest, and how many contacts are left."""

from dataclasses import dataclass
from datetime import date, datetime, time

import numpy as np
import polars as pl

from recsys.campaigns.plan import CampaignPlan


@dataclass(frozen=True)
class History:
    """Of each customer asked for."""

    pressure: np.ndarray
    """float64 [N]: Σ of past contacts' pressures, each halved by the half-life."""
    resting: np.ndarray
    """bool [N, C]: contacted through the channel too lately."""
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
    day = datetime.combine(as_of, time())
    made = contacts.filter(pl.col("contacted") & (pl.col("at") < day)).select("customer_id", "channel", "at")
    place = pl.DataFrame({"customer_id": ids, "row": np.arange(count)})
    made = made.join(place, on="customer_id")
    row, age = made["row"].to_numpy(), (day - made["at"]).dt.total_seconds().to_numpy() / 86400
    weights = {channel.channel: channel.pressure for channel in plan.channels}
    weight = made["channel"].replace_strict(weights, default=1.0, return_dtype=pl.Float64).fill_null(1.0).to_numpy()
    np.add.at(found.pressure, row, weight * 2.0 ** (-age / plan.fatigue.half_life_days))
    for c, channel in enumerate(plan.channels):
        recent = (made["channel"] == channel.channel).fill_null(False).to_numpy() & (age <= channel.cooling_off_days)
        found.resting[row[recent], c] = channel.cooling_off_days > 0
    if plan.caps.in_window is not None:
        lately = np.bincount(row[age <= plan.caps.window_days], minlength=count)
        np.minimum(found.left, np.maximum(plan.caps.in_window - lately, 0), out=found.left)
    return found
