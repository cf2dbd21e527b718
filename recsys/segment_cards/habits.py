"""What the sums of behaviour say of each segment: shares and rates with 95 % intervals, hidden where of few."""

from typing import Any

import numpy as np

from recsys.segment_cards.behaviour import OUTCOMES, RFM, Behaviour
from recsys.segment_cards.intervals import clustered_wilson, ratio_of_sums, rounded, shrunk, wilson
from recsys.segment_cards.suppression import FEWEST, hidden_cells, hidden_parts, hidden_shares

SHARED = {
    "transactions": ("channel", "category", "weekday", "hour"),
    "interactions": ("channel", "weekday", "hour"),
}
"""Topic → the dimensions over which its events divide."""
MOST = 24
"""Values of a dimension that are shown, the most used first."""

Card = dict[str, Any]


def habits(behaviour: Behaviour) -> tuple[list[Card], list[str]]:
    """One JSON object per segment, and a sentence for each part that the tables have nothing for."""
    cards: list[Card] = [{} for _ in range(behaviour.segments)]
    absent = []
    for topic, dimensions in SHARED.items():
        for dimension in dimensions:
            if not _divided(behaviour, topic, dimension, cards):
                absent.append(f"{topic} by {dimension}: no such events in the last year")
    if not _engagement(behaviour, cards):
        absent.append("engagement: no interactions with a date in the last 90 days")
    if not _responses(behaviour, cards):
        absent.append("responses: no contacts whose answers are known in the last two years")
    if not _consents(behaviour, cards):
        absent.append("consents: none are known")
    if not _recency(behaviour, cards):
        absent.append("recency, frequency, monetary value: no dated transactions or products taken")
    return cards, absent


def _divided(behaviour: Behaviour, topic: str, dimension: str, cards: list[Card]) -> bool:
    """How a segment's events (spending: its money) divide over the values, beside all customers."""
    values, sums = behaviour.table(topic, dimension)
    values, sums = _without_rare(values, sums)
    if not values:
        return False
    share, error = ratio_of_sums(*(sums[name] for name in ("x", "t", "xx", "xt", "tt", "n")))
    estimate, _ = clustered_wilson(share, error, sums["n"])
    total = sums["t"][:, 0].sum()
    overall = sums["x"].sum(axis=0) / total if total else np.zeros(len(values))
    few = (sums["customers"] > 0) & (sums["customers"] < FEWEST)
    hidden = hidden_cells(sums["x"], small=few, fewest=0)
    hidden[sums["n"][:, 0] < FEWEST] = True
    order = (
        list(np.argsort(-overall, kind="stable")[:MOST]) if dimension in ("channel", "category") else range(len(values))
    )
    for k, card in enumerate(cards):
        card.setdefault(topic, {})[dimension] = [
            _cell(values[v], overall[v], hidden[k, v], share[k, v], estimate.low[k, v], estimate.high[k, v])
            for v in order
        ]
    return True


def _without_rare(values: list[str], sums: dict[str, np.ndarray]) -> tuple[list[str], dict[str, np.ndarray]]:
    """Values that fewer than ten customers have in all are one value, `other`; alone and still rare it is left out."""
    if not values:
        return values, sums
    rare = sums["customers"].sum(axis=0) < FEWEST
    if not rare.any():
        return values, sums
    kept = [value for value, few in zip(values, rare, strict=True) if not few]
    joined = {}
    for name, table in sums.items():
        other = table[:, rare].sum(axis=1) if name in ("customers", "x", "xx", "xt") else table[:, rare].max(axis=1)
        joined[name] = np.column_stack([table[:, ~rare], other])
    return [*kept, "other"], joined


def _cell(value: str, overall: float, hidden: bool, share: float, low: float, high: float) -> Card:
    shown = not hidden and np.isfinite(share)
    numbers = (share, low, high) if shown else (None, None, None)
    return {
        "value": value,
        "overall": rounded(overall),
        **dict(zip(("share", "low", "high"), (rounded(n) for n in numbers), strict=True)),
    }


def _engagement(behaviour: Behaviour, cards: list[Card]) -> bool:
    """Per kind of interaction: share of customers who did it in 90 days, and how often per customer and month."""
    values, sums = behaviour.table("interactions", "kind")
    common = sums["customers"].sum(axis=0) >= FEWEST
    if not common.any():
        return False
    sizes = behaviour.sizes
    hidden = hidden_shares(sums["customers"], sizes)
    share = wilson(sums["customers"], np.repeat(sizes[:, None], len(values), axis=1))
    overall = sums["customers"].sum(axis=0) / max(sizes.sum(), 1)
    for k, card in enumerate(cards):
        card["engagement"] = [
            {
                **_cell(value, overall[v], hidden[k, v], share.value[k, v], share.low[k, v], share.high[k, v]),
                "per_month": None if hidden[k, v] else rounded(sums["x"][k, v] / max(sizes[k], 1) / 3),
                "per_month_overall": rounded(sums["x"][:, v].sum() / max(sizes.sum(), 1) / 3),
            }
            for v, value in enumerate(values)
            if common[v]
        ]
    return True


def _responses(behaviour: Behaviour, cards: list[Card]) -> bool:
    """Per channel and outcome: answered contacts over contacts, observed and drawn to the channel's common rate."""
    found = False
    for outcome in OUTCOMES:
        channels, sums = behaviour.table("contacts", outcome)
        for v, channel in enumerate(channels):
            x, t, customers = sums["x"][:, v], sums["t"][:, v], sums["n"][:, v]
            if customers.sum() < FEWEST:
                continue
            found = True
            rate, error = ratio_of_sums(x, t, sums["xx"][:, v], sums["xt"][:, v], sums["tt"][:, v], customers)
            estimate, effective = clustered_wilson(rate, error, t)
            pulled = shrunk(np.nan_to_num(rate) * effective, effective)
            answered = sums["customers"][:, v]
            hidden = hidden_shares(answered[:, None], customers)[:, 0] | (customers < FEWEST)
            for k, card in enumerate(cards):
                shown = not hidden[k] and t[k] > 0
                numbers = (rate[k], estimate.low[k], estimate.high[k], pulled.value[k], pulled.low[k], pulled.high[k])
                names = ("rate", "low", "high", "shrunk", "shrunk_low", "shrunk_high")
                entry = dict(zip(names, (rounded(n) if shown else None for n in numbers), strict=True))
                listed = card.setdefault("responses", [])
                contacts = int(t[k]) if customers[k] >= FEWEST else None
                listed.append(
                    {
                        "channel": channel,
                        "outcome": outcome,
                        "contacts": contacts,
                        "overall": rounded(x.sum() / t.sum()),
                    }
                    | entry
                )
    return found


def _consents(behaviour: Behaviour, cards: list[Card]) -> bool:
    """Per purpose and channel: share of customers whose last word was yes."""
    purposes = behaviour.cells.filter(behaviour.cells["topic"] == "consents")["dimension"].unique().sort().to_list()
    for purpose in purposes:
        channels, sums = behaviour.table("consents", purpose)
        hidden = hidden_shares(sums["customers"], behaviour.sizes)
        share = wilson(sums["customers"], np.repeat(behaviour.sizes[:, None], len(channels), axis=1))
        overall = sums["customers"].sum(axis=0) / max(behaviour.sizes.sum(), 1)
        for k, card in enumerate(cards):
            card.setdefault("consents", []).extend(
                {"purpose": purpose}
                | _cell(channel, overall[v], hidden[k, v], share.value[k, v], share.low[k, v], share.high[k, v])
                for v, channel in enumerate(channels)
                if sums["customers"][:, v].sum() >= FEWEST
            )
    return bool(purposes)


def _recency(behaviour: Behaviour, cards: list[Card]) -> bool:
    """Mean and quartiles of days since the last event, events in a year, money out in a year."""
    rfm = behaviour.rfm
    if not rfm.raw.count.any():
        return False
    whole = rfm.raw.pooled(np.ones(rfm.segments, dtype=bool))
    hidden = hidden_parts(rfm.raw.count)
    for k, card in enumerate(cards):
        card["rfm"] = {}
        for f, name in enumerate(RFM):
            count, quartiles = rfm.raw.count[k, f], behaviour.quartiles(name, k)
            if hidden[k, f] or count < FEWEST or quartiles is None:
                continue
            half = 1.96 * np.sqrt(rfm.raw.variance[k, f] / count)
            mean = rfm.raw.mean[k, f]
            card["rfm"][name] = {
                "mean": rounded(mean),
                "low": rounded(mean - half),
                "high": rounded(mean + half),
                "overall": rounded(whole.mean[0, f]),
                "quartiles": [rounded(q) for q in quartiles],
            }
    return True
