"""Customers with how many months they stayed, seen from several days: what survival is learned from and judged by."""

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
import polars as pl

from recsys.churn.config import ChurnConfig
from recsys.churn.leaving import leavings
from recsys.churn.splits import churn_days, part_of
from recsys.errors import ConfigError
from recsys.features.adoption_examples import add_months
from recsys.features.examples import Part, scoring_examples
from recsys.features.features import EXAMPLE
from recsys.lake.buckets import stable_hashes

SURVIVAL: dict[str, pl.DataType] = {**EXAMPLE, "time": pl.Int16(), "event": pl.Boolean()}
"""An example, the month after `as_of` in which the customer left, or whole months for which they were seen to stay."""


def survival_days(config: ChurnConfig, until: date | None) -> tuple[dict[Part, tuple[date, ...]], dict[Part, date]]:
    """The days from which each part's customers are seen, and the day before which everything is read.

    Training and validation end where the classifier's test begins, and see other customers from the same days, a month
    apart. The test sees its own customers from the day whose longest horizon ends at `until`: never seen customers,
    but in months of which training has seen others. Raises ConfigError without a rule.
    """
    if config.survival is None or config.rule is None or until is None:
        raise ConfigError("churn.survival: needs churn.rule and a lake with dates; leave the section survival out")
    end = churn_days(config, until)["test"][0]
    assert end is not None
    learned = tuple(add_months(end, -i) for i in range(config.survival.snapshots, 0, -1))
    test = add_months(until, -config.survival.months)
    return (
        {"train": learned, "validation": learned, "test": (test,)},
        {"train": end, "validation": end, "test": until},
    )


def survival_examples(
    tables: Mapping[str, pl.DataFrame],
    config: ChurnConfig,
    part: Part,
    days: Sequence[date],
    end: date,
    share: float = 1.0,
) -> pl.DataFrame:
    """One bucket's examples of a part (columns `SURVIVAL`), ordered by customer and day; nothing from `end` on is read.

    Who left after the last month is censored there, and who was not seen for a whole month is left out. `share` is
    drawn by a hash of customer and day.
    """
    assert config.rule is not None and config.survival is not None
    found = leavings(tables, config.rule, days, end)
    found = found.filter(pl.Series(part_of(found["customer_id"], config) == part, dtype=pl.Boolean))
    if share < 1:
        text = found.select(pl.concat_str(pl.lit("survival"), "customer_id", pl.col("as_of").cast(pl.String)))
        found = found.filter(pl.Series(stable_hashes(text.to_series()) / 2.0**64 < share, dtype=pl.Boolean))
    months = config.survival.months
    event = pl.col("left").is_not_null()
    whole = whole_months("as_of", pl.col("left").fill_null(pl.lit(end)))
    time = pl.when(event).then(whole + 1).otherwise(whole)
    told = found.with_columns(time.alias("time"), event.alias("event"))
    told = told.with_columns(pl.col("event") & (pl.col("time") <= months), pl.col("time").clip(upper_bound=months))
    told = told.filter(pl.col("time") > 0)
    named = scoring_examples(told["customer_id"], None).with_columns(told["as_of"])
    joined = pl.concat([named, told.select("time", "event")], how="horizontal")
    return joined.select(pl.col(name).cast(dtype) for name, dtype in SURVIVAL.items())


def whole_months(start: str, end: pl.Expr) -> pl.Expr:
    """Calendar months from the day in a column that are over on a later day."""
    first = pl.col(start)
    count = (end.dt.year() - first.dt.year()) * 12 + end.dt.month() - first.dt.month()
    last = pl.min_horizontal(first.dt.day(), end.dt.month_end().dt.day())
    return (count - (end.dt.day() < last).cast(pl.Int32)).cast(pl.Int16)


def person_periods(
    time: np.ndarray, event: np.ndarray, stayed: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Customer-months as `row`, `month` (from 0), `left` and `weight`, ordered by row and month.

    Every month in which someone left, and of the months of staying `stayed` times as many, drawn, each with the weight
    of those it stands for: the likelihood of all months has the same mean (case-cohort sampling).
    """
    time = np.asarray(time, dtype=np.int64)
    row = np.repeat(np.arange(len(time)), time)
    month = np.arange(len(row)) - np.repeat(np.cumsum(time) - time, time)
    left = (month == time[row] - 1) & np.asarray(event).astype(bool)[row]
    cases, others = np.flatnonzero(left), np.flatnonzero(~left)
    count = min(len(others), stayed * max(1, len(cases)))
    drawn = np.random.default_rng(seed).choice(others, count, replace=False) if len(others) else others
    kept = np.sort(np.concatenate([cases, drawn]))
    weight = np.where(left[kept], 1.0, len(others) / max(1, count))
    return row[kept], month[kept], left[kept], weight
