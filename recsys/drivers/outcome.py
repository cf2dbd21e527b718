"""What `--outcome` names, and its units: who is looked at, from when, what came of it, and how they were contacted."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import polars as pl

from recsys.errors import ConfigError, DataError
from recsys.lake.contract import EVENT_TABLES, INTERACTION_KINDS, nearest
from recsys.lake.store import Lake

RESULTS = ("opened", "clicked", "converted")
HOURS = 3
"""Width of a band of hours."""
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
CONTEXT = "contact."
CAMPAIGN = "campaign."
LOOKS = f"{CAMPAIGN}looks"
"""How often the customer looked at the campaign's product in the LOOKED days before the contact."""
LOOKED = 90
LOOKING = ("viewed", "clicked", "enquired")
HIDDEN = ("contact_id", "campaign_id", "arm", "propensity", "hour", "weekday", "channel", "contacted")
"""Columns of a unit that say how it was contacted; drivers of their own have names that begin with CONTEXT."""


@dataclass(frozen=True)
class Outcome:
    """A yes or no to be explained."""

    kind: Literal["column", "contact", "contacts_within", "event_within"]
    name: str
    """The attribute, the contact's result, or the kind of interaction."""
    horizon: int | None = None
    """Days in which it counts, where it is counted over time."""
    as_of: date | None = None
    """The day from which customers are seen; None for contacts, which are seen from their own day."""

    @property
    def text(self) -> str:
        """In words."""
        within = f" within {self.horizon} days of {self.as_of}"
        return {
            "column": self.name.replace("_", " "),
            "contact": f"a contact that was {self.name}",
            "contacts_within": f"a contact that was {self.name}{within}",
            "event_within": f"{self.name}{within}",
        }[self.kind]


def parse_outcome(text: str, lake: Lake, horizon: int | None, as_of: date | None) -> Outcome:
    """The outcome that the command line asks for, checked against the lake. Raises ConfigError."""
    table, dot, name = text.partition(".")
    if not dot:
        return _column(text, lake, horizon, as_of)
    names = {"contacts": RESULTS, "interactions": INTERACTION_KINDS}.get(table, ())
    if name not in names:
        raise ConfigError(
            f"--outcome {text!r}: name an attribute of customers with the role label or outcome, "
            f"contacts.{{{', '.join(RESULTS)}}} or interactions.KIND{nearest(name, names)}"
        )
    if table not in lake.tables or (table == "contacts" and name not in lake.schema("contacts")):
        raise ConfigError(f"--outcome {text!r}: the lake has no {table if table not in lake.tables else text}")
    if table == "contacts" and horizon is None:
        if as_of is not None:
            raise ConfigError("--as-of: a contact is seen from its own day; give --horizon to look from one day on")
        return Outcome("contact", name)
    if lake.as_of is None:
        raise ConfigError(f"--outcome {text!r}: needs dated events, and this lake has none")
    days = 30 if horizon is None else horizon
    day = as_of or lake.as_of - timedelta(days=days)
    if day + timedelta(days=days) > lake.as_of:
        raise ConfigError(
            f"--horizon {days}: ends on {day + timedelta(days=days)}, and the lake knows events up to the day before "
            f"{lake.as_of}; look from {lake.as_of - timedelta(days=days)} or earlier"
        )
    return Outcome("contacts_within" if table == "contacts" else "event_within", name, days, day)


def parse_where(text: str | None, lake: Lake) -> tuple[str, str] | None:
    """`objective=sale` as an attribute of campaigns and its value. Raises ConfigError."""
    if text is None:
        return None
    name, sign, value = text.partition("=")
    known = [a.name for a in lake.attributes("campaigns") if a.kind == "category"] if "campaigns" in lake.tables else []
    if not sign or name not in known:
        raise ConfigError(f"--campaigns {text!r}: write ATTRIBUTE=VALUE; campaigns has {', '.join(known) or 'none'}")
    return name, value


def _column(name: str, lake: Lake, horizon: int | None, as_of: date | None) -> Outcome:
    known = {a.name: a for a in lake.attributes("customers") if a.role in ("label", "outcome")}
    if name not in known:
        listed = ", ".join(sorted(known)) or "none"
        raise ConfigError(
            f"--outcome {name!r}: customers has no such label or outcome{nearest(name, known)}; it has {listed}. "
            f"From events: contacts.{{{', '.join(RESULTS)}}}, interactions.KIND"
        )
    if known[name].kind not in ("flag", "number"):
        raise ConfigError(f"--outcome {name!r}: its kind is {known[name].kind}; it must be a flag, or a number 0 or 1")
    if horizon is not None:
        raise ConfigError(f"--horizon: {name} is a column, which says nothing of a horizon; leave it out")
    if lake.as_of is not None and as_of is None:
        raise ConfigError(
            f"--outcome {name!r}: the lake has dated events and this column has no date; give --as-of DAY, the day "
            "before which everything was known that may explain it"
        )
    return Outcome("column", name, as_of=as_of)


def units(tables: Mapping[str, pl.DataFrame], outcome: Outcome, where: tuple[str, str] | None = None) -> pl.DataFrame:
    """The units of a bucket: `customer_id`, `as_of`, `outcome` (Float64, 0 or 1), and of contacts how they were made.

    `where` keeps the contacts of campaigns with this attribute and value. A row whose outcome is null is left out:
    nobody knows whether a letter was opened. Raises DataError for a value that is neither yes nor no.
    """
    if outcome.kind == "contact":
        found = _contacts(tables, where).with_columns(pl.col(outcome.name).cast(pl.Float64).alias("outcome"))
    elif outcome.kind == "column":
        found = _customers(tables["customers"], outcome)
    elif outcome.kind == "contacts_within":
        made = _within(tables["contacts"].filter("contacted", pl.col(outcome.name).is_not_null()), outcome)
        found = made.group_by("customer_id").agg(pl.col(outcome.name).any().cast(pl.Float64).alias("outcome"))
        found = _seen_from(_known_before(tables, outcome).join(found, on="customer_id"), outcome)
    else:
        did = _within(tables["interactions"].filter(pl.col("kind") == outcome.name), outcome)["customer_id"].unique()
        known = _known_before(tables, outcome)
        found = _seen_from(
            known.with_columns(outcome=pl.col("customer_id").is_in(did.implode()).cast(pl.Float64)), outcome
        )
    found = found.filter(pl.col("outcome").is_not_null())
    wrong = found.filter(~pl.col("outcome").is_in([0.0, 1.0]))
    if wrong.height:
        raise DataError(
            f"customers.{outcome.name}: {wrong.height:,} rows are neither 0 nor 1 (such as {wrong['outcome'][0]:g}); "
            "an outcome is a yes or a no"
        )
    by = [name for name in ("customer_id", "as_of", "contact_id") if name in found.columns]
    return found.sort(by)


def _customers(customers: pl.DataFrame, outcome: Outcome) -> pl.DataFrame:
    if "valid_from" in customers.columns:
        customers = customers.sort("customer_id", "valid_from", nulls_last=False).unique(
            "customer_id", keep="last", maintain_order=True
        )
    value = pl.col(outcome.name).cast(pl.Float64).alias("outcome")
    return customers.select("customer_id", pl.lit(outcome.as_of, dtype=pl.Date).alias("as_of"), value)


def _contacts(tables: Mapping[str, pl.DataFrame], where: tuple[str, str] | None) -> pl.DataFrame:
    """Contacts made or withheld, each seen from its own day, so that nothing of that day or later is a feature."""
    made = tables["contacts"]
    optional = {"channel": pl.String, "arm": pl.String, "propensity": pl.Float64}
    made = made.with_columns(pl.lit(None, dtype=t).alias(n) for n, t in optional.items() if n not in made.columns)
    hour = pl.col("at").dt.hour()
    band = hour // HOURS * HOURS
    weekday = pl.col("at").dt.weekday().replace_strict(dict(enumerate(DAYS, start=1)), return_dtype=pl.String)
    made = made.with_columns(
        pl.col("at").dt.date().alias("as_of"),
        hour.cast(pl.Int32).alias("hour"),
        weekday.alias("weekday"),
        pl.col("contacted").cast(pl.Float64).alias(f"{CONTEXT}contacted"),
        pl.col("channel").alias(f"{CONTEXT}channel"),
        pl.format("{} to {}", band.cast(pl.String).str.zfill(2), (band + HOURS).cast(pl.String).str.zfill(2)).alias(
            f"{CONTEXT}hour"
        ),
        weekday.alias(f"{CONTEXT}weekday"),
    )
    campaigns = tables["campaigns"]
    if where:
        campaigns = campaigns.filter(pl.col(where[0]) == where[1])
    known = [name for name in campaigns.columns if campaigns.schema[name] == pl.String and name != "campaign_id"]
    about = campaigns.select("campaign_id", *(pl.col(name).alias(f"{CAMPAIGN}{name}") for name in known))
    made = made.join(about, on="campaign_id", how="inner")
    product = f"{CAMPAIGN}product_id"
    return (
        _with_looks(made, tables["interactions"], product)
        if product in made.columns and "interactions" in tables
        else made
    )


def _with_looks(made: pl.DataFrame, events: pl.DataFrame, product: str) -> pl.DataFrame:
    """Contacts with LOOKS: only days before the contact's own count; null where the campaign has no product."""
    looks = events.filter(pl.col("kind").is_in(LOOKING)).select(
        "customer_id", "product_id", pl.col("at").alias("looked")
    )
    near = made.select("contact_id", "customer_id", "as_of", pl.col(product).alias("product_id"))
    day = pl.col("looked").dt.date()
    since = pl.col("as_of") - pl.duration(days=LOOKED)
    seen = near.join(looks, on=["customer_id", "product_id"]).filter((day < pl.col("as_of")) & (day >= since))
    counted = made.join(
        seen.group_by("contact_id").agg(pl.len().cast(pl.Float64).alias(LOOKS)), on="contact_id", how="left"
    )
    return counted.with_columns(pl.when(pl.col(product).is_not_null()).then(pl.col(LOOKS).fill_null(0.0)))


def _within(events: pl.DataFrame, outcome: Outcome) -> pl.DataFrame:
    start = pl.lit(outcome.as_of, dtype=pl.Date).cast(pl.Datetime("us"))
    end = start + pl.duration(days=outcome.horizon)
    return events.filter((pl.col("at") >= start) & (pl.col("at") < end))


def _known_before(tables: Mapping[str, pl.DataFrame], outcome: Outcome) -> pl.DataFrame:
    """Customers of whom the bank knew any event before the day: who joined later is not looked at."""
    start = pl.lit(outcome.as_of, dtype=pl.Date).cast(pl.Datetime("us"))
    met = []
    for name in EVENT_TABLES:
        if name not in tables:
            continue
        before = tables[name].filter(pl.col("at") < start)
        if "customer_id" in before.columns:
            met.append(before["customer_id"])
        if "account_id" in before.columns:
            held = tables["account_holders"]
            met.append(held.join(before.select("account_id").unique(), on="account_id", how="semi")["customer_id"])
    known = pl.concat(met).drop_nulls().unique()
    return tables["customers"].select("customer_id").unique().filter(pl.col("customer_id").is_in(known.implode()))


def _seen_from(rows: pl.DataFrame, outcome: Outcome) -> pl.DataFrame:
    return rows.with_columns(pl.lit(outcome.as_of, dtype=pl.Date).alias("as_of"))
