"""The card of one segment as a section of the page."""

from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from typing import Any

from recsys.segment_cards.labels import money, percent, plain, spoken, worded
from recsys.segment_cards.suggestions import DAYS
from training.segment_tables import HIDDEN, Card, bar, block, chip, details, section, share_cells, table

WORDS = {"login": "logged in", "viewed": "viewed a product", "clicked": "clicked", "social": "met on social media"}
WORDS |= {"enquired": "enquired", "acquired": "took a product", "closed": "closed a product"}


def card_section(card: Card, place: int, content: Mapping[str, Any]) -> str:
    title = f"{chip(card['id'], place)}{escape(card['name'])}"
    if "hidden" in card:
        return section(f"segment-{card['id']}", title, f"<p>This segment has {escape(card['hidden'])}.</p>", raw=True)
    parts = [
        f'<p class="headline">{_headline(card)}</p>',
        _tries(card),
        "<h3>What sets it apart</h3>",
        _apart(card),
        '<div class="two">',
        block("Value and leaving, as observed", _observed(card)),
        block("Recency, frequency, money", _rfm(card, content["currency"])),
        block("Products held, where they differ most", _holdings(card["holdings"])),
        block("What the recommender puts first", _preferred(card, content["products"])),
        block("Channels", _values(_first(card, "channel"))),
        block("When they are active", _when(card)),
        block("What they spend on", _values(card.get("transactions", {}).get("category"))),
        block("Engagement in the last 90 days", _engagement(card)),
        "</div>",
        details("Answers to contacts, by channel", _responses(card)),
        details("Consents", _consents(card)),
        details("Where they come from", _groups(card)),
    ]
    return section(f"segment-{card['id']}", title, "\n".join(part for part in parts if part), raw=True)


def _headline(card: Card) -> str:
    """Size, and what the name says, in one sentence or two."""
    if card["share"]:
        low, high = percent(card["share"][1]), percent(card["share"][2])
        said = f"{card['size']:,} customers, {percent(card['share'][0])} of all ({low} to {high})."
    else:
        said = "The size is hidden, because a smaller segment's could be worked out from it."
    reasons = [escape(fact["text"]) for fact in card["named_by"][:2]]
    name = "" if card["rule_name"] == card["name"] else f" By today's figures: {escape(card['rule_name'])}."
    return " ".join([said, *reasons]) + name


def _tries(card: Card) -> str:
    if not card["suggestions"]:
        return ""
    boxes = []
    for one in card["suggestions"]:
        facts = "".join(f"<li>{escape(fact)}</li>" for fact in one["facts"])
        boxes.append(f'<div class="try"><b>{escape(one["about"])}</b>{escape(one["text"])}<ul>{facts}</ul></div>')
    return f'<div class="tries">{"".join(boxes)}</div>'


def _apart(card: Card) -> str:
    rows = [
        (
            escape(fact["text"]),
            f"{fact['effect']:+.2f}",
            f"{fact['effect_low']:+.2f} to {fact['effect_high']:+.2f}",
            _times(fact),
        )
        for fact in card["apart"]
    ]
    if not rows:
        return '<p class="soft">Nothing is beyond chance and more than small.</p>'
    return table(("Against all customers", "Standard deviations", "95 % interval", "Times"), rows, numbers=(1, 2, 3))


def _times(fact: Card) -> str:
    if fact["ratio"] is None or fact["ratio_low"] is None or fact["ratio_high"] is None:
        return ""
    return f"{fact['ratio']:.2g} ({fact['ratio_low']:.2g} to {fact['ratio_high']:.2g})"


def _observed(card: Card) -> str:
    rows = []
    for entry in card["observed"]:
        name = escape(spoken(entry["column"]))
        if entry["kind"] == "values":
            rows += [(f"{name}: {escape(worded(str(v['value'])))}", *share_cells(v)) for v in entry["values"]]
        elif entry["kind"] == "share":
            rows.append((name, *share_cells(entry)))
        elif entry["mean"] is None:
            rows.append((name, HIDDEN, plain(entry["overall"])))
        else:
            said = f"{plain(entry['mean'])} ({plain(entry['low'])} to {plain(entry['high'])})"
            rows.append((name, said, plain(entry["overall"])))
    return table(("", "Segment", "All"), rows, numbers=(1, 2))


def _rfm(card: Card, currency: str | None) -> str:
    words = {"recency": "Days since the last", "frequency": "Times a year", "monetary": f"Spent a year, {currency}"}
    rows = []
    for name, entry in card.get("rfm", {}).items():
        amount = partial(money, currency=currency) if name == "monetary" and currency else plain
        show = [amount(number).removesuffix(f" {currency}") for number in _numbers(entry)]
        mean, low, high, middle, overall = show
        rows.append((words[name], f'{mean} <span class="soft small">({low} to {high})</span>', middle, overall))
    return table(("", "Mean", "Median", "All, mean"), rows, numbers=(1, 2, 3))


def _numbers(entry: Card) -> tuple[float, float, float, float, float]:
    return entry["mean"], entry["low"], entry["high"], entry["quartiles"][1], entry["overall"]


def _preferred(card: Card, products: Mapping[str, str]) -> str:
    rows = [
        (escape(products.get(p["product"], p["product"])), *share_cells(p), bar(p["share"], p["overall"]))
        for p in card["preferred"]
    ]
    return table((f"Among the first {card['ranked']}", "Segment", "All", ""), rows, numbers=(1, 2))


def _holdings(facts: Sequence[Card]) -> str:
    rows = [
        (
            escape(fact["label"].removeprefix("holds ")),
            percent(fact["inside"]),
            percent(fact["overall"]),
            bar(fact["inside"], fact["overall"]),
        )
        for fact in facts
    ]
    return table(("", "Segment", "All", ""), rows, numbers=(1, 2))


def _first(card: Card, dimension: str) -> list[Card] | None:
    """Of interactions, else of transactions."""
    for topic in ("interactions", "transactions"):
        found: list[Card] | None = card.get(topic, {}).get(dimension)
        if found:
            return found
    return None


def _values(cells: Sequence[Card] | None, most: int = 8) -> str:
    rows = [
        (escape(worded(cell["value"])), *share_cells(cell), bar(cell["share"], cell["overall"]))
        for cell in (cells or ())[:most]
    ]
    return table(("", "Segment", "All", ""), rows, numbers=(1, 2))


def _when(card: Card) -> str:
    """Two small bar charts: hours and weekdays."""
    parts = []
    for dimension, labels in (("hour", ("0", "6", "12", "18", "24")), ("weekday", tuple(day[:3] for day in DAYS))):
        cells = {cell["value"]: cell for cell in _first(card, dimension) or ()}
        slots = [f"{h:02d}" for h in range(24)] if dimension == "hour" else [str(d) for d in range(1, 8)]
        if not cells:
            continue
        known = [cells[s]["share"] for s in slots if s in cells and cells[s]["share"] is not None]
        top = max(known, default=0.0) or 1.0
        bars = "".join(_column(cells.get(slot), slot, dimension, top) for slot in slots)
        under = "".join(f"<span>{escape(label)}</span>" for label in labels)
        kind = "under" if dimension == "hour" else "under days"
        parts.append(f'<div class="hours">{bars}</div><div class="{kind}">{under}</div>')
    return "".join(parts)


def _column(cell: Card | None, slot: str, dimension: str, top: float) -> str:
    name = f"{slot}:00" if dimension == "hour" else DAYS[int(slot) - 1]
    if cell is None:
        return f'<span style="--v:0%" title="{name}: none"></span>'
    if cell["share"] is None:
        return f'<span class="gone" title="{name}: hidden"></span>'
    return f'<span style="--v:{100 * cell["share"] / top:.0f}%" title="{name}: {percent(cell["share"])}"></span>'


def _engagement(card: Card) -> str:
    rows = [
        (escape(WORDS.get(e["value"], worded(e["value"]))), *share_cells(e), _often(e))
        for e in card.get("engagement", ())
    ]
    return table(("", "Segment", "All", "A month"), rows, numbers=(1, 2, 3))


def _often(entry: Card) -> str:
    if entry["per_month"] is None:
        return ""
    return f"{plain(entry['per_month'])} ({plain(entry['per_month_overall'])} all)"


def _responses(card: Card) -> str:
    rows = []
    for r in card.get("responses", ()):
        rate = (
            f"{percent(r['rate'])} ({percent(r['low'])} to {percent(r['high'])})" if r["rate"] is not None else HIDDEN
        )
        pulled = percent(r["shrunk"]) if r["shrunk"] is not None else HIDDEN
        contacts = f"{r['contacts']:,}" if r["contacts"] is not None else HIDDEN
        rows.append((escape(worded(r["channel"])), escape(r["outcome"]), contacts, rate, pulled, percent(r["overall"])))
    return table(("Channel", "Answer", "Contacts", "Observed", "Drawn to all", "All"), rows, numbers=(2, 3, 4, 5))


def _consents(card: Card) -> str:
    rows = [
        (
            f"{escape(spoken(c['purpose']))} by {escape(worded(c['value']))}",
            *share_cells(c),
            bar(c["share"], c["overall"]),
        )
        for c in card.get("consents", ())
    ]
    return table(("", "Segment", "All", ""), rows, numbers=(1, 2))


def _groups(card: Card) -> str:
    rows = []
    for entry in card["groups"]:
        for value in entry.get("values", ())[:12]:
            cells = (*share_cells(value), bar(value["share"], value["overall"]))
            rows.append((f"{escape(spoken(entry['column']))}: {escape(worded(str(value['value'])))}", *cells))
    return table(("", "Segment", "All", ""), rows, numbers=(1, 2))
