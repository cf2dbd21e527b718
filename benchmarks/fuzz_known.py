"""Hooks of Schemathesis that put ids and days the bank knows into some invented requests, so that they get further.

A random id is known to nobody, and a random day lies after the last one: without this nearly every answer is a 404.

What is put in depends on the invented value alone. Hypothesis tries variations of what it tried before and ends a run
whose requests are answered differently the second time; for the same reason nobody who was erased is named again, but
by a link.
"""

import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import schemathesis

VARIABLE = "FUZZ_KNOWN"
"""Names a file: column → values that are in the store."""
CHAINED = "FUZZ_CHAINED"
"""Set where chains are tried. There most questions are about a known customer, for the links follow customers."""
ERASED = 16
"""One of so many invented ids becomes a known one where a customer is erased; else three of four."""
OWN = 8
"""In chains one of so many questions stays as it is."""
LONGEST = 256
DAY = re.compile(r"\d{4}-\d{2}-\d{2}(T.*)?", re.DOTALL)
_erased: set[str] = set()


@cache
def _known() -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads(Path(os.environ[VARIABLE]).read_text())
    return found


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any]) -> dict[str, Any]:
    """The customer of a path."""
    if path_parameters and isinstance(path_parameters.get("id"), str):
        erases = context.operation.method.upper() == "DELETE"
        path_parameters["id"] = known("customer_id", path_parameters["id"], ERASED if erases else 0)
    return path_parameters


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Ids and days anywhere in a body; what a schema would not let pass stays as it is."""
    return about_one(placed(body)) if CHAINED in os.environ else placed(body)


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Remember who was erased."""
    if case.method.upper() == "DELETE" and response.status_code == 200:
        _erased.add(str((case.path_parameters or {}).get("id")))


def about_one(body: Any) -> Any:
    """A question, most often about one known customer, without their own data or fresh events, which rarely fit."""
    if not isinstance(body, dict) or body.keys().isdisjoint(("customer", "customers", "customer_id")):
        return body
    invented = json.dumps(body, sort_keys=True)
    if not _drawn("question", invented) % OWN:
        return body
    rest = {name: value for name, value in body.items() if name not in ("customer", "customers", "events")}
    return {"customer_id": _one_of("customer_id", invented)} | rest


def placed(value: Any, column: str = "") -> Any:
    """A body with some of its ids and days replaced."""
    if isinstance(value, dict):
        return {name: placed(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [placed(inner, "product_id" if column in ("exclude", "candidates") else "") for inner in value]
    if not isinstance(value, str) or not 1 <= len(value) <= LONGEST:
        return value
    if column == "at" and not DAY.fullmatch(value):
        return value
    return known(column, value, 0)


def known(column: str, invented: str, rarely: int) -> str:
    """A value of the bank's own, or the invented one."""
    drawn = _drawn(f"keep {column}", invented)
    keeps = drawn % rarely > 0 if rarely else drawn % 4 == 0
    return invented if keeps or column not in _known() else _one_of(column, invented)


def _one_of(column: str, invented: str) -> str:
    """The value that stands for an invented one: of customers the first from there on who was not erased."""
    values = _known()[column]
    first = _drawn(column, invented) % len(values)
    there = (value for value in (*values[first:], *values[:first]) if value not in _erased)
    return next(there, values[first])


def _drawn(what: str, invented: str) -> int:
    """A number that depends on nothing else."""
    return crc32(f"{what} {invented}".encode(errors="surrogatepass"))
