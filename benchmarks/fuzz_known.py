"""Hooks of Schemathesis that put ids and days the bank knows into some invented requests, so that they get further.

A random id is known to nobody, and a random day lies after the last one: without this nearly every answer is a 404.
"""

import json
import os
import random
import re
from functools import cache
from pathlib import Path
from typing import Any

import schemathesis

VARIABLE = "FUZZ_KNOWN"
"""Names a file: column → values that are in the store."""
ERASED = 16
"""One of so many invented ids becomes a known one where a customer is erased; else three of four."""
LONGEST = 256
_draw = random.Random(0)
DAY = re.compile(r"\d{4}-\d{2}-\d{2}(T.*)?", re.DOTALL)


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
    return placed(body)


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
    values = _known().get(column)
    keeps = _draw.randrange(rarely) > 0 if rarely else _draw.randrange(4) == 0
    return invented if not values or keeps else _draw.choice(values)
