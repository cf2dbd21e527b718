"""What is known of a customer as a few groups that a person would name, and typical customers to compare with.

Windows, categories and channels of one thing are one group: asked alone, each would take a share of what they say
together. Groups are columns of the encoder's customer arrays; together they are all of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from recsys.errors import DataError
from recsys.features.encoder import FIRST, Encoder
from recsys.shapley import Group

PRODUCTS = "products"
"""The group of what is held: holdings, history, how many accounts are open and for how long."""
BANDS = 8
"""Typical customers at most, from the least to the most at risk."""
LEAST = 50
"""Customers that each of them stands for at least."""
_OF_PRODUCTS = ("accounts", "holdings")


def group_of(feature: str) -> str:
    """The group of a number: `transactions.category.food.out.90d` → transactions, an attribute → itself."""
    parts = feature.split(".")
    if len(parts) == 1:
        return feature
    if parts[0] in _OF_PRODUCTS:
        return PRODUCTS
    if parts[0] == "interactions" or parts[:2] == ["transactions", "in"]:
        return ".".join(parts[:2])
    return parts[0]


def feature_groups(encoder: Encoder, arrays: Sequence[str] | None = None) -> tuple[Group, ...]:
    """The groups of an encoder's customer arrays, those of attributes first; `arrays` names those that are read."""
    shape = encoder.shape
    found: dict[str, dict[str, list[int]]] = {}
    for i, name in enumerate(encoder.customer.categories):
        found.setdefault(name, {}).setdefault("categories", []).append(i)
    if encoder.customer.tags:
        found[" and ".join(encoder.customer.tags)] = {"tags": list(range(encoder.customer.tag_width))}
    for i, name in enumerate(encoder.customer.numbers):
        columns = found.setdefault(group_of(name), {})
        for array in ("numbers", "missing"):
            columns.setdefault(array, []).append(i)
    widths = {"holdings": shape.products if shape.holdings else 0, "held": shape.held, "history": shape.history}
    if shape.history:
        widths |= {"history_kind": shape.history, "history_age": shape.history if shape.ages else 0}
    for array, width in widths.items():
        if width:
            found.setdefault(PRODUCTS, {})[array] = list(range(width))
    read = None if arrays is None else set(arrays)
    groups = []
    for name, members in found.items():
        kept = {array: tuple(columns) for array, columns in members.items() if read is None or array in read}
        if kept:
            groups.append(Group(name, kept))
    return tuple(groups)


class Background(BaseModel):
    """Typical customers, as arrays: each column by itself the median, or the most frequent, of a band of many."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    customers: int
    """Of training, over all bands; each band has about equally many."""
    rows: dict[str, list[list[float]]]
    """Array → a row for each band."""

    def arrays(self) -> dict[str, np.ndarray]:
        """The rows with the dtypes of the encoder: numbers float32, indices int32."""
        return {name: np.array(rows, dtype=_dtype(name)) for name, rows in self.rows.items()}


def background(arrays: Mapping[str, np.ndarray], log_odds: np.ndarray) -> Background:
    """Typical customers of bands of equal size by log-odds [N], for arrays [N, …].

    Numbers and holdings are medians, categories the most frequent, tags those that most have, and there is no history.
    Raises DataError for fewer than `LEAST` customers.
    """
    count = len(log_odds)
    if count < LEAST:
        raise DataError(f"reasons: {count} customers are too few to say what is typical; at least {LEAST} are needed")
    bands = min(BANDS, count // LEAST)
    order = np.argsort(log_odds, kind="stable")
    parts = np.array_split(order, bands)
    rows = {
        name: [_typical(name, np.asarray(values[np.sort(part)])) for part in parts] for name, values in arrays.items()
    }
    return Background(customers=count, rows=rows)


def _typical(name: str, values: np.ndarray) -> list[float]:
    if name in ("numbers", "missing", "holdings"):
        middle = np.median(values, axis=0)
        return [float(v) for v in (middle if name == "numbers" else np.round(middle))]
    if name == "categories":
        return [float(np.bincount(column).argmax()) for column in values.T]
    if name in ("tags", "held"):
        counts = np.bincount(values.ravel(), minlength=FIRST)
        counts[:FIRST] = 0
        often = [float(i) for i in np.flatnonzero(counts * 2 > len(values))]
        return (often + [0.0] * values.shape[1])[: values.shape[1]]
    return [0.0] * values.shape[1]


def _dtype(name: str) -> Any:
    return np.float32 if name in ("numbers", "missing", "holdings") else np.int32
