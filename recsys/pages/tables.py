"""Sections and tables of a report, as HTML."""

from collections.abc import Iterable, Sequence
from html import escape


def section(key: str, title: str, body: str, raw: bool = False) -> str:
    return f'<section id="{escape(key)}"><h2>{title if raw else escape(title)}</h2>\n{body}\n</section>'


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
