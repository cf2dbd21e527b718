"""The units of a campaign: one row per customer and campaign, with how they were contacted and what came of it."""

from collections.abc import Mapping
from datetime import date, timedelta

import polars as pl

from recsys.errors import DataError

UNITS: Mapping[str, pl.DataType] = {
    "campaign_id": pl.String(), "customer_id": pl.String(), "arm": pl.String(), "arms": pl.Int64(),
    "propensity": pl.Float64(), "at": pl.Datetime("us"), "channel": pl.String(), "contacted": pl.Boolean(),
    "contacts": pl.Int64(), "logged_cost": pl.Int64(), "engaged": pl.Boolean(), "clicked": pl.Boolean(),
    "clicks": pl.Int64(), "impressions": pl.Int64(), "outcome": pl.Float64(), "revenue": pl.Float64(),
    "early": pl.Int64(), "open_window": pl.Boolean(), "considered": pl.Boolean(), "lead": pl.Boolean(),
    "exposures": pl.Int64(), "exposure_clicks": pl.Int64(), "opted_out": pl.Boolean(),
    "active_before": pl.Boolean(), "active_after": pl.Boolean(), "pressure": pl.Float64(),
}  # fmt: skip
"""The columns of a unit. `outcome` is 0 or 1, or an amount; null is not known. `arms` counts arms of the same customer,
`early` outcomes in the window before the contact, `open_window` says that the window is not over yet."""

LOOKING = ("viewed", "clicked", "enquired")
HALF_LIFE = 30.0
"""Days after which a contact presses half as much."""
FORGOTTEN = 180
"""Days after which it presses no more."""
RESULTS = ("opened", "clicked", "converted")
_CONTACT = {
    "channel": pl.String, "arm": pl.String, "propensity": pl.Float64, "cost": pl.Int64, "opened": pl.Boolean,
    "clicked": pl.Boolean, "converted": pl.Boolean, "revenue": pl.Int64,
}  # fmt: skip
_EVENT = {"product_id": pl.String, "kind": pl.String, "revenue": pl.Int64}
_BY = ("campaign_id", "customer_id")


def units_of(
    tables: Mapping[str, pl.DataFrame], campaign: str, outcome: tuple[str, str], days: int, until: date
) -> pl.DataFrame:
    """The units of one campaign among a bucket's customers, with the columns UNITS, in order of customer.

    A customer with several contacts is one unit: seen from the first, in its arm, with all costs and whatever came of
    any. `outcome` is a table and a name: contacts and one of RESULTS, or interactions or outcomes and a kind that is
    looked for within `days` of the first contact, of the campaign's product where it has one. `until` is the last day
    that is known. Raises DataError for a cost below zero or a propensity outside 0 to 1.
    """
    made = _with(tables["contacts"].filter(pl.col("campaign_id") == campaign), _CONTACT)
    _check(made, campaign)
    units = _each(made, outcome)
    known = tables["campaigns"].filter(pl.col("campaign_id") == campaign)
    product = known["product_id"][0] if "product_id" in known.columns and known.height else None
    seen = units.select("customer_id", "at", "channel")
    horizon = pl.lit(until, dtype=pl.Date).cast(pl.Datetime("us")) + timedelta(days=1)
    found = [_outcomes(seen, tables, outcome, product, days)] if outcome[0] != "contacts" else []
    found += [_looks(seen, tables, product, days), _exposures(seen, tables, product, days)]
    found += [_opt_outs(seen, tables, days), _activity(seen, tables, days), _pressure(seen, tables["contacts"])]
    for one in found:
        units = units.join(one, on="customer_id", how="left", maintain_order="left")
    missing = [pl.lit(None, dtype=t).alias(n) for n, t in UNITS.items() if n not in units.columns]
    units = units.with_columns(missing)
    span = pl.duration(days=days)
    after = pl.when(pl.col("at") + 2 * span <= horizon).then(pl.col("active_after"))
    units = units.with_columns(open_window=pl.col("at") + span > horizon, active_after=after)
    if outcome[0] != "contacts":
        over = ~pl.col("open_window")
        units = units.with_columns(pl.when(over).then(pl.col(name)).alias(name) for name in ("outcome", "revenue"))
    return units.select(list(UNITS))


def drawn_units(
    customers: pl.DataFrame, attribute: str, control: str, outcome: str, value: str | None = None
) -> pl.DataFrame:
    """The units of a test whose arm is an attribute of customers; `outcome` and `value` are attributes, too."""
    if "valid_from" in customers.columns:
        customers = customers.sort("customer_id", "valid_from", nulls_last=False)
    rows = customers.unique("customer_id", keep="last", maintain_order=True).filter(pl.col(attribute).is_not_null())
    found = rows.select(
        pl.lit(attribute).alias("campaign_id"),
        "customer_id",
        pl.col(attribute).cast(pl.String).alias("arm"),
        pl.lit(1, dtype=pl.Int64).alias("arms"),
        (pl.col(attribute).cast(pl.String) != control).alias("contacted"),
        (pl.col(attribute).cast(pl.String) != control).cast(pl.Int64).alias("contacts"),
        pl.col(outcome).cast(pl.Float64).alias("outcome"),
        (pl.col(value).cast(pl.Float64) if value else pl.lit(None, dtype=pl.Float64)).alias("revenue"),
        pl.lit(False).alias("open_window"),
    )
    missing = [pl.lit(None, dtype=t).alias(n) for n, t in UNITS.items() if n not in found.columns]
    return found.with_columns(missing).select(list(UNITS)).sort(_BY)


def _check(made: pl.DataFrame, campaign: str) -> None:
    chance = pl.col("propensity")
    wrong = made.filter((pl.col("cost") < 0) | (chance <= 0) | (chance > 1) | chance.is_nan())
    if wrong.height:
        first = wrong.row(0, named=True)
        raise DataError(
            f"contacts of {campaign}: {wrong.height:,} of {made.height:,} rows have a cost below 0 or a propensity "
            f"that is not above 0 and at most 1 (first: {first['contact_id']}, cost {first['cost']}, propensity "
            f"{first['propensity']}); the propensity is the chance of the arm that was drawn"
        )


def _each(made: pl.DataFrame, outcome: tuple[str, str]) -> pl.DataFrame:
    made = made.sort(*_BY, "at", "contact_id")
    reached = pl.col("contacted")
    named = pl.when(reached).then(pl.lit("contacted")).otherwise(pl.lit("not contacted"))
    made = made.with_columns(pl.coalesce("arm", named).alias("arm"))
    unknown = (reached & pl.col("cost").is_null()).any()
    answered = reached & pl.col("clicked").is_not_null()
    own = [] if outcome[0] != "contacts" else [_any(outcome[1]).cast(pl.Float64).alias("outcome")]
    own += [] if outcome[0] != "contacts" else [_sum(pl.col("revenue")).alias("revenue")]
    return made.group_by(_BY, maintain_order=True).agg(
        pl.col("arm").first(),
        pl.col("arm").n_unique().cast(pl.Int64).alias("arms"),
        pl.col("propensity", "at", "channel").first(),
        reached.any(),
        reached.sum().cast(pl.Int64).alias("contacts"),
        pl.when(~unknown).then(pl.col("cost").filter(reached).sum()).alias("logged_cost"),
        pl.coalesce(_any("opened") | _any("clicked"), _any("opened"), _any("clicked")).alias("engaged"),
        _any("clicked").alias("clicked"),
        (answered & pl.col("clicked")).sum().cast(pl.Int64).alias("clicks"),
        answered.sum().cast(pl.Int64).alias("impressions"),
        *own,
    )


def _any(name: str) -> pl.Expr:
    """Whether any is true; null where none is known."""
    return pl.when(pl.col(name).is_not_null().any()).then(pl.col(name).any())


def _sum(amounts: pl.Expr) -> pl.Expr:
    """The sum of what is known; null where nothing is."""
    return pl.when(amounts.is_not_null().any()).then(amounts.sum().cast(pl.Float64))


def _outcomes(
    seen: pl.DataFrame, tables: Mapping[str, pl.DataFrame], outcome: tuple[str, str], product: str | None, days: int
) -> pl.DataFrame:
    events = _with(tables[outcome[0]], _EVENT).filter(pl.col("kind") == outcome[1])
    near = _near(
        seen, _about(events, product).select("customer_id", pl.col("at").alias("when"), "revenue"), -days, days
    )
    late = pl.col("when") >= pl.col("at")
    counted = near.group_by("customer_id").agg(
        late.any().cast(pl.Float64).alias("outcome"),
        (~late).sum().cast(pl.Int64).alias("early"),
        _sum(pl.col("revenue").filter(late)).alias("revenue"),
    )
    nobody = pl.col("outcome").fill_null(0.0), pl.col("early").fill_null(0)
    return seen.select("customer_id").join(counted, on="customer_id", how="left").with_columns(*nobody)


def _looks(seen: pl.DataFrame, tables: Mapping[str, pl.DataFrame], product: str | None, days: int) -> pl.DataFrame:
    if "interactions" not in tables or product is None:
        return seen.select("customer_id")
    events = _about(_with(tables["interactions"], _EVENT), product).filter(pl.col("kind").is_in(LOOKING))
    near = _near(seen, events.select("customer_id", pl.col("at").alias("when"), "kind"), 0, days)
    counted = near.group_by("customer_id").agg(
        pl.lit(True).first().alias("considered"), (pl.col("kind") == "enquired").any().alias("lead")
    )
    every = seen.select("customer_id").join(counted, on="customer_id", how="left")
    return every.with_columns(pl.col("considered", "lead").fill_null(False))


def _exposures(seen: pl.DataFrame, tables: Mapping[str, pl.DataFrame], product: str | None, days: int) -> pl.DataFrame:
    if "exposures" not in tables or product is None:
        return seen.select("customer_id")
    shown = _about(_with(tables["exposures"], _EVENT), product)
    near = _near(seen, shown.select("customer_id", pl.col("at").alias("when")), 0, days)
    found = [near.group_by("customer_id").agg(pl.len().cast(pl.Int64).alias("exposures"))]
    if "interactions" in tables:
        events = _about(_with(tables["interactions"], _EVENT), product).filter(pl.col("kind") == "clicked")
        near = _near(seen, events.select("customer_id", pl.col("at").alias("when")), 0, days)
        found.append(near.group_by("customer_id").agg(pl.len().cast(pl.Int64).alias("exposure_clicks")))
    every = seen.select("customer_id")
    for one in found:
        every = every.join(one, on="customer_id", how="left")
    return every.with_columns(pl.col(pl.Int64).fill_null(0))


def _opt_outs(seen: pl.DataFrame, tables: Mapping[str, pl.DataFrame], days: int) -> pl.DataFrame:
    if "consents" not in tables:
        return seen.select("customer_id")
    said = _with(tables["consents"], {"channel": pl.String}).filter(~pl.col("granted"))
    said = said.select("customer_id", pl.col("at").alias("when"), pl.col("channel").alias("of"))
    near = _near(seen, said, 0, days).filter(pl.col("of").is_null() | (pl.col("of") == pl.col("channel")))
    out = near.select("customer_id", pl.lit(True).alias("opted_out")).unique()
    every = seen.select("customer_id").join(out, on="customer_id", how="left")
    return every.with_columns(pl.col("opted_out").fill_null(False))


def _activity(seen: pl.DataFrame, tables: Mapping[str, pl.DataFrame], days: int) -> pl.DataFrame:
    """Whether anything was done in the window before the contact, and in the one that follows the campaign's own."""
    span = timedelta(days=days)
    low, high = seen["at"].min(), seen["at"].max()
    events = []
    for name in ("interactions", "transactions"):
        if name not in tables or low is None or high is None:
            continue
        rows = tables[name].filter(pl.col("at").is_between(low - span, high + 2 * span))  # type: ignore[operator]
        if "customer_id" in rows.columns:
            events.append(rows.filter(pl.col("customer_id").is_not_null()).select("customer_id", "at"))
        if "account_id" in rows.columns and "account_holders" in tables:
            held = tables["account_holders"].select("account_id", "customer_id")
            events.append(rows.select("account_id", "at").join(held, on="account_id").select("customer_id", "at"))
    if not events:
        return seen.select("customer_id")
    days_of = pl.concat(events).select("customer_id", pl.col("at").dt.truncate("1d").alias("when")).unique()
    near = _near(seen, days_of, -days, 2 * days)
    start, end = pl.col("at"), pl.col("at") + pl.duration(days=days)
    found = near.group_by("customer_id").agg(
        (pl.col("when") < start).any().alias("active_before"), (pl.col("when") >= end).any().alias("active_after")
    )
    every = seen.select("customer_id").join(found, on="customer_id", how="left")
    return every.with_columns(pl.col("active_before", "active_after").fill_null(False))


def _pressure(seen: pl.DataFrame, contacts: pl.DataFrame) -> pl.DataFrame:
    """Σ 2^(-days since / HALF_LIFE) over earlier contacts of any campaign."""
    made = contacts.filter("contacted").select("customer_id", pl.col("at").alias("when"))
    near = _near(seen, made, -FORGOTTEN, 0)
    ago = (pl.col("at") - pl.col("when")).dt.total_seconds() / 86_400
    summed = near.group_by("customer_id").agg((2.0 ** (-ago / HALF_LIFE)).sum().alias("pressure"))
    every = seen.select("customer_id").join(summed, on="customer_id", how="left")
    return every.with_columns(pl.col("pressure").fill_null(0.0))


def _near(seen: pl.DataFrame, events: pl.DataFrame, first: int, last: int) -> pl.DataFrame:
    """Units × events whose time `when` is from `first` days after the contact to before `last` days after it."""
    joined = seen.join(events, on="customer_id")
    low, high = (pl.col("at") + pl.duration(days=days) for days in (first, last))
    return joined.filter((pl.col("when") >= low) & (pl.col("when") < high))


def _about(events: pl.DataFrame, product: str | None) -> pl.DataFrame:
    """Events of the campaign's product, and those that name none; all where the campaign has none."""
    if product is None:
        return events
    return events.filter(pl.col("product_id").is_null() | (pl.col("product_id") == product))


def _with(frame: pl.DataFrame, columns: Mapping[str, type[pl.DataType]]) -> pl.DataFrame:
    return frame.with_columns(pl.lit(None, dtype=t).alias(n) for n, t in columns.items() if n not in frame.columns)
