"""What a month with a customer brings, from what they hold, their balance or a figure that the bank has already."""

from collections.abc import Collection, Mapping
from datetime import date

import polars as pl

from recsys.errors import ConfigError
from recsys.lake.contract import nearest
from recsys.lifetime_value.config import ContractConfig

BALANCE = "balances.latest"


def check_margin(config: ContractConfig, products: Collection[str], numbers: Collection[str], balances: bool) -> None:
    """ConfigError if a margin is of a product, a number of customers or a balance that there is not."""
    for product in config.products:
        if product not in products:
            raise ConfigError(f"contract.products: {product!r} is no product{nearest(product, list(products))}")
    if config.attribute is not None and config.attribute not in numbers:
        near = nearest(config.attribute, list(numbers))
        raise ConfigError(
            f"contract.attribute: {config.attribute!r} is no number of the customers{near}; "
            f"there are {', '.join(numbers) or 'none'}"
        )
    if config.balance_rate and not balances:
        raise ConfigError("contract.balance_rate: the bundle knows no balances; leave it out")


def monthly_margin(
    rows: pl.DataFrame, tables: Mapping[str, pl.DataFrame], config: ContractConfig, as_of: date | None
) -> pl.DataFrame:
    """`customer_id` and `monthly_margin` (minor units) of feature rows, in their order.

    Products held that have no margin bring nothing, nor do a missing balance, an overdraft, or a missing attribute.
    """
    parts = [pl.lit(0.0)]
    if config.products:
        yearly = pl.col("holdings").list.eval(
            pl.element().replace_strict(config.products, default=0.0, return_dtype=pl.Float64)
        )
        parts.append(yearly.list.sum() / 12)
    if config.balance_rate:
        parts.append(pl.col(BALANCE).cast(pl.Float64).fill_nan(None).fill_null(0.0).clip(0) * config.balance_rate / 12)
    if config.attribute:
        rows = rows.join(_latest(tables["customers"], config.attribute, as_of), on="customer_id", how="left")
        parts.append(pl.col("_margin").fill_nan(None).fill_null(0.0))
    return rows.select("customer_id", pl.sum_horizontal(parts).alias("monthly_margin"))


def _latest(customers: pl.DataFrame, attribute: str, as_of: date | None) -> pl.DataFrame:
    """The attribute as it was last known before a day."""
    known = customers
    if "valid_from" in customers.columns:
        if as_of is not None:
            known = known.filter(pl.col("valid_from").is_null() | (pl.col("valid_from") < as_of))
        known = known.sort("valid_from", nulls_last=False)
    chosen = known.group_by("customer_id", maintain_order=True).agg(pl.col(attribute).last())
    return chosen.select("customer_id", pl.col(attribute).cast(pl.Float64).alias("_margin"))
