"""Tables, bars and boxes of the report of segments, as HTML."""

from html import escape
from typing import Any

from recsys.pages.svg import COLOURS
from recsys.pages.tables import details as details
from recsys.pages.tables import section as section
from recsys.pages.tables import table as table
from recsys.segment_cards.labels import percent, plain

Card = dict[str, Any]
HIDDEN = '<span class="soft">hidden</span>'


def block(title: str, body: str) -> str:
    return f"<div><h3>{escape(title)}</h3>{body}</div>" if body else ""


def share_cells(cell: Card) -> tuple[str, str]:
    return interval(cell), percent(cell["overall"])


def any_cells(entry: Card) -> tuple[str, str]:
    if entry["kind"] == "share":
        return share_cells(entry)
    if entry["mean"] is None:
        return HIDDEN, plain(entry["overall"])
    return f"{plain(entry['mean'])} ({plain(entry['low'])} to {plain(entry['high'])})", plain(entry["overall"])


def interval(cell: Card) -> str:
    if cell["share"] is None:
        return HIDDEN
    return (
        f"{percent(cell['share'])} <span class='soft small'>({percent(cell['low'])} to {percent(cell['high'])})</span>"
    )


def bar(share: float | None, overall: float | None = None) -> str:
    """A bar, and a mark where all customers are."""
    if share is None:
        return ""
    mark = "<u></u>" if overall is not None else ""
    places = f"--v:{100 * share:.1f}%" + (f";--o:{100 * overall:.1f}%" if overall is not None else "")
    return f'<span class="bar" style="{places}"><i></i>{mark}</span>'


def chip(text: str, place: int) -> str:
    return f'<span class="chip" style="background:{COLOURS[place % len(COLOURS)]}">{escape(text)}</span>'
