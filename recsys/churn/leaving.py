"""When customers left by a stated rule, and who was a customer on a day: from accounts and events alone."""

from collections.abc import Mapping, Sequence
from datetime import date

import polars as pl

from recsys.churn.config import LeavingRule
from recsys.errors import DataError

LEAVING: dict[str, pl.DataType] = {"customer_id": pl.String(), "as_of": pl.Date(), "left": pl.Date()}
PASSIVE = ("holds", "closed")
"""Kinds of interaction that are no activity."""
_ALWAYS, _NEVER = date(1700, 1, 1), date(2300, 1, 1)
Tables = Mapping[str, pl.DataFrame]


def leavings(tables: Tables, rule: LeavingRule, days: Sequence[date], end: date) -> pl.DataFrame:
    """Every customer on each day on which they were one, with the day on which they then left (columns `LEAVING`).

    `left` is the first day at or after `as_of`, and before `end`, on which the rule is met; null if it is not by then.
    Nothing on or after `end` is read. A customer who left and came back is a customer again. By `inactive_days` a
    customer is one if they were active within so many days before `as_of`, and leaves on the last of so many quiet
    days after it. Ordered by customer and day. Raises DataError if the lake lacks a table that the rule reads.
    """
    check_rule(rule, tables)
    asked = pl.DataFrame({"as_of": list(days)}, schema={"as_of": pl.Date}).unique().sort("as_of")
    ids = tables["customers"].select(pl.col("customer_id").unique())
    found: pl.DataFrame | None = None
    for one in _conditions(tables, rule, asked, end):
        if found is None:
            found = one
        else:
            both = found.join(one, on=["customer_id", "as_of"], suffix="_too")
            found = both.with_columns(pl.min_horizontal("left", "left_too").alias("left")).select(LEAVING.keys())
    assert found is not None
    known = found.join(ids, on="customer_id", how="semi")
    return known.select(pl.col(name).cast(dtype) for name, dtype in LEAVING.items()).sort("customer_id", "as_of")


def check_rule(rule: LeavingRule, tables: Mapping[str, object]) -> None:
    """DataError if a lake with these tables cannot tell who left by the rule."""
    needed = ["accounts", "account_holders"] if rule.accounts_closed else []
    if missing := [name for name in needed if name not in tables]:
        raise DataError(
            f"churn.rule.accounts_closed: the lake has no table {', '.join(missing)}; give inactive_days instead, or "
            "name a label"
        )
    if rule.inactive_days is not None and not any(name in tables for name in rule.activity):
        raise DataError(
            f"churn.rule.inactive_days: the lake has no table {' and none '.join(rule.activity)}, so nothing tells "
            "activity; give accounts_closed: true, or name a label"
        )


def _conditions(tables: Tables, rule: LeavingRule, asked: pl.DataFrame, end: date) -> list[pl.DataFrame]:
    found = []
    if rule.accounts_closed:
        found.append(_by_accounts(tables, asked, end))
    if rule.inactive_days is not None:
        found.append(_by_silence(tables, rule, asked, end))
    return found


def _by_accounts(tables: Tables, asked: pl.DataFrame, end: date) -> pl.DataFrame:
    """Spells in which at least one account is open; a customer on a day is in a spell, and leaves on its last day."""
    known = tables["accounts"].unique("account_id")
    columns = [
        pl.col(name) if name in known.columns else pl.lit(None, dtype=pl.Date).alias(name)
        for name in ("opened", "closed")
    ]
    held = tables["account_holders"].select("customer_id", "account_id").unique()
    spans = (
        held.join(known.select("account_id", *columns), on="account_id")
        .with_columns(pl.col("opened").fill_null(_ALWAYS), pl.col("closed").fill_null(_NEVER))
        .with_columns(pl.when(pl.col("closed") < end).then("closed").otherwise(pl.lit(_NEVER)).alias("closed"))
        .filter(pl.col("opened") < end)
        .sort("customer_id", "opened", "closed")
    )
    reached = pl.col("closed").cum_max().shift(1).over("customer_id")
    spell = (pl.col("opened") > reached).fill_null(True).cum_sum().over("customer_id")
    spells = (
        spans.with_columns(spell.alias("spell"))
        .group_by("customer_id", "spell")
        .agg(pl.col("opened").min().alias("start"), pl.col("closed").max().alias("stop"))
    )
    there = spells.join(asked, how="cross").filter(
        (pl.col("start") < pl.col("as_of")) & (pl.col("stop") >= pl.col("as_of"))
    )
    left = pl.when(pl.col("stop") < end).then("stop")
    return there.select("customer_id", "as_of", left.alias("left"))


def _by_silence(tables: Tables, rule: LeavingRule, asked: pl.DataFrame, end: date) -> pl.DataFrame:
    """Customers active in the days before `as_of`, and the last day of their first long enough silence after it."""
    assert rule.inactive_days is not None
    quiet = pl.duration(days=rule.inactive_days)
    active = []
    for name in rule.activity:
        if name in tables and "at" in tables[name].columns:
            events = _owned(tables, name)
            if name == "interactions":
                events = events.filter(~pl.col("kind").is_in(list(PASSIVE)))
            active.append(events.select("customer_id", pl.col("at").dt.date().alias("day")))
    done = pl.concat(active).drop_nulls().filter(pl.col("day") < end).unique().sort("customer_id", "day")
    pairs = done.select("customer_id").unique(maintain_order=True).join(asked, how="cross").sort("customer_id", "as_of")
    pairs = _nearest(pairs, done.with_columns(pl.col("day").alias("last")), "backward", strict=True)
    pairs = pairs.filter(pl.col("last") >= pl.col("as_of") - quiet)
    pairs = _nearest(pairs, done.with_columns(pl.col("day").alias("next")), "forward")
    following = pl.col("day").shift(-1).over("customer_id").fill_null(_NEVER)
    silences = done.with_columns((pl.col("day") + pl.duration(days=1)).alias("begins"), following.alias("until"))
    silences = silences.filter(pl.col("until") >= pl.col("begins") + quiet).select("customer_id", "day", "begins")
    pairs = _nearest(pairs, silences, "forward")
    at_once = pl.col("next").fill_null(_NEVER) >= pl.col("as_of") + quiet
    begins = pl.when(at_once).then("as_of").otherwise("begins")
    last_quiet = begins + pl.duration(days=rule.inactive_days - 1)
    return pairs.with_columns(last_quiet.alias("left")).select(
        "customer_id", "as_of", pl.when(pl.col("left") < end).then("left").alias("left")
    )


def _nearest(pairs: pl.DataFrame, days: pl.DataFrame, strategy: str, strict: bool = False) -> pl.DataFrame:
    """`pairs` (sorted by customer and day) with the columns of the nearest row of `days` before or after `as_of`."""
    found = pairs.sort("as_of").join_asof(
        days.sort("day"),
        left_on="as_of",
        right_on="day",
        by="customer_id",
        strategy=strategy,  # type: ignore[arg-type]
        allow_exact_matches=not strict,
        check_sortedness=False,
    )
    return found.drop("day", strict=False)


def _owned(tables: Tables, name: str) -> pl.DataFrame:
    """Rows of a table of events with the customer they are about, those of accounts with each holder."""
    rows = tables[name]
    wanted = [column for column in ("at", "kind") if column in rows.columns]
    parts = []
    if "customer_id" in rows.columns:
        parts.append(rows.filter(pl.col("customer_id").is_not_null()).select("customer_id", *wanted))
    if "account_id" in rows.columns and "account_holders" in tables:
        held = tables["account_holders"].select("account_id", "customer_id").unique()
        parts.append(rows.select("account_id", *wanted).join(held, on="account_id").select("customer_id", *wanted))
    return pl.concat(parts) if parts else pl.DataFrame(schema={"customer_id": pl.String, "at": pl.Datetime("us")})
