"""Ids of the synthetic bank: the customers' by their number, everything else's by kind, bucket and order of entry."""

import polars as pl

from recsys.synthetic.streams import Ints


def customer_ids(customers: int) -> pl.Series:
    """C0000001, C0000002 …"""
    numbers = pl.int_range(1, customers + 1, eager=True).cast(pl.String).str.zfill(7)
    return ("C" + numbers).alias("customer_id")


def numbered(kind: str, bucket: int, numbers: Ints) -> pl.Series:
    """Ids such as T3-17, unique in the bank while `kind` is: an addition takes a letter of its own and moves no id."""
    return f"{kind}{bucket}-" + pl.Series(numbers).cast(pl.String)
