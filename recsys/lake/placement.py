"""Which buckets a table's rows stand in: the customer's own, or those of all holders of the account."""

import polars as pl

from recsys.errors import DataError
from recsys.lake.buckets import BUCKET, bucket_of
from recsys.lake.contract import TABLES

HOMES: dict[str, pl.DataType] = {"account_id": pl.String(), "bucket": BUCKET()}
"""One row for each bucket that holds a holder of the account."""


def homes_of(holders: pl.DataFrame, buckets: int) -> pl.DataFrame:
    """The homes (columns `HOMES`) of the accounts in rows of account_holders, in their order."""
    place = bucket_of(holders["customer_id"].fill_null(""), buckets)
    homes = holders.select("account_id").with_columns(place).unique(maintain_order=True).drop_nulls()
    return homes.cast(HOMES)  # type: ignore[arg-type]


def place(table: str, rows: pl.DataFrame, buckets: int, homes: pl.DataFrame) -> pl.DataFrame:
    """The rows with their column `bucket`, an account's rows once for each of its homes.

    A column `bucket` that is there is kept; DataError if it is impossible. Tables about nobody get none.
    """
    about = TABLES[table].about
    if about == "all":
        return rows.drop("bucket", strict=False)
    if "bucket" in rows.columns:
        if rows["bucket"].null_count() or not rows["bucket"].is_between(0, buckets - 1).all():
            raise DataError(f"{table}.bucket: must lie between 0 and {buckets - 1}")
        return rows.with_columns(pl.col("bucket").cast(BUCKET))
    if about == "customer":
        return rows.with_columns(bucket_of(rows["customer_id"].fill_null(""), buckets))
    if table == "account_holders":
        alone = rows.filter(pl.col("account_id").is_null()).with_columns(pl.lit(0, BUCKET).alias("bucket"))
        return pl.concat([rows.join(homes, on="account_id", how="inner", maintain_order="left"), alone])
    return _place_by_account(rows, buckets, homes)


def _place_by_account(rows: pl.DataFrame, buckets: int, homes: pl.DataFrame) -> pl.DataFrame:
    empty = pl.lit(None, pl.String)
    account = pl.col("account_id") if "account_id" in rows.columns else empty
    customer = pl.col("customer_id") if "customer_id" in rows.columns else empty
    # A row whose account nobody holds stands where its own id leads: the check finds and reports it there.
    fallback = pl.coalesce(customer, account, pl.lit(""))
    rows = rows.with_columns(pl.when(customer.is_null()).then(account).alias("_account"), fallback.alias("_fallback"))
    rows = rows.join(homes, left_on="_account", right_on="account_id", how="left", maintain_order="left")
    lost = rows["bucket"].is_null()
    if lost.any():
        places = bucket_of(rows.filter(lost)["_fallback"], buckets)
        rows = pl.concat([rows.filter(~lost), rows.filter(lost).with_columns(places)])
    return rows.drop("_account", "_fallback")
