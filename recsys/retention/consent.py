"""Who may be contacted, through which channel, as the table of consents stands on a day."""

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl


def consented(
    consents: pl.DataFrame, ids: pl.Series, purpose: str, channels: Sequence[str | None], as_of: date | None
) -> np.ndarray:
    """bool [N, K]: whether each customer may be contacted through each channel for a purpose.

    What was said last before `as_of` counts, about the channel or about all channels (null). Of two things said at
    the same time the refusal counts. Who said nothing about it may not be contacted. None among `channels` is an
    action that reaches nobody and needs no consent.
    """
    said = consents.filter(pl.col("purpose") == purpose)
    if as_of is not None:
        said = said.filter(pl.col("at").dt.date() < as_of)
    if "channel" not in said.columns:
        said = said.with_columns(pl.lit(None, pl.String).alias("channel"))
    found = np.ones((len(ids), len(channels)), dtype=bool)
    frame = ids.to_frame("customer_id")
    for place, channel in enumerate(channels):
        if channel is None:
            continue
        about = said.filter(pl.col("channel").is_null() | (pl.col("channel") == channel))
        last = about.sort("customer_id", "at", "granted", descending=[False, False, True])
        last = last.group_by("customer_id", maintain_order=True).agg(pl.col("granted").last())
        joined = frame.join(last, on="customer_id", how="left", maintain_order="left")
        found[:, place] = joined["granted"].fill_null(False).to_numpy()
    return found
