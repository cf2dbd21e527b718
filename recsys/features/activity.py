"""Recency, frequency and amount of what a customer does, over windows of days before the example's day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.features.definition import FeatureDefinition, windowed_names
from recsys.features.holdings import before, hides, visible

TYPES: dict[str, pl.DataType] = {
    "at": pl.Datetime("us"),
    "amount": pl.Int64(),
    "category": pl.String(),
    "channel": pl.String(),
    "kind": pl.String(),
}


@dataclass(frozen=True)
class Events:
    """Dated events that examples see within the longest window, one entry per example and event, in no order."""

    row: np.ndarray
    """int64 [E], the example."""
    window: np.ndarray
    """int64 [E], the index of the shortest window that holds the event."""
    frame: pl.DataFrame
    """[E] the other columns."""
    recency: pl.DataFrame
    """`row`, the columns by which it was asked for, and `age`: days since the last event of any age."""

    def code(self, column: str, values: Sequence[str]) -> np.ndarray:
        """int64 [E]: the place of each event's value among `values`, -1 for any other."""
        return _places(self.frame[column], values)


def transactions(
    tables: Mapping[str, pl.DataFrame], asked: pl.DataFrame, definition: FeatureDefinition
) -> pl.DataFrame | None:
    """Counts, money in and out by window, category and channel; days since the last; spending against its trend."""
    if not definition.transactions:
        return None
    events = _events(_of_customers(tables, "transactions", asked, ("amount", "category", "channel")), definition)
    amount = events.frame["amount"].fill_null(0).to_numpy()
    one, into, out = np.ones_like(amount), np.maximum(amount, 0), np.maximum(-amount, 0)
    rows, windows = asked.height, definition.windows
    columns = _windowed(
        events, rows, windows, "transactions", {"count": one, "in": into, "out": out}, np.zeros_like(amount), (None,)
    )
    recent, long = windows[min(1, len(windows) - 1)], windows[-1]
    trend = columns[f"transactions.out.{recent}d"] / recent - columns[f"transactions.out.{long}d"] / long
    categories = definition.transaction_categories
    measures = {"count": one, "out": out}
    code = events.code("category", categories)
    columns |= _windowed(events, rows, windows, "transactions.category", measures, code, categories)
    channels = definition.transaction_channels
    code = events.code("channel", channels)
    columns |= _windowed(events, rows, windows, "transactions.channel", {"count": one}, code, channels)
    columns["transactions.out.trend"] = trend
    columns["transactions.recency"] = _recency(events, rows)
    return _frame(columns, rows)


def interactions(seen: pl.DataFrame, asked: pl.DataFrame, definition: FeatureDefinition) -> pl.DataFrame | None:
    """Digital engagement: count by kind and window, days since the last of each kind."""
    if not definition.interaction_kinds:
        return None
    dated = seen.lazy().filter(pl.col("at").is_not_null()).select("row", "as_of", "at", "kind")
    events = _events(dated, definition, "kind")
    kinds, rows = definition.interaction_kinds, asked.height
    code, one = events.code("kind", kinds), np.ones(len(events.row), dtype=np.int64)
    columns = _windowed(events, rows, definition.windows, "interactions", {"count": one}, code, kinds)
    last = _places(events.recency["kind"], kinds)
    for i, kind in enumerate(kinds):
        columns[f"interactions.{kind}.recency"] = _recency(events, rows, last == i)
    return _frame(columns, rows)


def contacts(
    tables: Mapping[str, pl.DataFrame], asked: pl.DataFrame, definition: FeatureDefinition
) -> pl.DataFrame | None:
    """How often the bank contacted the customer, by channel and window; days since the last contact."""
    if not definition.contacts:
        return None
    types = {"customer_id": pl.String(), "campaign_id": pl.String(), "contacted": pl.Boolean()}
    made = _table(tables, "contacts", {**types, "at": TYPES["at"], "channel": TYPES["channel"]})
    joined = asked.lazy().drop("position").join(made.filter("contacted"), on="customer_id", how="inner")
    if hides(asked):
        about = _table(tables, "campaigns", {"campaign_id": pl.String(), "product_id": pl.String()})
        joined = visible(joined.join(about, on="campaign_id", how="left"))
    events = _events(before(joined).select("row", "as_of", "at", "channel"), definition)
    rows, windows, channels = asked.height, definition.windows, definition.contact_channels
    one = {"count": np.ones(len(events.row), dtype=np.int64)}
    columns = _windowed(events, rows, windows, "contacts", one, np.zeros(len(events.row), dtype=np.int64), (None,))
    columns |= _windowed(events, rows, windows, "contacts", one, events.code("channel", channels), channels)
    columns["contacts.recency"] = _recency(events, rows)
    return _frame(columns, rows)


def balances(
    tables: Mapping[str, pl.DataFrame], asked: pl.DataFrame, definition: FeatureDefinition
) -> pl.DataFrame | None:
    """The latest balance over all accounts, and its change over about 90 days (minor units)."""
    if not definition.balances:
        return None
    events = _of_customers(tables, "balances", asked, ("amount",), "holding").collect().lazy()
    old = (pl.col("as_of").cast(TYPES["at"]) - pl.col("at")).dt.total_days() >= 90
    latest, then = _latest(events, "latest"), _latest(events.filter(old), "then")
    return (
        latest.join(then, on=("row", "holding"), how="left", nulls_equal=True)
        .group_by("row")
        .agg(pl.col("latest").sum(), pl.col("then").sum(), pl.col("then").is_not_null().any().alias("known"))
        .select(
            "row",
            pl.col("latest").cast(pl.Float64).alias("balances.latest"),
            pl.when("known").then(pl.col("latest") - pl.col("then")).cast(pl.Float64).alias("balances.trend"),
        )
        .collect()
    )


def _latest(balances: pl.LazyFrame, name: str) -> pl.LazyFrame:
    """`row`, `holding` and the amount that was read last, the largest if several were read at that time."""
    keys = ("row", "holding")
    last = balances.group_by(keys).agg(pl.col("at").max())
    read = balances.join(last, on=(*keys, "at"), how="semi", nulls_equal=True)
    return read.group_by(keys).agg(pl.col("amount").max().alias(name))


def accounts(
    tables: Mapping[str, pl.DataFrame], asked: pl.DataFrame, definition: FeatureDefinition
) -> pl.DataFrame | None:
    """How many accounts are open, and the age in days of the oldest."""
    if not definition.accounts:
        return None
    seen = _held(tables, asked, ("opened", "closed"))
    opened = pl.col("opened").is_null() | (pl.col("opened") < pl.col("as_of"))
    still = pl.col("closed").is_null() | (pl.col("closed") >= pl.col("as_of"))
    age = (pl.col("as_of") - pl.col("opened")).dt.total_days()
    counted = (
        seen.filter(opened & still)
        .group_by("row")
        .agg(pl.len().cast(pl.Float64).alias("accounts.open"), age.max().cast(pl.Float64).alias("accounts.oldest"))
        .collect()
    )
    rows = asked.select("row").join(counted, on="row", how="left", maintain_order="left")
    return rows.with_columns(pl.col("accounts.open").fill_null(0.0))


def _held(tables: Mapping[str, pl.DataFrame], asked: pl.DataFrame, columns: Sequence[str] = ()) -> pl.LazyFrame:
    """One row per example and account held, unless its product is hidden: `row, as_of, account_id` and `columns`."""
    holders = _table(tables, "account_holders", {"account_id": pl.String(), "customer_id": pl.String()}).unique()
    held = asked.lazy().drop("position").join(holders, on="customer_id", how="inner")
    hidden = ["product_id"] if hides(asked) else []
    if columns or hidden:
        types = {"account_id": pl.String(), "product_id": pl.String(), "opened": pl.Date(), "closed": pl.Date()}
        known = _table(tables, "accounts", types).unique("account_id")
        held = held.join(known.select("account_id", *hidden, *columns), on="account_id", how="left")
    return (visible(held) if hidden else held).select("row", "as_of", "account_id", *columns)


def _of_customers(
    tables: Mapping[str, pl.DataFrame], name: str, asked: pl.DataFrame, wanted: Sequence[str], *more: str
) -> pl.LazyFrame:
    """Events of the asked customers before their day, their own and those of accounts they hold.

    Columns `row, as_of, at`, those wanted, and if asked for `holding`, the number of the account held, null for own.
    """
    types = {"account_id": pl.String(), "customer_id": pl.String()}
    events = _table(tables, name, {**types, "at": TYPES["at"], **{column: TYPES[column] for column in wanted}})
    columns = ("row", "as_of", "at", *wanted, *more)
    found = []
    present = tables[name].columns if name in tables else ()
    if "customer_id" in present:
        own = asked.lazy().select("row", "customer_id", "as_of", pl.lit(None, pl.UInt32).alias("holding"))
        found.append(own.join(events, on="customer_id", how="inner").select(columns))
    if "account_id" in present:
        held = _held(tables, asked).with_row_index("holding")
        through = events.drop("customer_id").join(held, on="account_id", how="inner")
        found.append(through.select(columns))
    if not found:
        kinds = {"row": pl.UInt32(), "as_of": pl.Date(), "holding": pl.UInt32(), **TYPES}
        found = [pl.LazyFrame(schema={column: kinds[column] for column in columns})]
    return before(pl.concat(found))


def _table(tables: Mapping[str, pl.DataFrame], name: str, schema: Mapping[str, pl.DataType]) -> pl.LazyFrame:
    """A table with exactly these columns; what the source lacks is null."""
    table = tables.get(name, pl.DataFrame())
    if not table.columns:
        return pl.LazyFrame(schema=dict(schema))
    return table.lazy().select(
        (pl.col(column).cast(dtype) if column in table.columns else pl.lit(None, dtype=dtype).alias(column))
        for column, dtype in schema.items()
    )


def _events(joined: pl.LazyFrame, definition: FeatureDefinition, *by: str) -> Events:
    """Collect events (`row`, `as_of`, `at` and more), and the age of the last one by example and the columns `by`."""
    days = (pl.col("as_of") - pl.col("at").dt.date()).dt.total_days().cast(pl.Int32)
    aged = joined.with_columns(days.alias("age")).drop("as_of", "at").collect().lazy()
    last = aged.filter(pl.col("age").is_not_null()).group_by("row", *by).agg(pl.col("age").min())
    within = aged.with_columns(pl.col("age").fill_null(0)).filter(pl.col("age") <= definition.windows[-1])
    recency, found = pl.collect_all([last, within])
    window = np.searchsorted(np.array(definition.windows, dtype=np.int32), found["age"].to_numpy())
    return Events(found["row"].to_numpy().astype(np.int64), window, found.drop("row", "age"), recency)


def _places(found: pl.Series, values: Sequence[str]) -> np.ndarray:
    if not values:
        return np.full(len(found), -1, dtype=np.int64)
    place = found.cast(pl.Enum(list(values)), strict=False).to_physical()
    return place.cast(pl.Int64).fill_null(-1).to_numpy()


def _windowed(
    events: Events,
    rows: int,
    windows: tuple[int, ...],
    table: str,
    measures: Mapping[str, np.ndarray],
    code: np.ndarray,
    groups: Sequence[str | None],
) -> dict[str, np.ndarray]:
    """Sums of integer measures, one array [rows] per name of `windowed_names`.

    Summed as float64, which is exact in any order while a sum stays below 2^53 (in pence, 90 million million pounds).
    """
    sums = np.zeros((len(measures), rows, len(groups), len(windows)))
    inside = np.flatnonzero(code >= 0)
    place = (events.row[inside] * len(groups) + code[inside]) * len(windows) + events.window[inside]
    for i, measure in enumerate(measures.values()):
        sums[i] = np.bincount(place, weights=measure[inside], minlength=sums[i].size).reshape(sums.shape[1:])
    np.cumsum(sums, axis=3, out=sums)
    names = windowed_names(table, tuple(measures), tuple(groups), windows)
    flat = np.ascontiguousarray(sums.transpose(0, 2, 3, 1)).reshape(len(names), rows)
    return dict(zip(names, flat, strict=True))


def _recency(events: Events, rows: int, which: np.ndarray | None = None) -> np.ndarray:
    """float64 [rows]: days since the last event, of those marked in `which`; NaN where there is none."""
    known = events.recency.select("row", "age").to_numpy().astype(np.int64)
    known = known if which is None else known[which]
    last = np.full(rows, np.nan)
    last[known[:, 0]] = known[:, 1]
    return last


def _frame(columns: Mapping[str, np.ndarray], rows: int) -> pl.DataFrame:
    """One row per example, in order; a recency that is not a number is null."""
    frame = pl.DataFrame({"row": np.arange(rows, dtype=np.uint32), **columns})
    return frame.with_columns(pl.col(name).fill_nan(None) for name in columns if name.endswith("recency"))
