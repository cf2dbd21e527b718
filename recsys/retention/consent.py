"""Who may be contacted, through which channel, as the table of consents stands on a day."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import numpy as np
import polars as pl

from recsys.features.view import AT, DAY, FEW_ROWS, NEVER, Column, arrays, tuples
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
    wanted |= {"granted": pl.Boolean(), "at": AT}
    if "channel" not in consents.columns:
        consents = consents.with_columns(channel=pl.lit(None, dtype=pl.String))
    day = None if as_of is None else (as_of - date(1970, 1, 1)).days * DAY
    asked = [names.words.index(name) if name is not None else MISSING for name in channels]
    if consents.height <= FEW_ROWS:
        found = _of_few(tuples(consents, wanted), len(customers), asked, day)
    else:
        found = _of_many(arrays(consents, wanted), len(customers), asked, day)
    found[:, [place == MISSING for place in asked]] = True
    return found if len(ids) == 1 else found[customers.places(ids)]


def _of_few(rows: Iterable[tuple[int, ...]], count: int, asked: Sequence[int], day: int | None) -> np.ndarray:
    """bool [count, K] by the consents before a day, microseconds: customer, purpose, channel, granted and time."""
    last: dict[tuple[int, int], tuple[int, bool]] = {}
    for customer, purpose, channel, granted, at in rows:
        if customer >= 0 and purpose == 0 and (day is None or NEVER < at < day):
            for place, wanted in enumerate(asked):
                if channel in (MISSING, wanted):
                    before = last.get((customer, place), (NEVER, True))
                    if at >= before[0]:
                        last[customer, place] = (at, granted == 1 and (at > before[0] or before[1]))
    found = np.zeros((count, len(asked)), dtype=bool)
    for where, (_, granted) in last.items():
        found[where] = granted
    return found


def _of_many(table: Mapping[str, np.ndarray], count: int, asked: Sequence[int], day: int | None) -> np.ndarray:
    """The same by `arrays` of the consents [M], all rows at once."""
    customer, at, about = table["customer_id"], table["at"], table["purpose"] == 0
    about &= customer >= 0
    if day is not None:
        about &= (at != NEVER) & (at < day)
    found = np.zeros((count, len(asked)), dtype=bool)
    order = np.flatnonzero(about)
    order = order[np.argsort(customer[order], kind="stable")]
    if len(order):
        customer, granted = customer[order], (table["granted"] == 1)[order][:, None]
        channel = table["channel"][order][:, None]
        these = (channel == MISSING) | (channel == np.array(asked))
        said = np.where(these, at[order][:, None], NEVER)
        begins = np.ones(len(order), dtype=bool)
        np.not_equal(customer[1:], customer[:-1], out=begins[1:])
        first = np.flatnonzero(begins)
        newest = these & (said == np.maximum.reduceat(said, first)[np.cumsum(begins) - 1])
        yes, no = (np.logical_or.reduceat(newest & answer, first) for answer in (granted, ~granted))
        found[customer[first]] = yes & ~no
    return found
