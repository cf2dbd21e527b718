"""Tables, bars and boxes of the report of segments, as HTML."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from recsys.pages.svg import COLOURS
from recsys.segment_cards.labels import percent, plain

Card = dict[str, Any]
HIDDEN = '<span class="soft">hidden</span>'


def section(key: str, title: str, body: str, raw: bool = False) -> str:
    return f'<section id="{escape(key)}"><h2>{title if raw else escape(title)}</h2>\n{body}\n</section>'


def block(title: str, body: str) -> str:
    return f"<div><h3>{escape(title)}</h3>{body}</div>" if body else ""


def details(title: str, body: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{body}</details>" if body else ""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """Heads are text, cells are HTML already; nothing without rows. `numbers` are the columns to the right."""
    if not rows:
        return ""
    right = set(numbers)
    head = "".join(f"<th{_right(i in right)}>{escape(text)}</th>" for i, text in enumerate(heads))
    cells = ("".join(f"<td{_right(i in right)}>{cell}</td>" for i, cell in enumerate(row)) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _right(yes: bool) -> str:
    return ' class="n"' if yes else ""


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
