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
    asked = np.array([names.words.index(name) if name is not None else MISSING for name in channels])
    found = np.zeros((len(customers), len(channels)), dtype=bool)
    order = np.flatnonzero(about)
    if len(customers) > 1:
        order = order[np.argsort(customer[order], kind="stable")]
    if len(order):
        customer, granted = customer[order], (table["granted"] == 1)[order][:, None]
        these = every[order][:, None] | (table["channel"][order][:, None] == asked)
        said = np.where(these, at[order][:, None], NEVER)
        begins = np.ones(len(order), dtype=bool)
        np.not_equal(customer[1:], customer[:-1], out=begins[1:])
        first = np.flatnonzero(begins)
        newest = these & (said == np.maximum.reduceat(said, first)[np.cumsum(begins) - 1])
        yes, no = (np.logical_or.reduceat(newest & answer, first) for answer in (granted, ~granted))
        found[customer[first]] = yes & ~no
    found[:, asked == MISSING] = True
    return found[customers.places(ids)]
