"""What customers bought, read from a lake bucket by bucket, as the histories that lifetime value needs."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from recsys.errors import ConfigError, DataError, LakeError
from recsys.lake.parts import in_sample, sample_share
from recsys.lake.store import Lake
from recsys.lifetime_value.config import PurchaseConfig
from recsys.lifetime_value.histories import histories
from recsys.progress import Progress

FEWEST_DAYS = 28
"""Days of purchases below which nothing can be said about when customers come back."""


@dataclass(frozen=True)
class Gathered:
    """Histories of a sample of the customers, at the end of the calibration and at the end of the hold-out."""

    first: date
    """The day of the first purchase of all."""
    cut: date
    """The last day of the calibration."""
    last: date
    """The last day that is known."""
    known: pl.DataFrame
    """`histories` up to `last`."""
    before: pl.DataFrame
    """`histories` up to `cut` of those known by then, and what they did after: `later`, `later_spend`."""
    starts: np.ndarray
    """int64 [days]: customers whose first purchase was so many days after `first`."""
    repeats: np.ndarray
    """int64 [days]: repeated purchases so many days after `first`."""
    share: float
    """The share of customers in the sample."""

    @property
    def holdout_days(self) -> int:
        return (self.last - self.cut).days


def last_day(lake: Lake, as_of: date | None) -> date:
    """The last day that is looked at: the one before `as_of`, else that of the last event."""
    if lake.as_of is None or "transactions" not in lake.tables:
        raise LakeError(
            f"{lake.path}: lifetime value from purchases needs dated transactions, and it has none; "
            "a section contract takes it from margins and survival"
        )
    return (as_of or lake.as_of) - timedelta(days=1)


def purchases_of(lake: Lake, bucket: int, config: PurchaseConfig, last: date) -> pl.LazyFrame:
    """`customer_id`, `day`, `amount` (minor units, 0 or more) of the purchases of a bucket's customers, not yet read.

    A joint account's purchases are those of its first holder by id, so that no money counts twice.
    """
    present = lake.schema("transactions")
    amount = -pl.col("amount") if config.direction == "out" else pl.col("amount")
    rows = lake.rows("transactions", bucket)
    if config.categories:
        if "category" not in present:
            raise ConfigError(f"purchases.categories: the transactions of {lake.path} have no category")
        rows = rows.filter(pl.col("category").is_in(config.categories))
    rows = rows.with_columns(amount.alias("amount"), pl.col("at").dt.date().alias("day"))
    rows = rows.filter((pl.col("amount") >= 0) & (pl.col("day") <= last))
    found = []
    if "customer_id" in present:
        found.append(rows.filter(pl.col("customer_id").is_not_null()).select("customer_id", "day", "amount"))
    if "account_id" in present and "account_holders" in lake.tables:
        holders = lake.rows("account_holders", bucket)
        first = holders.group_by("account_id").agg(pl.col("customer_id").min())
        own = lake.rows("customers", bucket).select("customer_id").unique()
        of_accounts = rows.filter(pl.col("account_id").is_not_null()).select("account_id", "day", "amount")
        joined = of_accounts.join(first, on="account_id").join(own, on="customer_id", how="semi")
        found.append(joined.select("customer_id", "day", "amount"))
    return pl.concat(found)


def bucket_histories(lake: Lake, config: PurchaseConfig, last: date) -> Iterator[tuple[int, pl.DataFrame]]:
    """Each bucket with the histories of all its customers who bought."""
    for bucket in range(lake.buckets):
        yield bucket, histories(purchases_of(lake, bucket, config, last).collect(), last)


def gather(lake: Lake, config: PurchaseConfig, last: date, progress: Progress) -> Gathered:
    """Read a sample of the customers, the purchases of one bucket at a time.

    Raises ConfigError if the hold-out leaves too few days, DataError if nobody bought anything.
    """
    first = _first_day(lake, config, last)
    cut, days = _cut(first, last, config), (last - first).days + 1
    share = sample_share(lake, config.customers)
    known, before = [], []
    starts, every = np.zeros(days, dtype=np.int64), np.zeros(days, dtype=np.int64)
    for bucket in range(lake.buckets):
        progress(bucket, lake.buckets, "buckets read")
        rows = purchases_of(lake, bucket, config, last).collect()
        ids = rows["customer_id"].unique()
        rows = rows.filter(pl.col("customer_id").is_in(ids.filter(pl.Series(in_sample(ids, share))).implode()))
        bought = rows.group_by("customer_id", "day").agg(pl.col("amount").sum())
        known.append(histories(bought, last))
        before.append(_judged(histories(bought, cut), known[-1]))
        starts += _daily(bought.group_by("customer_id").agg(pl.col("day").min())["day"], first, days)
        every += _daily(bought["day"], first, days)
    return Gathered(first, cut, last, pl.concat(known), pl.concat(before), starts, every - starts, share)


def _judged(before: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """The histories of the calibration with what the same customers did after it."""
    after = known.select("customer_id", pl.col("frequency").alias("later"), pl.col("spend").alias("later_spend"))
    joined = before.join(after, on="customer_id", how="left", maintain_order="left")
    return joined.with_columns(pl.col("later") - pl.col("frequency"), pl.col("later_spend") - pl.col("spend"))


def _first_day(lake: Lake, config: PurchaseConfig, last: date) -> date:
    days = pl.collect_all(
        [purchases_of(lake, bucket, config, last).select(pl.col("day").min()) for bucket in range(lake.buckets)]
    )
    first = pl.concat(days)["day"].min()
    if first is None:
        raise DataError(f"{lake.path}: no purchase: no transaction {_meant(config)} up to {last}")
    assert isinstance(first, date)
    return first


def _daily(days: pl.Series, first: date, count: int) -> np.ndarray:
    return np.bincount((days - first).dt.total_days().to_numpy(), minlength=count)


def _cut(first: date, last: date, config: PurchaseConfig) -> date:
    days = (last - first).days + 1
    if days < FEWEST_DAYS:
        raise DataError(
            f"lifetime value: purchases from {first} to {last}, {days} days; at least {FEWEST_DAYS} are needed"
        )
    kept = config.holdout_days or days // 3
    if days - kept < FEWEST_DAYS // 2:
        raise ConfigError(
            f"purchases.holdout_days: {kept} of {days} days ({first} to {last}) leave {days - kept} to learn from; "
            f"at least {FEWEST_DAYS // 2} are needed"
        )
    return last - timedelta(days=kept)


def _meant(config: PurchaseConfig) -> str:
    money = "with money leaving the customer" if config.direction == "out" else "with money reaching the customer"
    return f"{money} in {', '.join(config.categories)}" if config.categories else money
