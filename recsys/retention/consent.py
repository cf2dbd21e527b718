"""Who may be contacted, through which channel, as the table of consents stands on a day."""

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl

from recsys.features.view import AT, DAY, NEVER, Column, arrays
from recsys.features.vocabulary import MISSING, Vocabulary, vocabulary


def consented(
    consents: pl.DataFrame, ids: pl.Series, purpose: str, channels: Sequence[str | None], as_of: date | None
) -> np.ndarray:
    """bool [N, K]: whether each customer may be contacted through each channel for a purpose.

    What was said last before `as_of` counts, about the channel or about all channels (null). Of two things said at
    the same time the refusal counts. Who said nothing about it may not be contacted. None among `channels` is an
    action that reaches nobody and needs no consent.
    """
    customers, names = Vocabulary.of(ids), vocabulary(tuple(sorted({name for name in channels if name is not None})))
    wanted: dict[str, Column] = {"customer_id": customers, "purpose": vocabulary((purpose,)), "channel": names}
    table = arrays(consents, {**wanted, "granted": pl.Boolean(), "at": AT})
    customer, at, about = table["customer_id"], table["at"], table["purpose"] == 0
    about &= customer >= 0
    if as_of is not None:
        about &= (at != NEVER) & (at < (as_of - date(1970, 1, 1)).days * DAY)
    every = table["channel"] == MISSING if "channel" in consents.columns else np.ones(len(at), dtype=bool)
    found = np.ones((len(customers), len(channels)), dtype=bool)
    for place, channel in enumerate(channels):
        if channel is not None:
            these = about & (every | (table["channel"] == names.words.index(channel)))
            found[:, place] = _granted(customer[these], at[these], table["granted"][these] == 1, len(customers))
    return found[customers.places(ids)]


def _granted(customer: np.ndarray, at: np.ndarray, granted: np.ndarray, count: int) -> np.ndarray:
    """bool [count]: whether all that a customer said last was a yes."""
    last = np.full(count, NEVER)
    np.maximum.at(last, customer, at)
    newest = at == last[customer]
    found: np.ndarray = np.bincount(customer[newest], minlength=count) > 0
    found[customer[newest & ~granted]] = False
    return found
