"""Whether somebody is a customer on a day: not yet joined, a customer, or already gone by the rule."""

from datetime import date
from typing import Literal

import polars as pl

from recsys.churn.config import LeavingRule
from recsys.churn.leaving import Tables, joined_later, leavings

Standing = Literal["customer", "left", "joins_later"]


def standing(tables: Tables, as_of: date | None, rule: LeavingRule | None) -> pl.DataFrame:
    """`customer_id, standing, joined` of every customer of the tables, as seen from a day, ordered by id.

    `joins_later`: their first account, event or attribute is of that day or later (`joined`, else null), so nothing is
    known of them. `left`: by the rule they are no customer any more. Where a table that the rule reads is absent, or
    there is no rule or no day, nobody has left.
    """
    known = tables["customers"].select(pl.col("customer_id").unique()).sort("customer_id")
    found = known.join(joined_later(tables, as_of), on="customer_id", how="left", maintain_order="left")
    said = pl.when(pl.col("joined").is_not_null()).then(pl.lit("joins_later")).otherwise(pl.lit("customer"))
    found = found.with_columns(said.alias("standing"))
    if rule is not None and as_of is not None and _told(tables, rule):
        here = leavings(tables, rule, (as_of,), as_of).select("customer_id", here=pl.lit(True))
        found = found.join(here, on="customer_id", how="left", maintain_order="left")
        gone = pl.col("here").is_null() & (pl.col("standing") == "customer")
        found = found.with_columns(pl.when(gone).then(pl.lit("left")).otherwise("standing").alias("standing"))
    return found.select("customer_id", "standing", "joined")


def standing_by_tables(tables: Tables, as_of: date | None, rule: LeavingRule | None) -> pl.DataFrame:
    """`standing` by the rule; without one a customer has left who had an account closed and has none open.

    Who never had an account has not left by that: a bank may keep accounts of some of its customers only.
    """
    found = standing(tables, as_of, rule)
    accounts, holders = tables.get("accounts"), tables.get("account_holders")
    if rule is not None or as_of is None or accounts is None or holders is None or "closed" not in accounts.columns:
        return found
    over = pl.col("closed") < as_of
    some = holders.join(accounts.select("account_id", over.fill_null(False).alias("over")), on="account_id")
    gone = some.group_by("customer_id").agg(pl.col("over").all()).filter("over")["customer_id"]
    left = (pl.col("standing") == "customer") & pl.col("customer_id").is_in(gone.implode())
    return found.with_columns(pl.when(left).then(pl.lit("left")).otherwise("standing").alias("standing"))


def _told(tables: Tables, rule: LeavingRule) -> bool:
    closed = {"accounts", "account_holders"} <= set(tables)
    active = any(name in tables for name in rule.activity)
    return (closed or not rule.accounts_closed) and (active or rule.inactive_days is None)
