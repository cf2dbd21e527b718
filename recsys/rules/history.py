"""Conditions on what a customer holds and on what happened to them: prerequisites, exclusions, rests, caps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.features.vocabulary import Vocabulary
from recsys.retention.consent import consented
from recsys.rules.config import Cap, Consent, ContactRest, CoolingOff
from recsys.rules.seen import Seen

NO_CHANNEL = ""
"""No statement names it, so what was said about all channels counts for it."""


@dataclass(frozen=True)
class CompiledHolding:
    """Products that must, or must not, be held."""

    products: Vocabulary
    """All that are known."""
    wanted: np.ndarray
    """bool [A]."""
    rule: str
    """any: one must be held. all: each must. none: none may."""

    def fails(self, seen: Seen) -> np.ndarray:
        """bool [N]."""
        row, place = seen.held(self.products).T
        hits = np.bincount(row[self.wanted[place]], minlength=len(seen.ids))
        least = int(self.wanted.sum()) if self.rule == "all" else 1
        found: np.ndarray = hits > 0 if self.rule == "none" else hits < least
        return found


@dataclass(frozen=True)
class CompiledRest:
    """Rest of products after something that happened."""

    rest: CoolingOff
    products: Vocabulary
    """All that are known."""
    column: np.ndarray
    """int64 [A] the mask's column of each, -1 for what is not recommended."""
    governed: np.ndarray
    """bool [P]."""
    group: np.ndarray | None
    """int64 [A] the category of each, -1 for none; None unless `about` is category."""

    def pairs(self, seen: Seen) -> np.ndarray:
        """int64 [M, 2] the cells that rest, ordered by customer."""
        row, products = self._events(seen)
        place = self.products.places(products)
        every = products.is_null().to_numpy()
        if self.rest.about == "any":
            every = np.ones(len(row), dtype=bool)
        columns = np.flatnonzero(self.governed)
        whole = np.unique(row[every])
        cells = [np.stack([np.repeat(whole, len(columns)), np.tile(columns, len(whole))], axis=1)]
        row, place = row[~every & (place >= 0)], place[~every & (place >= 0)]
        if self.group is not None:
            cells.append(self._same_category(row, place))
            alone = self.group[place] < 0
            row, place = row[alone], place[alone]
        column = self.column[place]
        own = (column >= 0) & self.governed[column]
        cells.append(np.stack([row[own], column[own]], axis=1))
        return np.unique(np.concatenate(cells).astype(np.int64), axis=0)

    def _events(self, seen: Seen) -> tuple[np.ndarray, pl.Series]:
        if self.rest.after == "acquisition":
            return seen.acquisitions(self.rest.days)
        if self.rest.after == "refusal":
            return seen.refusals(self.rest.days, self.rest.outcomes)
        row, products, _ = seen.contacts(self.rest.days)
        return row, products

    def _same_category(self, row: np.ndarray, place: np.ndarray) -> np.ndarray:
        assert self.group is not None
        asked = np.unique(np.stack([row, self.group[place]], axis=1)[self.group[place] >= 0], axis=0)
        cells = [np.empty((0, 2), dtype=np.int64)]
        for group in np.unique(asked[:, 1]):
            same = self.column[(self.group == group) & (self.column >= 0)]
            columns = np.sort(same[self.governed[same]])
            rows = asked[asked[:, 1] == group, 0]
            cells.append(np.stack([np.repeat(rows, len(columns)), np.tile(columns, len(rows))], axis=1))
        return np.concatenate(cells)


def lacks_consent(consent: Consent, seen: Seen) -> np.ndarray:
    """bool [N]: who has not allowed the purpose, through one of the rule's channels or, without any, through any."""
    table = seen.tables.get("consents")
    if table is None:
        return np.ones(len(seen.ids), dtype=bool)
    channels: Sequence[str]
    if consent.channels is not None:
        channels = consent.channels
    else:
        named = table["channel"].drop_nulls().unique().sort().to_list() if "channel" in table.columns else []
        channels = [NO_CHANNEL, *named]
    said = consented(table, seen.ids, consent.purpose, channels, seen.as_of)
    allowed: np.ndarray = np.logical_or.reduce(said, axis=1)
    return ~allowed


def lacks_channel_consent(purpose: str, channels: Sequence[str], seen: Seen) -> np.ndarray:
    """bool [N, C]: who has not allowed the purpose through each channel."""
    table = seen.tables.get("consents")
    if table is None:
        return np.ones((len(seen.ids), len(channels)), dtype=bool)
    return ~consented(table, seen.ids, purpose, channels, seen.as_of)


def resting_channels(rest: ContactRest, channels: Sequence[str], governed: np.ndarray, seen: Seen) -> np.ndarray:
    """bool [N, C]: which of the channels governed, bool [C], rest."""
    if rest.after == "contact":
        resting: np.ndarray = _counts(rest.days, rest.each_channel, channels, governed, seen) > 0
        return resting
    events = seen.acquisitions(rest.days) if rest.after == "acquisition" else seen.refusals(rest.days, rest.outcomes)
    happened: np.ndarray = np.bincount(events[0], minlength=len(seen.ids))[:, None] > 0
    return happened & governed[None, :]


def full_channels(cap: Cap, channels: Sequence[str], governed: np.ndarray, seen: Seen) -> np.ndarray:
    """bool [N, C]: which of the channels governed have had as many contacts as the cap allows."""
    full: np.ndarray = _counts(cap.days, cap.each_channel, channels, governed, seen) >= cap.contacts
    return full


def _counts(days: int, each: bool, channels: Sequence[str], governed: np.ndarray, seen: Seen) -> np.ndarray:
    """int64 [N, C]: contacts in the last days, of each channel or of all that the rule governs together.

    A contact of which the channel is not known counts for each of them; 0 where a channel is not governed.
    """
    row, _, channel = seen.contacts(days)
    vocabulary = Vocabulary(list(channels))
    place, unknown = vocabulary.places(channel), channel.is_null().to_numpy()
    counts = np.zeros((len(seen.ids), len(channels)), dtype=np.int64)
    named = place >= 0
    np.add.at(counts, (row[named], place[named]), 1)
    loose = np.bincount(row[unknown], minlength=len(seen.ids))
    if each:
        return (counts + loose[:, None]) * governed
    return (counts[:, governed].sum(axis=1) + loose)[:, None] * governed[None, :]


def distinct_lists(lists: pl.Series) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """Each distinct list of tags [P], and which products have it, bool [P]; products without tags are left out."""
    told = [tuple(sorted(set(tags))) if tags is not None else () for tags in lists.to_list()]
    for wanted in sorted({tags for tags in told if tags}):
        yield wanted, np.array([tags == wanted for tags in told])
