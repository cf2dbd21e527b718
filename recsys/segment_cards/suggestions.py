"""What to try with a segment, by rule: channel, timing, product, retention, each with the facts behind it."""

from collections.abc import Sequence
from typing import Any

from recsys.segment_cards.labels import Labels, percent, spoken, worded

Card = dict[str, Any]
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
BEST_OUTCOMES = ("clicked", "opened", "converted")
"""The answer by which channels are compared, the first that the tables have for two channels or more."""
ASKED = ("marketing",)
"""Purposes of a consent to be contacted."""
LIFT = 1.1
"""What a segment has at least so many times as often as all customers is worth acting on."""
MATTERS = 1.1
"""A weekday is named where it has at least so many times its even share, by the lower end of its interval."""
SPAN = 3
"""Hours of a suggested time of day."""


def suggestions(card: Card, labels: Labels) -> list[Card]:
    """`about`, `text` and `facts` of each suggestion that a finished card supports; nothing it does not show."""
    found = [_channel(card), _timing(card), _product(card, labels), _retention(card)]
    return [one for one in found if one is not None]


def _channel(card: Card) -> Card | None:
    """The contact channel with the highest response drawn to the common rate; else the most used channel."""
    allowed = {c["value"]: c["share"] for c in card.get("consents", ()) if c["purpose"] in ASKED}
    for outcome in BEST_OUTCOMES:
        known = [r for r in card.get("responses", ()) if r["outcome"] == outcome and r["shrunk"] is not None]
        if len(known) < 2:
            continue
        best, second = sorted(known, key=lambda r: (-r["shrunk"], r["channel"]))[:2]
        facts = [
            f"{percent(r['shrunk'])} of contacts by {worded(r['channel'])} were {outcome} "
            f"({percent(r['shrunk_low'])} to {percent(r['shrunk_high'])}; {percent(r['overall'])} over all customers)."
            for r in (best, second)
        ]
        if allowed.get(best["channel"]) is not None:
            facts.append(f"{percent(allowed[best['channel']])} allow marketing by {worded(best['channel'])}.")
        clear = best["shrunk_low"] > second["shrunk_high"]
        text = f"Contact by {worded(best['channel'])}" + ("." if clear else f"; {worded(second['channel'])} is close.")
        return {"about": "channel", "text": text, "facts": facts}
    for topic in ("interactions", "transactions"):
        used = [c for c in card.get(topic, {}).get("channel", ()) if c["share"] is not None and c["value"] != "other"]
        if used:
            best = max(used, key=lambda c: (c["share"], c["value"]))
            fact = (
                f"{percent(best['share'])} of their {topic} come through {worded(best['value'])}, "
                f"{percent(best['overall'])} over all customers."
            )
            text = f"Reach them through {worded(best['value'])}: no answers to contacts are known."
            return {"about": "channel", "text": text, "facts": [fact]}
    return None


def _timing(card: Card) -> Card | None:
    """The weekday and the hours in which the segment is most active, by interactions, else by transactions."""
    for topic in ("interactions", "transactions"):
        days = [c for c in card.get(topic, {}).get("weekday", ()) if c["share"] is not None]
        hours = [c for c in card.get(topic, {}).get("hour", ()) if c["share"] is not None]
        if not days:
            continue
        day = max(days, key=lambda c: (c["share"], c["value"]))
        name = DAYS[int(day["value"]) - 1]
        facts = [f"{percent(day['share'])} of their {topic} are on a {name}; an even week has 14%."]
        text = f"Best on a {name}" if day["low"] > MATTERS / 7 else "On any day"
        span = _busiest({int(c["value"]): c["share"] for c in hours if c["value"].isdigit()})
        if span:
            start, share = span
            between = f"{start:02d}:00 and {(start + SPAN) % 24:02d}:00"
            facts.append(f"{percent(share)} are between {between}; an even day has {percent(SPAN / 24)}.")
            text += f", between {between}"
        return {"about": "timing", "text": f"{text}.", "facts": facts}
    return None


def _busiest(hours: dict[int, float]) -> tuple[int, float] | None:
    """The first hour and the share of the three hours together with the most events."""
    if not hours:
        return None
    shares = {start: sum(hours.get((start + i) % 24, 0.0) for i in range(SPAN)) for start in range(24)}
    start = max(shares, key=lambda hour: (shares[hour], -hour))
    return start, shares[start]


def _product(card: Card, labels: Labels) -> Card | None:
    """What the recommender prefers for the segment beyond what it prefers for all."""
    listed: Sequence[Card] = card.get("preferred", ())
    if not listed:
        return None
    more = [p for p in listed if p["overall"] > 0 and p["share"] >= LIFT * p["overall"]]
    lift = {p["product"]: p["share"] / max(p["overall"], 1e-9) if more else p["share"] for p in listed}
    best = max(more or listed, key=lambda p: (lift[p["product"]], p["product"]))
    name = labels.product(best["product"])
    fact = (
        f"{percent(best['share'])} have {name} among their first {card['ranked']} recommended products "
        f"({percent(best['low'])} to {percent(best['high'])}), {percent(best['overall'])} over all customers."
    )
    text = f"Offer {name}" + ("." if more else ", as to most customers.")
    return {"about": "product", "text": text, "facts": [fact]}


def _retention(card: Card) -> Card | None:
    """More leave than elsewhere, by what the tables say of leaving: a churn column, else products closed."""
    for entry in card.get("observed", ()):
        if entry["kind"] != "share" or entry.get("share") is None:
            continue
        if _clearly_more(entry) and _says_leaving(entry["column"]):
            fact = (
                f"{percent(entry['share'])} ({percent(entry['low'])} to {percent(entry['high'])}) have "
                f"{spoken(entry['column'])}, {percent(entry['overall'])} over all customers."
            )
            return {"about": "retention", "text": "Keep them first: more leave than elsewhere.", "facts": [fact]}
    closed = next((c for c in card.get("engagement", ()) if c["value"] == "closed"), None)
    if closed and closed["share"] is not None and _clearly_more(closed):
        fact = (
            f"{percent(closed['share'])} ({percent(closed['low'])} to {percent(closed['high'])}) closed a product in "
            f"the last 90 days, {percent(closed['overall'])} over all customers."
        )
        return {"about": "retention", "text": "Ask why they close products before offering more.", "facts": [fact]}
    return None


def _clearly_more(entry: Card) -> bool:
    """Beyond chance, and by enough to act on."""
    return bool(entry["low"] > entry["overall"] and entry["share"] >= LIFT * entry["overall"])


def _says_leaving(column: str) -> bool:
    return any(word in column.lower() for word in ("churn", "exit", "attrit", "left", "leav", "cancel", "lapse"))
