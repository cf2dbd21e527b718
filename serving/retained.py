"""What retention lists have saved: who of a list had left when its horizon was over, by a later version of the lake."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from recsys.churn.config import LeavingRule
from recsys.churn.leaving import check_rule, leavings
from recsys.errors import DataError
from recsys.features.adoption_examples import add_months
from recsys.lake.parts import BucketReader
from recsys.lake.store import Lake
from recsys.progress import Progress
from recsys.retention.listing import CONTACT, HOLD_OUT
from recsys.retention.saved import Saved, saved
from serving.buckets import COPIES
from serving.retention import FILE, SUMMARY

COLUMNS = ("customer_id", "action", "channel", "arm", "probability", "at_stake", "cost", "randomised")


@dataclass(frozen=True)
class List:
    """A retention list whose horizon is over."""

    folder: Path
    day: date
    """From which its customers were seen."""
    end: date
    """The first day after the horizon."""
    rule: LeavingRule
    rows: pl.DataFrame
    """`COLUMNS` of everyone whose arm was drawn by chance."""


def retained(lists: Sequence[Path], lake: Lake, memory: int, progress: Progress) -> dict[str, Any]:
    """What the lists have saved, by action and in all, with what to mind; every list by its own rule and horizon.

    Raises DataError for a folder without a list, a list of another bank, named twice, or whose horizon is not over.
    """
    if twice := sorted({str(folder) for folder in lists if [p.resolve() for p in lists].count(folder.resolve()) > 1}):
        raise DataError(f"{twice[0]}: named twice; each list counts once")
    read = [_read(folder, lake) for folder in lists]
    parts: list[pl.DataFrame] = []
    reader = BucketReader(lake, memory)
    for bucket in range(lake.buckets):
        progress(bucket, lake.buckets, "buckets")
        for tables in reader.parts(bucket, COPIES):
            parts += [_seen(one, number, tables) for number, one in enumerate(read)]
    progress(lake.buckets, lake.buckets, "buckets")
    rows = pl.concat(parts)
    found = saved(rows)
    listed = sum(one.rows.height for one in read)
    return {
        "schema": 1,
        "lists": [
            {
                "folder": str(o.folder),
                "as_of": o.day.isoformat(),
                "until": o.end.isoformat(),
                "customers": o.rows.height,
            }
            for o in read
        ],
        "lake": {"identity": lake.identity(), "version": lake.version, "source": lake.source},
        "currency": lake.currency,
        "customers": rows.height,
        "unknown": listed - rows.height,
        "saved": [one.told() for one in found],
        "save_rates": {str(o.action): _for_a_plan(o, read) for o in found if o.action is not None and _measured(o)},
        "notes": _notes(rows, found, listed - rows.height, "contacts" in lake.tables),
    }


def _read(folder: Path, lake: Lake) -> List:
    try:
        about = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        source, as_of, months = about["lake"]["source"], about["as_of"], about["horizon_months"]
        rows = pl.read_parquet(folder / FILE, columns=list(COLUMNS))
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DataError(
            f"{folder}: no list of recsys retention ({said}); name the directory it was written to"
        ) from None
    if source != lake.source:
        raise DataError(f"{folder}: a list of {source!r}, and {lake.path} is {lake.source!r}")
    if not about.get("rule") or not as_of:
        raise DataError(
            f"{folder / SUMMARY}: has no rule that says by a date who has left, so the lake cannot tell it; train the "
            "bundle with churn.rule and draw the list up anew"
        )
    day = date.fromisoformat(as_of)
    end = add_months(day, months)
    if lake.as_of is None or end > lake.as_of:
        known = "nothing is dated" if lake.as_of is None else f"the last event is before {lake.as_of}"
        raise DataError(
            f"{folder}: its horizon ends on {end}, and {lake.path} does not reach it ({known}); measure when it does"
        )
    rule = LeavingRule.model_validate(about["rule"])
    check_rule(rule, dict.fromkeys(lake.tables))
    return List(folder, day, end, rule, rows.filter("randomised").drop("randomised"))


def _seen(one: List, number: int, tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """The list's customers among those of the tables, whether they left, and whether they were contacted."""
    ids = tables["customers"].select("customer_id").unique()
    mine = one.rows.join(ids, on="customer_id", how="semi")
    gone = leavings(tables, one.rule, [one.day], one.end).select("customer_id", pl.col("left").is_not_null())
    mine = mine.join(gone, on="customer_id", how="inner", maintain_order="left")
    reached = pl.lit(None, pl.Boolean)
    if "contacts" in tables and {"at", "channel", "customer_id"} <= set(tables["contacts"].columns):
        here = tables["contacts"].filter(
            pl.col("at").dt.date().is_between(one.day, one.end, closed="left"), pl.col("contacted")
        )
        here = here.select("customer_id", "channel", pl.lit(True).alias("reached")).unique()
        mine = mine.join(here, on=["customer_id", "channel"], how="left", maintain_order="left")
        reached = pl.when(pl.col("channel").is_not_null()).then(pl.col("reached").fill_null(False))
    return mine.select(
        pl.lit(number).alias("list"),
        *(name for name in COLUMNS if name not in ("customer_id", "channel", "randomised")),
        "left",
        reached.alias("reached"),
    )


def _measured(one: Saved) -> bool:
    """Whether a plan can be given this save rate: both arms large enough, and an interval that has two ends."""
    return one.told_of and one.save_rate.shape == "interval"


def _for_a_plan(one: Saved, lists: Sequence[List]) -> dict[str, Any]:
    """The save rate as the plan of `recsys retention` takes it: nothing below 0 or above 1."""
    low, value, high = (
        round(min(max(rate, 0.0), 1.0), 4) for rate in (one.save_rate.low, one.save_rate.value, one.save_rate.high)
    )
    days = ", ".join(sorted({o.day.isoformat() for o in lists}))
    source = f"hold-out of the lists of {days}, {one.contacted:,} contacted and {one.held_out:,} held out"
    return {"value": value, "low": min(low, value), "high": max(high, value), "origin": "measured", "source": source}


def _notes(rows: pl.DataFrame, found: Sequence[Saved], unknown: int, logged: bool) -> list[str]:
    said = []
    if unknown:
        said.append(
            f"{unknown:,} customers of the lists are not in the lake, or were no customers by its rule: left out."
        )
    for one in found:
        name = "All actions" if one.action is None else one.action
        if not one.told_of:
            said.append(f"{name}: an arm has fewer than ten customers, or would give such a one away: nothing is told.")
        elif not one.shown:
            said.append(f"{name}: the interval holds 0, so it cannot be told whether anybody was kept.")
        elif one.shown < 0:
            said.append(f"{name}: more left of those contacted than of those held out.")
    drawn = rows.filter(pl.col("reached").is_not_null())
    if not logged:
        said.append("The lake has no table contacts, so nobody can tell whether the lists were followed.")
    for arm, drawn_to, strayed in (
        (CONTACT, "to be contacted", "were not"),
        (HOLD_OUT, "to be held out", "were contacted all the same"),
    ):
        those = drawn.filter(pl.col("arm") == arm)
        count = int((those["reached"] != (arm == CONTACT)).sum())
        if count:
            said.append(f"Of {those.height:,} drawn {drawn_to} {count:,} {strayed}: they count in the arm of the draw.")
    return said
