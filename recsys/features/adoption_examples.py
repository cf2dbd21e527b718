"""Every customer seen from several days, with when each product was first acquired after: what adoption learns from."""

import calendar
from collections.abc import Mapping, Sequence
from datetime import date

import polars as pl

from recsys.errors import DataError
from recsys.features.examples import Part, scoring_examples
from recsys.features.features import EXAMPLE
from recsys.lake.buckets import stable_hashes

ADOPTION: dict[str, pl.DataType] = {
    **EXAMPLE,
    "targets": pl.List(pl.String),
    "intervals": pl.List(pl.Int8),
    "finished": pl.Int8(),
}
"""An example, the products acquired after it with the interval of each, and how many intervals are over."""


def add_months(day: date, months: int) -> date:
    """The same day of the month so many months later (or earlier), or the month's last day if it is shorter."""
    count = day.year * 12 + day.month - 1 + months
    year, month = divmod(count, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def adoption_cuts(horizons: Sequence[int], snapshots: int, until: date | None) -> dict[Part, tuple[date, ...]]:
    """The days from which customers are seen, by part; `horizons` are months, ascending.

    The test's longest horizon ends at `until`, the validation's at the test cut. Training cuts lie a month apart; the
    last is the one whose shortest horizon ends at the validation cut.
    """
    if until is None:
        raise DataError("adoption: needs dated events and this lake has none; leave the section adoption out")
    test = add_months(until, -horizons[-1])
    validation = add_months(test, -horizons[-1])
    train = (add_months(validation, -horizons[0] - i) for i in reversed(range(snapshots)))
    return {"train": tuple(train), "validation": (validation,), "test": (test,)}


def labels_end(cuts: Mapping[Part, tuple[date, ...]], part: Part, until: date | None) -> date:
    """The day before which everything lies that a part may learn or be judged by."""
    if part == "test" and until is not None:
        return until
    return cuts["validation" if part == "train" else "test"][0]


def adoption_examples(
    tables: Mapping[str, pl.DataFrame], horizons: Sequence[int], days: Sequence[date], end: date, share: float = 1.0
) -> pl.DataFrame:
    """One bucket's examples (columns `ADOPTION`): each customer with an event before the day, for each day.

    Interval i lies between horizon i - 1 (or the day) and horizon i. It is finished if it is over by `end`;
    acquisitions in others are not told. `targets` has each product once, with its first interval; a product that is
    held at the day may be among them, for who knows the holdings (`features`) leaves it out. `share` of the examples
    is drawn by a hash of customer and day, whatever happened after. Ordered by customer and day.
    """
    events = tables["interactions"].filter(pl.col("at").is_not_null())
    first = events.group_by("customer_id").agg(pl.col("at").min().alias("first"))
    ends = [f"end_{i}" for i in range(len(horizons))]
    rows = [(day, *(add_months(day, months) for months in horizons)) for day in days]
    frame = pl.DataFrame(rows, schema={"as_of": pl.Date, **dict.fromkeys(ends, pl.Date)}, orient="row")
    frame = frame.with_columns(finished=pl.sum_horizontal(pl.col(name) <= end for name in ends).cast(pl.Int8))
    seen = first.join(frame, how="cross").filter(pl.col("first") < pl.col("as_of").cast(pl.Datetime("us")))
    seen = _drawn(seen.sort("customer_id", "as_of"), share)
    interval = pl.sum_horizontal(pl.col("at") >= pl.col(name).cast(pl.Datetime("us")) for name in ends).cast(pl.Int8)
    acquired = (
        events.filter(pl.col("kind") == "acquired", pl.col("product_id").is_not_null())
        .select("customer_id", "product_id", "at")
        .join(seen, on="customer_id")
        .filter(pl.col("at") >= pl.col("as_of").cast(pl.Datetime("us")))
        .with_columns(interval.alias("interval"))
        .filter(pl.col("interval") < pl.col("finished"))
        .group_by("customer_id", "as_of", "product_id")
        .agg(pl.col("interval").min())
        .sort("customer_id", "as_of", "product_id")
        .group_by("customer_id", "as_of", maintain_order=True)
        .agg(pl.col("product_id").alias("targets"), pl.col("interval").alias("intervals"))
    )
    joined = seen.join(acquired, on=["customer_id", "as_of"], how="left", maintain_order="left")
    named = scoring_examples(joined["customer_id"], None).with_columns(joined["as_of"])
    told = joined.select("finished", pl.col("targets", "intervals").fill_null([]))
    return pl.concat([named, told], how="horizontal").select(pl.col(n).cast(dtype) for n, dtype in ADOPTION.items())


def _drawn(seen: pl.DataFrame, share: float) -> pl.DataFrame:
    if share >= 1:
        return seen
    text = pl.concat_str("customer_id", pl.col("as_of").cast(pl.String), separator=":")
    return seen.filter(pl.Series(stable_hashes(seen.select(text).to_series()) / 2.0**64) < share)
