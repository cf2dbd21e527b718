"""The report of segments as one HTML page that needs nothing beside itself."""

from collections.abc import Mapping
from html import escape
from typing import Any

from recsys.pages.page import document, figure
from recsys.segment_cards.labels import percent, spoken, worded
from training.segment_section import card_section
from training.segment_tables import HIDDEN, any_cells, bar, chip, interval, section, table
from training.segment_texts import MEANINGS, PICTURES

FIRST = ("retention", "product", "channel", "timing")
"""Which suggestion stands in the overview: the first of these that a card has."""


def page(content: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """The whole page; `pictures` are SVG elements by name."""
    source = content["lake"]["source"] or "the lake"
    seen = f", as seen on {content['as_of']}" if content["as_of"] else ""
    counted = f"{content['customers']:,} customers in {len(content['segments'])} segments{seen}."
    sections = [
        section("glance", "At a glance", _glance(content)),
        *(card_section(card, place, content) for place, card in enumerate(content["segments"])),
        section("compare", "All segments side by side", _figures(pictures, "heat", "radar")),
        section("moves", "Who moved", _moves(content, pictures)),
        section("clear", "How clear the segments are", _clear(content, pictures)),
        section("fairness", "Fairness", _fairness(content)),
        section("meaning", "What these numbers mean", _meaning(content)),
    ]
    title = f"Segments of {source}"
    note = f"Bundle {content['bundle']}, lake version {content['lake']['version']}."
    return document(title, counted, note, _links(content), sections)


def _links(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    after = [
        ("compare", "All segments side by side"),
        ("moves", "Who moved"),
        ("clear", "How clear the segments are"),
        ("fairness", "Fairness"),
        ("meaning", "What these numbers mean"),
    ]
    cards = [(f"segment-{card['id']}", f"{card['id']}: {card['name']}") for card in content["segments"]]
    return [("glance", "At a glance"), *cards, *after]


def _glance(content: Mapping[str, Any]) -> str:
    rows = []
    for place, card in enumerate(content["segments"]):
        link = f'<a href="#segment-{escape(card["id"])}">{escape(card["name"])}</a>'
        if "hidden" in card:
            rows.append((chip(card["id"], place) + link, HIDDEN, "", escape(card["hidden"])))
            continue
        first = next((one["text"] for about in FIRST for one in card["suggestions"] if one["about"] == about), "")
        size = f"{card['size']:,}" if card["size"] is not None else HIDDEN
        share = bar(card["share"][0]) if card["share"] else ""
        said = f"{percent(card['share'][0])}{share}" if card["share"] else HIDDEN
        rows.append((chip(card["id"], place) + link, size, said, escape(first)))
    heads = ("Segment", "Customers", "Share", "First thing to try")
    width = 4 if any(row[3] for row in rows) else 3
    return table(heads[:width], [row[:width] for row in rows], numbers=(1,))


def _moves(content: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    table = content["transitions"]
    if not table:
        return '<p class="soft">There is no earlier snapshot to compare with.</p>'
    said = ""
    if table["stayed"] is not None:
        known = f"the {table['customers']:,} customers who were known on {content['before']}"
        said = f"<p>{percent(table['stayed'])} of {known} are in the same segment on {content['as_of']}.</p>"
    return said + _figures(pictures, "migration")


def _clear(content: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    quality = content["quality"]
    said = ""
    if quality["silhouette"] is not None:
        said = (
            f"<p>The mean silhouette is {quality['silhouette']:.2f}, over a sample of {quality['sampled']:,}. "
            "It would be 1 for segments that lie far apart, and is 0 where they touch.</p>"
        )
    return said + _figures(pictures, "diagram", "curve", "pca", "tsne")


def _fairness(content: Mapping[str, Any]) -> str:
    """Protected attributes in each segment: a view of who gets what is offered to a segment, never an input."""
    cards = [card for card in content["segments"] if "hidden" not in card]
    columns = [entry["column"] for entry in cards[0]["protected"]] if cards else []
    if not columns:
        return '<p class="soft">The lake has no protected attribute beside the inputs, so nothing can be said here.</p>'
    parts = [
        "<p>What is offered to a segment reaches these groups to different degrees. Look at large differences before a "
        "campaign is decided by segment.</p>"
    ]
    names = [escape(f"{card['id']} {card['name']}") for card in cards]
    for place, column in enumerate(columns):
        entries = [card["protected"][place] for card in cards]
        if entries[0]["kind"] == "values":
            heads = ["Segment", *(worded(str(v["value"])) for v in entries[0]["values"])]
            each = [[interval(v) for v in entry["values"]] for entry in entries]
            rows = [[name, *cells] for name, cells in zip(names, each, strict=True)]
            rows.append(["All customers", *(percent(v["overall"]) for v in entries[0]["values"])])
        else:
            heads = ["Segment", "Value", "All"]
            rows = [[name, *any_cells(entry)] for name, entry in zip(names, entries, strict=True)]
        parts.append(f"<h3>{escape(spoken(column))}</h3>" + table(heads, rows, numbers=range(1, len(heads))))
    return "".join(parts)


def _meaning(content: Mapping[str, Any]) -> str:
    tests = content["tests"]
    terms = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in MEANINGS.items())
    counted = f"<p>{tests['tested']:,} differences were tested, {tests['declared']:,} are beyond chance.</p>"
    left = "".join(f"<li>{escape(one)}</li>" for one in content["left_out"])
    absent = f"<h3>What is left out</h3><ul>{left}</ul>" if left else ""
    return f"<dl>{terms}</dl>{counted}{absent}"


def _figures(pictures: Mapping[str, str], *names: str) -> str:
    drawn = [figure(pictures[name], PICTURES[name]) for name in names if name in pictures]
    return "\n".join(drawn) or '<p class="soft">There is nothing to draw.</p>'
