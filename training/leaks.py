"""Attributes that alone tell the outcome: most often known only afterwards, such as a flag set by the purchase."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.features.definition import Column, FeatureDefinition
from recsys.features.features import columns
from recsys.features.holdings import holdings, seen_interactions
from recsys.features.profile import profile
from recsys.features.view import View
from recsys.lake.buckets import stable_hashes
from recsys.lake.store import Lake

THRESHOLD = 0.99
"""A single attribute with a larger AUC is a leak until a person says otherwise."""
LEAST = 25
"""Examples with and without the outcome that a product needs before it is looked at."""
BINS = 50
"""Ranges of a number whose middle ones may tell what its ends do not."""
MOST_PRODUCTS = 50
"""Products that are looked at, those with the most outcomes first."""


@dataclass(frozen=True)
class Leak:
    """An attribute of customers that tells by itself who acquires a product."""

    attribute: str
    product_id: str
    auc: float
    acquired: int
    examples: int

    def __str__(self) -> str:
        return (
            f"customers.{self.attribute}: alone tells who acquires {self.product_id} "
            f"(AUC {self.auc:.3f}, {self.acquired:,} of {self.examples:,} examples)"
        )


def leak_rows(
    tables: Mapping[str, pl.DataFrame], examples: pl.DataFrame, definition: FeatureDefinition
) -> pl.DataFrame:
    """What `find_leaks` reads, for the examples of one bucket: `customer_id`, profile, `holdings`, `targets`."""
    view = View(tables, examples)
    rows = view.examples.select("customer_id").with_row_index("row").with_columns(examples["targets"])
    attributes = profile(view, definition)
    rows = rows.hstack([*attributes.words.values(), *columns(attributes.numbers)])
    return rows.join(holdings(seen_interactions(view)), on="row", how="left", maintain_order="left").drop("row")


def find_leaks(rows: pl.DataFrame, profile_columns: tuple[Column, ...]) -> list[Leak]:
    """For each attribute its worst leak, if it has one: largest AUC over the products with enough outcomes.

    A product's examples are those that do not hold it. Numbers rank by value, in the better direction, nulls apart,
    and by range; ranges, categories and tags by how often the other half of customers with the value acquires it
    (a fold by the id's hash), so that a value met once tells nothing.
    """
    if not rows.height or not profile_columns:
        return []
    fold = (stable_hashes(rows["customer_id"]) >> np.uint64(63)).astype(np.int64)
    products = (
        rows["targets"].explode().drop_nulls().value_counts().sort(["count", "targets"], descending=[True, False])
    )
    worst: dict[str, Leak] = {}
    for product in products.filter(pl.col("count") >= LEAST)["targets"].head(MOST_PRODUCTS):
        free = ~rows.select(pl.col("holdings").list.contains(product).fill_null(False)).to_series().to_numpy()
        acquired = rows["targets"].list.contains(product).to_numpy()[free]
        if min(acquired.sum(), (~acquired).sum()) < LEAST:
            continue
        asked = rows.filter(free)
        for column in profile_columns:
            auc = column_auc(asked[column.name], column, acquired, fold[free])
            if auc >= THRESHOLD and (column.name not in worst or auc > worst[column.name].auc):
                worst[column.name] = Leak(column.name, product, auc, int(acquired.sum()), len(acquired))
    return list(worst.values())


def without_history(lake: Lake, definition: FeatureDefinition) -> list[str]:
    """The inputs that cannot travel in time: every example sees them as they are today, whatever its day.

    Customers' attributes have a history where the lake knows `customers.valid_from`; a date is compared with the
    example's day and needs none; attributes of products have none. Empty for a lake without dates.
    """
    if not definition.dated:
        return []
    dated = "valid_from" in lake.tables["customers"].columns
    customers = [] if dated else [f"customers.{c.name}" for c in definition.profile if c.kind != "date"]
    return [*customers, *(f"products.{c.name}" for c in definition.product_attributes)]


def column_auc(values: pl.Series, column: Column, acquired: np.ndarray, fold: np.ndarray) -> float:
    """AUC of one column alone for a bool outcome [N], ranked as `find_leaks` says; `fold` [N] is 0 or 1."""
    if isinstance(values.dtype, pl.List):
        return _tags_auc(values, acquired, fold)
    place = values.rank("dense").fill_null(0).cast(pl.Int64).to_numpy()  # 0: not known, else from 1 in their order
    if column.kind in ("category", "text"):
        return _auc_of_other_fold(place, acquired, fold)
    unknown, order = place == 0, place.max(initial=0) + 1
    below, above = (_auc(np.where(unknown, 0, ranked), acquired) for ranked in (place, order - place))
    between = _auc_of_other_fold(np.where(unknown, BINS, place * BINS // (values.n_unique() + 1)), acquired, fold)
    return max(below, above, 1 - below, 1 - above, between)


def _auc_of_other_fold(place: np.ndarray, acquired: np.ndarray, fold: np.ndarray) -> float:
    """AUC of each value's smoothed rate, counted on the customers of the other fold; `place` int [N] numbers them."""
    group, groups = 2 * place + fold, 2 * (int(place.max(initial=0)) + 1)
    counts, ones = np.bincount(group, minlength=groups), np.bincount(group, acquired, groups)
    prior = float(acquired.mean())
    rate = (ones + prior) / (counts + 1)
    scores = np.unique(rate[np.arange(groups) ^ 1], return_inverse=True)[1]
    return _auc(scores[group], acquired)


def _tags_auc(values: pl.Series, acquired: np.ndarray, fold: np.ndarray) -> float:
    """The same where a row has several values, of which the one with the highest rate counts."""
    each = pl.DataFrame({"row": np.arange(len(acquired)), "value": values, "y": acquired, "fold": fold})
    long = each.explode("value")
    prior = float(acquired.mean())
    counts = long.group_by("value", (1 - pl.col("fold")).alias("fold")).agg(pl.col("y").sum(), pl.len().alias("n"))
    rate = counts.with_columns(((pl.col("y") + prior) / (pl.col("n") + 1)).alias("rate"))
    joined = long.join(rate.select("value", "fold", "rate"), on=["value", "fold"], how="left", nulls_equal=True)
    best = joined.group_by("row").agg(pl.col("rate").max().fill_null(prior))
    rates = np.full(len(acquired), prior)  # also of rows whose list is empty
    rates[best["row"].to_numpy()] = best["rate"].to_numpy()
    return _auc(np.unique(rates, return_inverse=True)[1], acquired)


def _auc(place: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve of scores by their places, int [N] from 0 (Mann and Whitney 1947); ties count half."""
    count = np.bincount(place)
    ones = np.bincount(place, positive, len(count))
    others = count - ones
    won = float((ones * (others.cumsum() - others / 2)).sum())
    return won / (float(ones.sum()) * float(others.sum()))
