"""What purchases leave to be known of each customer: how often, how recently, since when, for how much.

For the models of this package a customer's purchases are summed up by four numbers (Fader, Hardie, Lee: "Counting Your
Customers" the Easy Way, Marketing Science 2005). Purchases of one day are one purchase. The first one makes the
customer; only those after it are counted.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

SCHEMA: dict[str, pl.DataType] = {
    "customer_id": pl.String(),
    "frequency": pl.Int64(),
    "recency": pl.Int64(),
    "age": pl.Int64(),
    "spend": pl.Int64(),
}


@dataclass(frozen=True)
class Histories:
    """Collapsed sufficient statistics: customers with the same history are one entry with their number."""

    frequency: np.ndarray
    """int64 [G] purchases after the first."""
    recency: np.ndarray
    """int64 [G] days from the first purchase to the last."""
    age: np.ndarray
    """int64 [G] days from the first purchase to the last day that is known."""
    count: np.ndarray
    """float64 [G] customers."""

    @property
    def customers(self) -> int:
        return int(self.count.sum())


def histories(purchases: pl.DataFrame, last: date) -> pl.DataFrame:
    """One row a customer who bought by the day `last`, ordered by id.

    `purchases` has `customer_id`, `day` (Date) and `amount` (minor units), any number of rows a day. The columns are
    `customer_id`; `frequency`: days with a purchase after the first such day; `recency`: days from the first to the
    last of them; `age`: days from the first to `last`; `spend`: minor units of all purchases after the first day.
    """
    days = (
        purchases.lazy()
        .filter(pl.col("day") <= last)
        .group_by("customer_id", "day")
        .agg(pl.col("amount").sum())
        .with_columns((pl.col("day") == pl.col("day").min().over("customer_id")).alias("first"))
    )
    return (
        days.group_by("customer_id")
        .agg(
            (pl.len() - 1).cast(pl.Int64).alias("frequency"),
            (pl.col("day").max() - pl.col("day").min()).dt.total_days().alias("recency"),
            (pl.lit(last) - pl.col("day").min()).dt.total_days().alias("age"),
            pl.col("amount").filter(~pl.col("first")).sum().cast(pl.Int64).alias("spend"),
        )
        .sort("customer_id")
        .collect()
        .select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items())
    )


def collapsed(known: pl.DataFrame) -> Histories:
    """The rows of `histories` as sufficient statistics; their order does not matter."""
    found = known.group_by("frequency", "recency", "age").len().sort("age", "frequency", "recency")
    frequency, recency, age = (found[name].cast(pl.Int64).to_numpy() for name in ("frequency", "recency", "age"))
    return Histories(frequency, recency, age, found["len"].cast(pl.Float64).to_numpy())
