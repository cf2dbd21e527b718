"""Recency, frequency and amount of what a customer does, over windows of days before the example's day.

Every function gives a float64 array [N] for each of its columns, NaN where a number is not known.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import polars as pl

from recsys.features.definition import FeatureDefinition, windowed_names
from recsys.features.view import AT, DAY, FAR, NEVER, Column, Pairs, View
from recsys.features.vocabulary import OTHER, Vocabulary, vocabulary

Numbers = dict[str, np.ndarray]
TREND_DAYS = 90
"""Over which a balance has changed."""


def activity(view: View, definition: FeatureDefinition) -> Numbers:
    """Everything that `definition.activity` names but `holdings.count`, and more."""
    found: Numbers = {}
    for part, wanted in (
        (transactions, definition.transactions),
        (interactions, bool(definition.interaction_kinds)),
        (contacts, definition.contacts),
        (balances, definition.balances),
        (accounts, definition.accounts),
    ):
        if definition.dated and wanted:
            found |= part(view, definition)
    return found


def transactions(view: View, definition: FeatureDefinition) -> Numbers:
    """Counts, money in and out by window, category and channel; days since the last; spending against its trend."""
    categories, channels = definition.transaction_categories, definition.transaction_channels
    wanted: dict[str, Column] = {
        "amount": pl.Int64(),
        "category": vocabulary(categories),
        "channel": vocabulary(channels),
    }
    table, pairs, _ = _owned(view, "transactions", wanted)
    windows = definition.windows
    found = {"transactions.recency": _recency(pairs, view.rows)}
    pairs, window = _within(pairs, windows)
    amount = np.where(table["amount"] == NEVER, 0, table["amount"])[pairs.event]
    one, into, out = np.ones_like(amount), np.maximum(amount, 0), np.maximum(-amount, 0)

    def summed(name: str, measures: Numbers, code: np.ndarray, groups: Sequence[str | None]) -> Numbers:
        return _windowed(pairs.row, window, view.rows, windows, name, measures, code, groups)

    found |= summed("transactions", {"count": one, "in": into, "out": out}, np.zeros_like(amount), (None,))
    code = table["category"][pairs.event]
    found |= summed("transactions.category", {"count": one, "out": out}, code, categories)
    found |= summed("transactions.channel", {"count": one}, table["channel"][pairs.event], channels)
    recent, long = windows[min(1, len(windows) - 1)], windows[-1]
    trend = found[f"transactions.out.{recent}d"] / recent - found[f"transactions.out.{long}d"] / long
    return found | {"transactions.out.trend": trend}


def interactions(view: View, definition: FeatureDefinition) -> Numbers:
    """Digital engagement: count by kind and window, days since the last of each kind."""
    kinds = definition.interaction_kinds
    table = view.arrays("interactions", {"kind": vocabulary(kinds), "at": AT})
    pairs = view.interactions.only(table["at"][view.interactions.event] != NEVER)
    code = table["kind"][pairs.event]
    found = {f"interactions.{kind}.recency": _recency(pairs.only(code == i), view.rows) for i, kind in enumerate(kinds)}
    pairs, window = _within(pairs, definition.windows)
    code, one = table["kind"][pairs.event], np.ones(len(pairs.row), dtype=np.int64)
    measures = {"count": one}
    return found | _windowed(pairs.row, window, view.rows, definition.windows, "interactions", measures, code, kinds)


def contacts(view: View, definition: FeatureDefinition) -> Numbers:
    """How often the bank contacted the customer, by channel and window; days since the last contact."""
    channels, windows = definition.contact_channels, definition.windows
    about = view.tables.get("campaigns", pl.DataFrame()) if view.hidden else pl.DataFrame()
    campaigns = Vocabulary.of(about["campaign_id"] if "campaign_id" in about.columns else pl.Series(dtype=pl.String))
    wanted: dict[str, Column] = {"contacted": pl.Boolean(), "at": AT, "channel": vocabulary(channels)}
    table = view.arrays("contacts", {"customer_id": view.customers, "campaign_id": campaigns, **wanted})
    made = np.where(table["contacted"] == 1, table["customer_id"], -1)
    pairs = view.of_customers(made, table["at"])
    if view.hidden and "product_id" in about.columns:
        known = view.arrays("campaigns", {"campaign_id": campaigns, "product_id": view.hidden[0]})
        product = np.full(len(campaigns) + 1, -1)
        product[known["campaign_id"]] = known["product_id"]
        product[-1] = OTHER
        campaign = np.maximum(table["campaign_id"], OTHER)[pairs.event]
        pairs = pairs.only(view.shown(pairs.row, product[campaign]))
    found = {"contacts.recency": _recency(pairs, view.rows)}
    pairs, window = _within(pairs, windows)
    one, code = {"count": np.ones(len(pairs.row), dtype=np.int64)}, table["channel"][pairs.event]
    found |= _windowed(pairs.row, window, view.rows, windows, "contacts", one, np.zeros_like(code), (None,))
    return found | _windowed(pairs.row, window, view.rows, windows, "contacts", one, code, channels)


def balances(view: View, definition: FeatureDefinition) -> Numbers:
    """The latest balance over all accounts, and its change over about 90 days (minor units)."""
    table, pairs, owner = _owned(view, "balances", {"amount": pl.Int64()})
    at, amount = table["at"][pairs.event], table["amount"][pairs.event]
    old = (pairs.age <= FAR) & ((pairs.age > TREND_DAYS) | ((pairs.age == TREND_DAYS) & (at % DAY == 0)))
    row = np.concatenate([np.arange(view.rows), view.held.row])
    latest = _latest(owner, at, amount, len(row))
    then = _latest(owner[old], at[old], amount[old], len(row))

    def summed(values: np.ndarray) -> np.ndarray:
        return np.bincount(row, weights=np.where(values == NEVER, 0, values), minlength=view.rows)

    some, older = (np.bincount(row, weights=values != NEVER, minlength=view.rows) > 0 for values in (latest, then))
    now = summed(latest)
    return {
        "balances.latest": np.where(some, now, np.nan),
        "balances.trend": np.where(older, now - summed(then), np.nan),
    }


def accounts(view: View, definition: FeatureDefinition) -> Numbers:
    """How many accounts are open, and the age in days of the oldest."""
    held, day = view.held, view.day[view.held.row]
    opened, closed = held.opened[held.account], held.closed[held.account]
    seen = ((opened == NEVER) | (opened < day)) & ((closed == NEVER) | (closed >= day))
    dayless = day > FAR
    seen &= ~dayless | ((opened == NEVER) & (closed == NEVER))
    age = np.full(view.rows, -1)
    aged = seen & (opened != NEVER)
    np.maximum.at(age, held.row[aged], (day - opened)[aged])
    return {
        "accounts.open": np.bincount(held.row[seen], minlength=view.rows).astype(np.float64),
        "accounts.oldest": np.where(age < 0, np.nan, age),
    }


def _owned(view: View, name: str, wanted: Mapping[str, Column]) -> tuple[dict[str, np.ndarray], Pairs, np.ndarray]:
    """A table of the customers' own rows and those of accounts they hold: columns, what is seen, and its owners."""
    keys: dict[str, Column] = {"customer_id": view.customers, "account_id": view.held.accounts, "at": AT}
    table = view.arrays(name, {**keys, **wanted})
    return table, *view.owned(table)


def _latest(owner: np.ndarray, at: np.ndarray, amount: np.ndarray, owners: int) -> np.ndarray:
    """int64 [owners]: the amount that was read last, the largest if several were read then; NEVER without one."""
    last = np.full(owners, NEVER)
    np.maximum.at(last, owner, at)
    newest = at == last[owner]
    found = np.full(owners, NEVER)
    np.maximum.at(found, owner[newest], amount[newest])
    return found


def _within(pairs: Pairs, windows: Sequence[int]) -> tuple[Pairs, np.ndarray]:
    """Pairs within the longest window, those without an age among them, and the shortest window that holds each."""
    age = np.where(pairs.age > FAR, 0, pairs.age)
    inside = age <= windows[-1]
    return pairs.only(inside), np.searchsorted(np.array(windows), age[inside])


def _windowed(
    row: np.ndarray,
    window: np.ndarray,
    rows: int,
    windows: tuple[int, ...],
    table: str,
    measures: Mapping[str, np.ndarray],
    code: np.ndarray,
    groups: Sequence[str | None],
) -> Numbers:
    """Sums of integer measures [E] by example, group and window, one array [rows] per name of `windowed_names`.

    Summed as float64, which is exact in any order while a sum stays below 2^53 (in pence, 90 million million pounds).
    """
    sums = np.zeros((len(measures), rows, len(groups), len(windows)))
    inside = np.flatnonzero(code >= 0)
    place = (row[inside] * len(groups) + code[inside]) * len(windows) + window[inside]
    for i, measure in enumerate(measures.values()):
        sums[i] = np.bincount(place, weights=measure[inside], minlength=sums[i].size).reshape(sums.shape[1:])
    np.cumsum(sums, axis=3, out=sums)
    names = _names(table, tuple(measures), tuple(groups), windows)
    flat = np.ascontiguousarray(sums.transpose(0, 2, 3, 1)).reshape(len(names), rows)
    return dict(zip(names, flat, strict=True))


@lru_cache(maxsize=256)
def _names(
    table: str, measures: tuple[str, ...], groups: tuple[str | None, ...], windows: tuple[int, ...]
) -> tuple[str, ...]:
    return tuple(windowed_names(table, measures, groups, windows))


def _recency(pairs: Pairs, rows: int) -> np.ndarray:
    """float64 [rows]: days since the last event, NaN where there is none."""
    last = np.full(rows, FAR + 1)
    np.minimum.at(last, pairs.row, pairs.age)
    return np.where(last > FAR, np.nan, last)
