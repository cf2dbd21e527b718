"""A report as one HTML page that needs nothing beside itself, and the same content as JSON."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from recsys.durable import rename
from recsys.pages.style import STYLE


def document(title: str, lead: str, note: str, links: Sequence[tuple[str, str]], sections: Sequence[str]) -> str:
    """The whole page: `lead` (HTML) and `note` (text) below the title, then links (id, text) to sections (HTML)."""
    items = "".join(f'<li><a href="#{escape(key)}">{escape(text)}</a></li>' for key, text in links)
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            f"<header><h1>{escape(title)}</h1><p>{lead}</p>",
            f'<p class="soft small">{escape(note)}</p>',
            "</header>",
            f'<nav aria-label="Contents"><ul>{items}</ul></nav>',
            "<main>",
            *sections,
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


def figure(picture: str, said: str) -> str:
    """A plot (SVG) with what it shows below it."""
    return f"<figure>{picture}<figcaption>{escape(said)}</figcaption></figure>"


def write_page(out: Path, name: str, content: Mapping[str, Any], html: str) -> tuple[Path, Path]:
    """Write `out/NAME.json` and `out/NAME.html`, each under its name when it is whole; return their paths."""
    out.mkdir(parents=True, exist_ok=True)
    texts = {
        f"{name}.json": json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        f"{name}.html": html,
    }
    for file, text in texts.items():
        partial = out / f".{file}.partial"
        partial.write_text(text, encoding="utf-8")
        rename(partial, out / file)
    return out / f"{name}.json", out / f"{name}.html"
