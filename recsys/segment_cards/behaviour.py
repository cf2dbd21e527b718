"""What customers of each segment do: channels, hours, spending, engagement, responses, gathered bucket by bucket."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

from recsys.features.holdings import is_test
from recsys.features.sketch import Sketch, quantile
from recsys.segment_cards.profiles import Profiles

YEAR = 365
"""Days over which channels, hours, spending and frequency are looked at."""
ENGAGED = 90
"""Days over which customers count as engaged, or as having closed a product."""
CONTACTED = 730
"""Days over which contacts and their answers are looked at."""
OUTCOMES = ("opened", "clicked", "converted")
CELLS: dict[str, Any] = {"topic": pl.String, "dimension": pl.String, "value": pl.String, "segment": pl.Int64}
SUMS: dict[str, Any] = {"customers": pl.Float64, "x": pl.Float64, "xx": pl.Float64, "xt": pl.Float64}
TOTALS: dict[str, Any] = {"customers": pl.Float64, "t": pl.Float64, "tt": pl.Float64}
RFM = ("recency", "frequency", "monetary")


@dataclass
class Behaviour:
    """Sums over customers for each cell of topic × dimension × value × segment, from which shares and errors follow."""

    segments: int

    def __post_init__(self) -> None:
        self.sizes = np.zeros(self.segments)
        self.cells = pl.DataFrame(schema=CELLS | SUMS)
        """`x` is the sum over `customers` who have any, `xx` of its squares, `xt` of its products with their totals."""
        self.totals = pl.DataFrame(schema=CELLS | TOTALS)
        """`value` is null where the total is over all values of the dimension."""
        self.rfm = Profiles(self.segments, numbers=RFM)
        self.spread = {name: [Sketch() for _ in range(self.segments)] for name in RFM}

    def update(self, tables: Mapping[str, pl.DataFrame], assigned: pl.DataFrame, as_of: date | None) -> None:
        """Add a bucket's tables; `assigned` has `customer_id` and `segment`, the place of each customer's segment.

        Only events before `as_of` count. Without a day nothing is dated, and only the sizes are added.
        """
        assigned = assigned.select("customer_id", pl.col("segment").cast(pl.Int64))
        self.sizes += np.bincount(assigned["segment"].to_numpy(), minlength=self.segments)
        if as_of is None or assigned.is_empty():
            return
        self._transactions(tables, assigned, as_of)
        self._interactions(tables, assigned, as_of)
        self._contacts(tables, assigned, as_of)
        self._consents(tables, assigned, as_of)
        self._recency(tables, assigned, as_of)

    def merge(self, other: "Behaviour") -> None:
        """Add what another one has seen."""
        self.sizes += other.sizes
        self._add(other.cells, other.totals)
        self.rfm.merge(other.rfm)
        for name, sketches in other.spread.items():
            for mine, theirs in zip(self.spread[name], sketches, strict=True):
                mine.merge(theirs)

    def quartiles(self, name: str, segment: int) -> tuple[float, float, float] | None:
        """Of recency, frequency or monetary, to 1 %; None where none is known."""
        values, counts = self.spread[name][segment].bins()
        if not len(values):
            return None
        low, middle, high = (quantile(values, counts, q) for q in (0.25, 0.5, 0.75))
        return low, middle, high

    def table(self, topic: str, dimension: str) -> tuple[list[str], dict[str, np.ndarray]]:
        """The values of a dimension, and [K, V] arrays: customers, x, xx, xt, and the totals n, t, tt beside them."""
        cells = self.cells.filter((pl.col("topic") == topic) & (pl.col("dimension") == dimension))
        totals = self.totals.filter((pl.col("topic") == topic) & (pl.col("dimension") == dimension))
        values = cells["value"].unique().sort().to_list()
        place = {value: v for v, value in enumerate(values)}
        found = {name: np.zeros((self.segments, len(values))) for name in (*SUMS, "n", "t", "tt")}
        for row in cells.iter_rows(named=True):
            for name in SUMS:
                found[name][row["segment"], place[row["value"]]] = row[name]
        for row in totals.iter_rows(named=True):
            columns = slice(None) if row["value"] is None else place.get(row["value"])
            if columns is not None:
                for name, column in (("n", "customers"), ("t", "t"), ("tt", "tt")):
                    found[name][row["segment"], columns] = row[column]
        return values, found

    def _transactions(self, tables: Mapping[str, pl.DataFrame], assigned: pl.DataFrame, as_of: date) -> None:
        events = within(transactions(tables, assigned), as_of, YEAR)
        self._shares("transactions", "channel", events, pl.col("channel"))
        spent = events.filter(pl.col("amount") < 0)
        self._shares("transactions", "category", spent, pl.col("category"), -pl.col("amount"))
        self._times("transactions", events)

    def _interactions(self, tables: Mapping[str, pl.DataFrame], assigned: pl.DataFrame, as_of: date) -> None:
        events = within(interactions(tables, assigned), as_of, YEAR)
        self._shares("interactions", "channel", events, pl.col("channel"))
        self._times("interactions", events.filter(pl.col("kind") != "closed"))
        self._shares("interactions", "kind", within(events, as_of, ENGAGED), pl.col("kind"))

    def _times(self, topic: str, events: pl.DataFrame) -> None:
        """Weekday (1 Monday … 7), and hour of events with a time of day: exactly midnight means that none is known."""
        self._shares(topic, "weekday", events, pl.col("at").dt.weekday().cast(pl.String))
        timed = events.filter(pl.col("at") != pl.col("at").dt.truncate("1d"))
        self._shares(topic, "hour", timed, pl.col("at").dt.hour().cast(pl.String).str.zfill(2))

    def _contacts(self, tables: Mapping[str, pl.DataFrame], assigned: pl.DataFrame, as_of: date) -> None:
        if "contacts" not in tables or "channel" not in tables["contacts"].columns:
            return
        made = tables["contacts"].filter(pl.col("contacted") & pl.col("channel").is_not_null())
        made = within(made.join(assigned, on="customer_id", how="inner"), as_of, CONTACTED)
        for outcome in OUTCOMES:
            if outcome in made.columns:
                self._rates("contacts", outcome, made.drop_nulls(outcome), pl.col("channel"), pl.col(outcome))

    def _consents(self, tables: Mapping[str, pl.DataFrame], assigned: pl.DataFrame, as_of: date) -> None:
        if "consents" not in tables:
            return
        table = tables["consents"]
        channel = pl.col("channel") if "channel" in table.columns else pl.lit(None, dtype=pl.String)
        said = table.with_columns(channel.fill_null("any channel").alias("value")).drop_nulls("at")
        said = said.filter(pl.col("at") < pl.lit(as_of).cast(pl.Datetime("us"))).sort("at", "granted")
        last = said.group_by("customer_id", "purpose", "value").agg(pl.col("granted").last())
        last = last.join(assigned, on="customer_id", how="inner").filter("granted")
        for (purpose,), found in last.group_by("purpose", maintain_order=False):
            self._shares("consents", str(purpose), found, pl.col("value"))

    def _recency(self, tables: Mapping[str, pl.DataFrame], assigned: pl.DataFrame, as_of: date) -> None:
        """Days since the last, number, and money out: of transactions, or of products taken where there are none."""
        if "transactions" in tables:
            events = transactions(tables, assigned)
        elif "interactions" in tables:
            events = interactions(tables, assigned).filter(pl.col("kind") == "acquired")
            events = events.with_columns(pl.lit(None, dtype=pl.Int64).alias("amount"))
        else:
            return
        past = events.filter(pl.col("at") < pl.lit(as_of).cast(pl.Datetime("us")))
        year = pl.col("at") >= pl.lit(as_of - timedelta(days=YEAR)).cast(pl.Datetime("us"))
        found = past.group_by("customer_id").agg(
            (pl.lit(as_of) - pl.col("at").max().dt.date()).dt.total_days().cast(pl.Float64).alias("recency"),
            year.sum().cast(pl.Float64).alias("frequency"),
            (-pl.col("amount").filter(year & (pl.col("amount") < 0)).sum()).cast(pl.Float64).alias("monetary"),
        )
        spent = pl.col("monetary").fill_null(0.0) if "transactions" in tables else pl.lit(None, dtype=pl.Float64)
        rows = assigned.join(found, on="customer_id", how="left", maintain_order="left")
        rows = rows.with_columns(pl.col("frequency").fill_null(0.0), spent.alias("monetary"))
        index = rows["segment"].to_numpy()
        self.rfm.update(rows, index)
        for name in RFM:
            values = rows[name].to_numpy()
            for k in range(self.segments):
                self.spread[name][k].update(values[index == k])

    def _shares(
        self, topic: str, dimension: str, events: pl.DataFrame, value: pl.Expr, weight: pl.Expr | None = None
    ) -> None:
        """How a segment's events, or their weights, divide over the values."""
        size = (pl.lit(1) if weight is None else weight).cast(pl.Float64).alias("x")
        each = events.lazy().select("segment", "customer_id", value.alias("value"), size).drop_nulls("value")
        each = each.group_by("segment", "customer_id", "value").agg(pl.col("x").sum())
        whole = each.group_by("segment", "customer_id").agg(pl.col("x").sum().alias("t"))
        cells = _cells(each.join(whole, on=("segment", "customer_id")))
        totals = _totals(whole.with_columns(pl.lit(None, dtype=pl.String).alias("value")))
        self._add(*(_named(frame, topic, dimension) for frame in pl.collect_all([cells, totals])))

    def _rates(self, topic: str, dimension: str, tries: pl.DataFrame, value: pl.Expr, success: pl.Expr) -> None:
        """How many of a segment's tries with each value succeed."""
        each = tries.lazy().select("segment", "customer_id", value.alias("value"), success.cast(pl.Float64).alias("x"))
        each = each.group_by("segment", "customer_id", "value").agg(pl.col("x").sum(), pl.len().alias("t"))
        each = each.with_columns(pl.col("t").cast(pl.Float64))
        found = pl.collect_all([_cells(each), _totals(each)])
        self._add(*(_named(frame, topic, dimension) for frame in found))

    def _add(self, cells: pl.DataFrame, totals: pl.DataFrame) -> None:
        self.cells = _summed(pl.concat([self.cells, cells]), list(SUMS))
        self.totals = _summed(pl.concat([self.totals, totals]), list(TOTALS))


def transactions(tables: Mapping[str, pl.DataFrame], assigned: pl.DataFrame) -> pl.DataFrame:
    """`customer_id`, `segment`, `at`, `channel`, `category`, `amount`: a joint account's rows come for each holder."""
    schema: dict[str, Any] = {
        "at": pl.Datetime("us"),
        "channel": pl.String,
        "category": pl.String,
        "amount": pl.Int64,
    }
    wanted = ["customer_id", "segment", *schema]
    if "transactions" not in tables:
        return pl.DataFrame(schema={"customer_id": pl.String, "segment": pl.Int64, **schema})
    table = tables["transactions"]
    absent = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in schema.items() if name not in table.columns]
    table = table.with_columns(absent)
    found = []
    if "customer_id" in table.columns:
        found.append(table.join(assigned, on="customer_id", how="inner").select(wanted))
    if "account_id" in table.columns and "account_holders" in tables:
        holders = tables["account_holders"].select("account_id", "customer_id").unique()
        owned = holders.join(assigned, on="customer_id", how="inner")
        found.append(table.select("account_id", *schema).join(owned, on="account_id", how="inner").select(wanted))
    return pl.concat(found)


def interactions(tables: Mapping[str, pl.DataFrame], assigned: pl.DataFrame) -> pl.DataFrame:
    """`customer_id`, `segment`, `at`, `channel`, `kind` of dated interactions; none that only a test may see."""
    schema: dict[str, Any] = {"at": pl.Datetime("us"), "channel": pl.String, "kind": pl.String}
    if "interactions" not in tables:
        return pl.DataFrame(schema={"customer_id": pl.String, "segment": pl.Int64, **schema})
    table = tables["interactions"]
    absent = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in schema.items() if name not in table.columns]
    seen = table.filter(~is_test(table)).with_columns(absent).drop_nulls("at")
    return seen.join(assigned, on="customer_id", how="inner").select("customer_id", "segment", *schema)


def within(events: pl.DataFrame, as_of: date, days: int) -> pl.DataFrame:
    """Events of the last days before a day."""
    start, end = (pl.lit(day).cast(pl.Datetime("us")) for day in (as_of - timedelta(days=days), as_of))
    return events.filter((pl.col("at") >= start) & (pl.col("at") < end))


def _cells(each: pl.LazyFrame) -> pl.LazyFrame:
    x, t = pl.col("x"), pl.col("t")
    sums = ((x > 0).sum().cast(pl.Float64).alias("customers"), x.sum(), (x * x).sum().alias("xx"))
    return each.group_by("segment", "value").agg(*sums, (x * t).sum().alias("xt"))


def _totals(whole: pl.LazyFrame) -> pl.LazyFrame:
    t = pl.col("t")
    return whole.group_by("segment", "value").agg(
        pl.len().cast(pl.Float64).alias("customers"), t.sum(), (t * t).sum().alias("tt")
    )


def _named(found: pl.DataFrame, topic: str, dimension: str) -> pl.DataFrame:
    named = found.with_columns(pl.lit(topic).alias("topic"), pl.lit(dimension).alias("dimension"))
    return named.select(*CELLS, *[name for name in (*SUMS, "t", "tt") if name in found.columns])


def _summed(rows: pl.DataFrame, sums: list[str]) -> pl.DataFrame:
    return rows.group_by(list(CELLS)).agg(pl.col(name).sum() for name in sums).sort(list(CELLS), nulls_last=False)
