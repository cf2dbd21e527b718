"""The customer's attributes, as they were at the example's day."""

from collections.abc import Mapping

import polars as pl

from recsys.errors import DataError
from recsys.features.definition import Column, FeatureDefinition


def profile(tables: Mapping[str, pl.DataFrame], asked: pl.DataFrame, definition: FeatureDefinition) -> pl.DataFrame:
    """Columns `row` and one per attribute: categories String, tags List(String), all else Float64.

    With `valid_from`, the row in force on `as_of` counts. Dates become days before `as_of`
    (null if still to come), or days since 1970-01-01 where there is no day.
    """
    customers = tables["customers"]
    names = [column.name for column in definition.profile]
    absent = sorted(set(names) - set(customers.columns))
    if absent:
        raise DataError(
            f"customers: the features were defined with {', '.join(absent)}, which the table does not have; "
            "import the source with these columns, null where not known"
        )
    if "valid_from" in customers.columns:
        joined = asked.select("row", "customer_id", "as_of").join(customers, on="customer_id", how="left")
        in_force = (
            pl.col("valid_from").is_null() | pl.col("as_of").is_null() | (pl.col("valid_from") <= pl.col("as_of"))
        )
        joined = (
            joined.filter(in_force)
            .sort("row", "valid_from", nulls_last=False)
            .group_by("row", maintain_order=True)
            .agg(pl.col("as_of").last(), *[pl.col(name).last() for name in names])
        )
    else:
        wanted = customers.select("customer_id", *names)
        joined = asked.select("row", "customer_id", "as_of").join(wanted, on="customer_id", how="left")
    return joined.select("row", *[_value(column) for column in definition.profile])


def _value(column: Column) -> pl.Expr:
    value = pl.col(column.name)
    if column.kind == "date":
        days = (pl.col("as_of") - value).dt.total_days()
        since_epoch = (value - pl.date(1970, 1, 1)).dt.total_days()
        past = pl.when(days >= 0).then(days)
        return pl.when(pl.col("as_of").is_null()).then(since_epoch).otherwise(past).cast(pl.Float64).alias(column.name)
    if column.kind in ("number", "flag"):
        number = value.cast(pl.Float64)
        return pl.when(number.is_finite()).then(number).alias(column.name)
    if column.kind == "text":
        return text_tokens(value).alias(column.name)
    return value


def text_tokens(text: pl.Expr) -> pl.Expr:
    """Free text as its words: lower case, letters and digits only."""
    return text.str.to_lowercase().str.extract_all(r"[\p{L}\p{N}]+")
