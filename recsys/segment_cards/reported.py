"""Columns that are told of each segment and never made it: outcomes, labels, groups, protected attributes."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from recsys.lake.contract import Attribute
from recsys.segment_cards.intervals import Z, rounded, wilson
from recsys.segment_cards.profiles import Profiles
from recsys.segment_cards.suppression import FEWEST, hidden_cells, hidden_parts, hidden_shares

OBSERVED = ("label", "outcome")
ROLES = (*OBSERVED, "group", "protected")
Card = dict[str, Any]


def reported_attributes(attributes: Sequence[Attribute]) -> tuple[Attribute, ...]:
    """Those with a role that is told and never used, of a kind that can be counted."""
    return tuple(a for a in attributes if a.role in ROLES and a.kind in ("category", "flag", "number", "tags"))


def reported_profiles(attributes: Sequence[Attribute], segments: int) -> Profiles:
    """Empty sums for these attributes; a flag is a number of 0 and 1."""
    kinds = {kind: tuple(a.name for a in attributes if a.kind == kind) for kind in ("category", "tags")}
    numbers = tuple(a.name for a in attributes if a.kind in ("flag", "number"))
    return Profiles(segments, numbers, kinds["category"], kinds["tags"])


def reported_rows(
    tables: Mapping[str, pl.DataFrame], customers: pl.Series, attributes: Sequence[Attribute], as_of: date | None
) -> pl.DataFrame:
    """One row for each of the customers, in their order, with the attributes as they were on the day."""
    table = tables["customers"]
    if "valid_from" in table.columns:
        if as_of is not None:
            table = table.filter(pl.col("valid_from").is_null() | (pl.col("valid_from") <= as_of))
        table = table.sort("valid_from", nulls_last=False)
    known = table.unique("customer_id", keep="last", maintain_order=True)
    names = [a.name for a in attributes]
    asked = customers.rename("customer_id").to_frame()
    return asked.join(known.select("customer_id", *names), on="customer_id", how="left", maintain_order="left")


def reported(profiles: Profiles, attributes: Sequence[Attribute]) -> list[dict[str, list[Card]]]:
    """For each segment `observed` (labels, outcomes), `groups` and `protected`: one object per column."""
    cards: list[dict[str, list[Card]]] = [
        {"observed": [], "groups": [], "protected": []} for _ in range(profiles.segments)
    ]
    for attribute in attributes:
        place = "observed" if attribute.role in OBSERVED else "groups" if attribute.role == "group" else "protected"
        counted = _number if attribute.kind in ("flag", "number") else _words
        entries = counted(profiles, attribute)
        for card, entry in zip(cards, entries, strict=True):
            card[place].append({"column": attribute.name, "role": attribute.role, **entry})
    return cards


def _number(profiles: Profiles, attribute: Attribute) -> list[Card]:
    """The share of a flag, or of a number that is always 0 or 1; else the mean."""
    f = profiles.numbers.index(attribute.name)
    count, mean, variance = profiles.raw.count[:, f], profiles.raw.mean[:, f], profiles.raw.variance[:, f]
    yes = profiles.nonzero[:, f]
    total = max(count.sum(), 1)
    whole = profiles.raw.pooled(np.ones(profiles.segments, dtype=bool))
    indicator = attribute.kind == "flag" or _is_indicator(yes, count, mean, profiles.raw.m2[:, f])
    if indicator:
        hidden = hidden_shares(yes[:, None], count)[:, 0] | (count < FEWEST)
        share = wilson(yes, count)
        return [
            {
                "kind": "share",
                "overall": rounded(yes.sum() / total),
                **_shown(("share", "low", "high"), (share.value[k], share.low[k], share.high[k]), hidden[k]),
            }
            for k in range(profiles.segments)
        ]
    hidden = hidden_parts(count[:, None])[:, 0] | (count < FEWEST)
    half = Z * np.sqrt(variance / np.maximum(count, 1))
    return [
        {
            "kind": "mean",
            "overall": rounded(whole.mean[0, f]),
            **_shown(("mean", "low", "high"), (mean[k], mean[k] - half[k], mean[k] + half[k]), hidden[k]),
        }
        for k in range(profiles.segments)
    ]


def _is_indicator(yes: np.ndarray, count: np.ndarray, mean: np.ndarray, m2: np.ndarray) -> bool:
    """Whether a number is always 0 or 1: then its mean is the share that is not zero, and its deviations follow."""
    return np.allclose(yes, count * mean) and np.allclose(yes * (1 - yes / np.maximum(count, 1)), m2)


def _words(profiles: Profiles, attribute: Attribute) -> list[Card]:
    """The share of each value; values that fewer than ten customers have in all are one, `other`."""
    words, counts = profiles.table(attribute.name)
    rare = counts.sum(axis=0) < FEWEST
    if rare.any():
        kept = [word for word, few in zip(words, rare, strict=True) if not few]
        words, counts = [*kept, "other"], np.column_stack([counts[:, ~rare], counts[:, rare].sum(axis=1)])
    divides = attribute.kind == "category"
    hidden = hidden_cells(counts) if divides else hidden_shares(counts, profiles.sizes)
    shares = wilson(counts, np.repeat(profiles.sizes[:, None], max(len(words), 1), axis=1)[:, : len(words)])
    overall = counts.sum(axis=0) / max(profiles.sizes.sum(), 1)
    return [
        {
            "kind": "values",
            "values": [
                {
                    "value": "not known" if word is None else word,
                    "overall": rounded(overall[v]),
                    **_shown(
                        ("share", "low", "high"),
                        (shares.value[k, v], shares.low[k, v], shares.high[k, v]),
                        bool(hidden[k, v]),
                    ),
                }
                for v, word in enumerate(words)
                if counts[:, v].sum() >= FEWEST
            ],
        }
        for k in range(profiles.segments)
    ]


def _shown(names: Sequence[str], values: Sequence[float], hidden: bool) -> dict[str, float | None]:
    return {name: None if hidden else rounded(value) for name, value in zip(names, values, strict=True)}
