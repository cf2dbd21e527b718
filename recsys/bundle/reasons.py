"""Why a product was recommended: what of the customer's data raised its score most, found by leaving it out."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.bundle.recommender import Recommender
from recsys.errors import DataError


@dataclass(frozen=True)
class Reason:
    """A part of what is known about a customer, and by how much a product's score falls without it."""

    kind: str
    """product (held, or in the history), attribute (of the customer), or activity (what is counted from events)."""
    name: str
    """The product's id, the attribute, or the table of the events."""
    effect: float
    """Points of score; larger than 0."""


def reasons(recommender: Recommender, row: pl.DataFrame, index: np.ndarray, most: int) -> list[list[Reason]]:
    """For each product at `index` int64 [K] up to `most` reasons, the strongest first, for the customer of one row.

    The feature row is asked again once for each product in holdings or history, each attribute and each table of
    events, without it; all of them in one batch through the graphs that serve. Ties go by kind and name.
    Raises DataError unless there is exactly one row.
    """
    if row.height != 1:
        raise DataError(f"reasons: one customer at a time, got {row.height} rows")
    parts = _parts(recommender, row)
    if not parts:
        return [[] for _ in index]
    variants = pl.concat([row, *(without(row) for _, _, without in parts)])
    scores = recommender.scores(recommender.vectors_from_rows(variants))[:, index]
    effects = scores[0] - scores[1:]
    found = []
    for column in effects.T:
        named = [
            Reason(kind, name, float(effect))
            for (kind, name, _), effect in zip(parts, column, strict=True)
            if effect > 0
        ]
        found.append(sorted(named, key=lambda reason: (-reason.effect, reason.kind, reason.name))[:most])
    return found


def _parts(
    recommender: Recommender, row: pl.DataFrame
) -> list[tuple[str, str, Callable[[pl.DataFrame], pl.DataFrame]]]:
    """Kind, name, and how to leave it out, of everything that is known about the customer."""
    definition = recommender.definition
    products = sorted({*row["holdings"][0], *row["history"][0]})
    attributes = [c.name for c in definition.profile if not _unknown(row[c.name])]
    tables: dict[str, list[str]] = {}
    for name in definition.activity:
        if name != "holdings.count" and row[name][0] is not None:
            tables.setdefault(name.split(".")[0], []).append(name)
    found: list[tuple[str, str, Callable[[pl.DataFrame], pl.DataFrame]]] = []
    found += [("product", product, _without_product(product)) for product in products]
    found += [("attribute", name, _without_columns([name])) for name in attributes]
    found += [("activity", table, _without_columns(names)) for table, names in tables.items()]
    return found


def _unknown(values: pl.Series) -> bool:
    return values[0] is None or (isinstance(values.dtype, pl.List) and not len(values[0]))


def _without_columns(names: list[str]) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda row: row.with_columns(pl.lit(None, dtype=row.schema[name]).alias(name) for name in names)


def _without_product(product: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    def left_out(row: pl.DataFrame) -> pl.DataFrame:
        kept = [i for i, other in enumerate(row["history"][0]) if other != product]
        lists = {
            name: row[name][0].gather(kept)
            for name in ("history", "history_kind", "history_age")
            if len(row[name][0]) == len(row["history"][0])
        }
        holdings = row["holdings"][0].filter(row["holdings"][0] != product)
        changed = {name: pl.Series(name, [values], dtype=row.schema[name]) for name, values in lists.items()}
        changed["holdings"] = pl.Series("holdings", [holdings], dtype=row.schema["holdings"])
        if "holdings.count" in row.columns:
            changed["holdings.count"] = pl.Series("holdings.count", [float(len(holdings))])
        return row.with_columns(**changed)

    return left_out
