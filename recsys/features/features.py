"""Examples in, feature rows out: the one function that training, batch scoring and the service share."""

from collections.abc import Mapping, Sequence

import polars as pl

from recsys.features.activity import accounts, balances, contacts, interactions, transactions
from recsys.features.definition import FeatureDefinition
from recsys.features.holdings import history, holdings, seen_interactions
from recsys.features.profile import profile

EXAMPLE: dict[str, pl.DataType] = {
    "customer_id": pl.String(),
    "as_of": pl.Date(),
    "position": pl.Int64(),
    "hidden": pl.List(pl.String),
}
"""The columns that name an example: a customer, the point from which they are seen, the products hidden from view."""


def features(tables: Mapping[str, pl.DataFrame], examples: pl.DataFrame, definition: FeatureDefinition) -> pl.DataFrame:
    """One row per example, in the order of `examples`.

    `tables` holds the rows of (at least) the customers asked for, `products` and `campaigns` whole.
    Only events before `as_of` (or before `position`) count, and a hidden product leaves the holdings,
    the history and every count. A null `as_of` or `position` sets no limit.

    Columns: `customer_id`; the profile; the activity numbers named by the definition (Float64, null = not known);
    `holdings`, `history`, `history_kind` (List(String)) and `history_age` (List(Int32), days), oldest first.
    """
    asked = examples.select(pl.col(name).cast(dtype) for name, dtype in EXAMPLE.items()).with_row_index("row")
    seen = seen_interactions(tables, asked)
    parts = [profile(tables, asked, definition), holdings(seen), history(seen, definition)]
    if definition.dated:
        parts.append(balances(tables, asked, definition))
        parts.append(accounts(tables, asked, definition))
        parts.append(transactions(tables, asked, definition))
        parts.append(interactions(seen, asked, definition))
        parts.append(contacts(tables, asked, definition))
    rows = _side_by_side(asked.select("row", "customer_id"), [part for part in parts if part is not None])
    lists = {"holdings": pl.String, "history": pl.String, "history_kind": pl.String, "history_age": pl.Int32}
    rows = rows.with_columns(pl.col(name).fill_null(pl.lit([], dtype=pl.List(inner))) for name, inner in lists.items())
    if definition.holdings:
        rows = rows.with_columns(pl.col("holdings").list.len().cast(pl.Float64).alias("holdings.count"))
    kept = ["customer_id", *definition.categories, *definition.tags, *definition.numbers, *lists]
    return rows.select(kept)


def _side_by_side(rows: pl.DataFrame, parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The parts beside the rows; those that have every row in order need no join, which would copy all columns."""
    whole = [part for part in parts if part.height == rows.height and part["row"].equals(rows["row"])]
    for part in parts:
        if not any(part is other for other in whole):
            rows = rows.join(part, on="row", how="left", maintain_order="left")
    return rows.hstack([column for part in whole for column in part.drop("row").iter_columns()])
