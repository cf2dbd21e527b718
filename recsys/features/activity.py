"""Recency, frequency and amount of what a customer does, over windows of days before the example's day."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from recsys.features.definition import FeatureDefinition, windowed_names
from recsys.features.holdings import before, visible


def transactions(
    tables: Mapping[str, pl.DataFrame], asked: pl.DataFrame, definition: FeatureDefinition
) -> pl.DataFrame | None:
    """Counts, money in and out by window, category and channel; days since the last; spending against its trend."""
    if not definition.transactions:
        return None
    wanted = ("at", "amount", "category", "channel")
    events = visible(before(_of_customers(tables, "transactions", asked, wanted)))
    events = _aged(events, definition.windows).with_columns(
        count=pl.lit(1, dtype=pl.Int64),
        **{"in": pl.col("amount").clip(lower_bound=0), "out": -pl.col("amount").clip(upper_bound=0)},
    )
    rows, windows = asked.height, definition.windows
    total = _windowed(events, rows, windows, "transactions", ("count", "in", "out"), None, (None,))
    columns = dict(total)
    by_category = definition.transaction_categories
    columns |= _windowed(events, rows, windows, "transactions.category", ("count", "out"), "category", by_category)
    by_channel = definition.transaction_channels
    columns |= _windowed(events, rows, windows, "transactions.channel", ("count",), "channel", by_channel)
    recent, long = windows[min(1, len(windows) - 1)], windows[-1]
    trend = total[f"transactions.out.{recent}d"] / recent - total[f"transactions.out.{long}d"] / long
    columns["transactions.out.trend"] = trend
    return _frame(columns, rows).join(_recency(events, "transactions.recency"), on="row", how="left")


def interactions(seen: pl.DataFrame, asked: pl.DataFrame, definition: FeatureDefinition) -> pl.DataFrame | None:
    """Digital engagement: count by kind and window, days since the last of each kind."""
    if not definition.interaction_kinds:
        return None
    events = _aged(seen.filter(pl.col("at").is_not_null()), definition.windows).with_columns(count=pl.lit(1, pl.Int64))
    kinds = definition.interaction_kinds
    columns = _windowed(events, asked.height, definition.windows, "interactions", ("count",), "kind", kinds)
    rows = _frame(columns, asked.height)
    for kind in kinds:
        last = _recency(events.filter(pl.col("kind") == kind), f"interactions.{kind}.recency")
        rows = rows.join(last, on="row", how="left")
    return rows


def contacts(
    tables: Mapping[str, pl.DataFrame], asked: pl.DataFrame, definition: FeatureDefinition
) -> pl.DataFrame | None:
    """How often the bank contacted the customer, by channel and window; days since the last contact."""
    if not definition.contacts:
        return None
    made = _table(
        tables,
        "contacts",
        {
            "customer_id": pl.String(),
            "campaign_id": pl.String(),
            "at": pl.Datetime("us"),
            "contacted": pl.Boolean(),
            "channel": pl.String(),
        },
    )
    about = _table(tables, "campaigns", {"campaign_id": pl.String(), "product_id": pl.String()})
    made = made.filter(pl.col("contacted")).join(about, on="campaign_id", how="left")
    events = visible(before(asked.drop("position").join(made, on="customer_id", how="inner")))
    events = _aged(events, definition.windows).with_columns(count=pl.lit(1, pl.Int64))
    rows, windows, channels = asked.height, definition.windows, definition.contact_channels
    columns = _windowed(events, rows, windows, "contacts", ("count",), None, (None,))
    columns |= _windowed(events, rows, windows, "contacts", ("count",), "channel", channels)
    return _frame(columns, rows).join(_recency(events, "contacts.recency"), on="row", how="left")


def balances(
    tables: Mapping[str, pl.DataFrame], asked: pl.DataFrame, definition: FeatureDefinition
) -> pl.DataFrame | None:
    """The latest balance over all accounts, and its change over about 90 days (minor units)."""
    if not definition.balances:
        return None
    events = visible(before(_of_customers(tables, "balances", asked, ("at", "amount"))))
    age = (pl.col("as_of").cast(pl.Datetime("us")) - pl.col("at")).dt.total_days()
    latest = pl.struct("at", "amount").max().struct.field("amount")
    per_account = (
        events.group_by("row", "account_id")
        .agg(latest.alias("latest"))
        .join(
            events.filter(age >= 90).group_by("row", "account_id").agg(latest.alias("then")),
            on=["row", "account_id"],
            how="left",
            nulls_equal=True,
        )
    )
    return (
        per_account.group_by("row")
        .agg(pl.col("latest").sum(), pl.col("then").sum(), pl.col("then").is_not_null().any().alias("known"))
        .select(
            "row",
            pl.col("latest").cast(pl.Float64).alias("balances.latest"),
            pl.when("known").then(pl.col("latest") - pl.col("then")).cast(pl.Float64).alias("balances.trend"),
        )
    )


def accounts(
    tables: Mapping[str, pl.DataFrame], asked: pl.DataFrame, definition: FeatureDefinition
) -> pl.DataFrame | None:
    """How many accounts are open, and the age in days of the oldest."""
    if not definition.accounts:
        return None
    held = _accounts_of(tables)
    seen = visible(asked.drop("position").join(held, on="customer_id", how="inner"))
    opened = pl.col("opened").is_null() | (pl.col("opened") < pl.col("as_of"))
    still = pl.col("closed").is_null() | (pl.col("closed") >= pl.col("as_of"))
    age = (pl.col("as_of") - pl.col("opened")).dt.total_days()
    counted = (
        seen.filter(opened & still)
        .group_by("row", maintain_order=True)
        .agg(pl.len().cast(pl.Float64).alias("accounts.open"), age.max().cast(pl.Float64).alias("accounts.oldest"))
    )
    rows = asked.select("row").join(counted, on="row", how="left", maintain_order="left")
    return rows.with_columns(pl.col("accounts.open").fill_null(0.0))


def _accounts_of(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """One row per customer and account: `customer_id, account_id, product_id, opened, closed`."""
    holders = _table(tables, "account_holders", {"account_id": pl.String(), "customer_id": pl.String()}).unique()
    known = _table(
        tables,
        "accounts",
        {"account_id": pl.String(), "product_id": pl.String(), "opened": pl.Date(), "closed": pl.Date()},
    )
    return holders.join(known.unique("account_id"), on="account_id", how="left")


def _of_customers(
    tables: Mapping[str, pl.DataFrame], name: str, asked: pl.DataFrame, wanted: Sequence[str]
) -> pl.DataFrame:
    """Events of the asked customers, their own and those of accounts they hold, with the account's product."""
    types: dict[str, pl.DataType] = {
        "at": pl.Datetime("us"),
        "amount": pl.Int64(),
        "category": pl.String(),
        "channel": pl.String(),
    }
    schema = {"account_id": pl.String(), "customer_id": pl.String(), **{column: types[column] for column in wanted}}
    events = _table(tables, name, schema)
    held = _accounts_of(tables).select("customer_id", "account_id", "product_id")
    asked = asked.drop("position")
    own = asked.join(events.filter(pl.col("customer_id").is_not_null()), on="customer_id", how="inner")
    own = own.with_columns(product_id=pl.lit(None, dtype=pl.String))
    through = asked.join(held, on="customer_id", how="inner").join(
        events.filter(pl.col("account_id").is_not_null()).drop("customer_id"), on="account_id", how="inner"
    )
    return pl.concat([own.select(sorted(own.columns)), through.select(sorted(own.columns))])


def _table(tables: Mapping[str, pl.DataFrame], name: str, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """A table with exactly these columns; what the source lacks is null."""
    table = tables.get(name, pl.DataFrame(schema={}))
    if not table.columns:
        return pl.DataFrame(schema=dict(schema))
    return table.select(
        (pl.col(column).cast(dtype) if column in table.columns else pl.lit(None, dtype=dtype).alias(column))
        for column, dtype in schema.items()
    )


def _aged(events: pl.DataFrame, windows: tuple[int, ...]) -> pl.DataFrame:
    """Add `age` (days, at least 1) and `window`, the index of the shortest window that holds the event."""
    days = (pl.col("as_of") - pl.col("at").dt.date()).dt.total_days()
    longer = [(pl.col("age") > length).cast(pl.Int32) for length in windows]
    return events.with_columns(age=days).with_columns(window=pl.sum_horizontal(longer))


def _windowed(
    events: pl.DataFrame,
    rows: int,
    windows: tuple[int, ...],
    table: str,
    measures: tuple[str, ...],
    by: str | None,
    groups: tuple[str | None, ...],
) -> dict[str, np.ndarray]:
    """Sums of integer measures, one array [rows] per name of `windowed_names`; integers, so exact in any order."""
    sums = np.zeros((len(measures), len(groups), rows, len(windows)), dtype=np.int64)
    if events.height and groups:
        code = pl.lit(0, dtype=pl.Int32)
        if by is not None:
            code = pl.col(by).replace_strict(
                list(groups), list(range(len(groups))), default=None, return_dtype=pl.Int32
            )
        inside = events.filter(pl.col("window") < len(windows)).with_columns(code.alias("code"))
        summed = (
            inside.filter(pl.col("code").is_not_null())
            .group_by("row", "code", "window")
            .agg(pl.col(measure).sum() for measure in measures)
        )
        row, group, window = (summed[name].to_numpy() for name in ("row", "code", "window"))
        for i, measure in enumerate(measures):
            sums[i, group, row, window] = summed[measure].to_numpy()
        np.cumsum(sums, axis=3, out=sums)
    names = windowed_names(table, measures, groups, windows)
    flat = sums.transpose(0, 1, 3, 2).reshape(len(names), rows).astype(np.float64)
    return dict(zip(names, flat, strict=True))


def _recency(events: pl.DataFrame, name: str) -> pl.DataFrame:
    return events.group_by("row").agg(pl.col("age").min().cast(pl.Float64).alias(name))


def _frame(columns: Mapping[str, np.ndarray], rows: int) -> pl.DataFrame:
    return pl.DataFrame({"row": np.arange(rows, dtype=np.uint32), **columns})
