"""Customers with what became of them: the outcome of churn from a column, or by a rule inside the horizon."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from recsys.churn.config import ChurnConfig
from recsys.churn.leaving import check_rule, leavings
from recsys.churn.splits import horizon_end, part_of
from recsys.errors import ConfigError, DataError
from recsys.features.examples import Part, scoring_examples
from recsys.features.features import EXAMPLE
from recsys.lake.buckets import stable_hashes
from recsys.lake.coverage import first_day
from recsys.lake.store import Lake

CHURN: dict[str, pl.DataType] = {**EXAMPLE, "outcome": pl.Int8(), "left": pl.Date()}
"""An example, whether the customer left (1) or stayed (0), and by a rule the day on which they left."""
SHOWN = 6
"""Values of a label that an error lists."""


@dataclass(frozen=True)
class Label:
    """The column that says who left."""

    name: str
    positive: str
    """The value that means left, as text."""

    def outcome(self) -> pl.Expr:
        """1 for left, 0 for stayed, null where it is not known."""
        return (_as_text(self.name) == self.positive).cast(pl.Int8).alias("outcome")


def find_label(lake: Lake, config: ChurnConfig) -> Label | None:
    """The label of a lake, None for a rule.

    Raises ConfigError if there is none or it is not clear which, DataError if it does not have two values.
    """
    if config.rule is not None:
        check_rule(config.rule, lake.tables)
        return None
    attributes = {a.name: a for a in lake.attributes("customers")}
    labels = [a.name for a in attributes.values() if a.role == "label"]
    if config.label is None and len(labels) != 1:
        named = f"{len(labels)} attributes with the role label ({', '.join(labels)})" if labels else "no such attribute"
        raise ConfigError(
            f"churn.label: the lake has {named}; name the one that says who left, or give churn.rule "
            "(accounts_closed, inactive_days)"
        )
    name = config.label or labels[0]
    if name not in attributes:
        raise ConfigError(f"churn.label: the lake has no attribute {name!r}; labels are {', '.join(labels) or 'none'}")
    if attributes[name].role not in ("label", "outcome"):
        raise ConfigError(
            f"churn.label: customers.{name} has the role {attributes[name].role}, so it may be an input; give it the "
            "role label in the catalog"
        )
    return Label(name, _positive(lake, name, config.positive))


def check_reach(lake: Lake, config: ChurnConfig, days: Mapping[Part, Sequence[date | None]]) -> None:
    """DataError if a rule's first training day lies before the first that the lake tells of.

    Who had left by then was never written down, so that of such a day only those would be seen who stayed.
    """
    first, earliest = first_day(lake), min((day for day in days["train"] if day is not None), default=None)
    if config.rule is None or first is None or earliest is None or earliest > first:
        return
    raise DataError(
        f"churn.snapshots: training would see customers from {earliest}, and the lake tells of nothing before {first}; "
        f"its {config.snapshots} days and three horizons of {config.horizon_months} months must lie after it: lower "
        "churn.snapshots, or shorten churn.horizon_months"
    )


def churn_examples(
    tables: Mapping[str, pl.DataFrame],
    config: ChurnConfig,
    label: Label | None,
    part: Part,
    days: Sequence[date | None],
    until: date | None,
    share: float = 1.0,
) -> pl.DataFrame:
    """One bucket's examples of a part (columns `CHURN`), ordered by customer and day.

    By a rule: who was a customer on the day; whoever joined later is not asked about, and nothing after the horizon
    is read. By a label: everyone of whom it is known. `until` is the day after the lake's last event. `share` of them
    is drawn by a hash of customer and day. Raises ConfigError for a horizon past the data's end.
    """
    if config.rule is None:
        assert label is not None
        found = _labelled(tables, label, days[0])
    else:
        found = pl.concat([_derived(tables, config, day, until) for day in days if day is not None])
    found = found.filter(pl.Series(part_of(found["customer_id"], config) == part, dtype=pl.Boolean))
    found = _drawn(found.sort("customer_id", "as_of"), share)
    named = scoring_examples(found["customer_id"], None).with_columns(found["as_of"])
    whole = pl.concat([named, found.select("outcome", "left")], how="horizontal")
    return whole.select(pl.col(name).cast(dtype) for name, dtype in CHURN.items())


def check_outcomes(
    left: int, examples: int, part: str, config: ChurnConfig, days: Sequence[date | None] = (None,)
) -> None:
    """DataError if a part has nobody, nobody who left, or nobody who stayed: nothing can be learned or judged."""
    if 0 < left < examples:
        return
    if not examples:
        what = "has no customer"
    elif left:
        what = f"has {examples:,} customers, and all of them left"
    else:
        what = f"has {examples:,} customers, and none of them left"
    if config.rule is None:
        right = "both kinds are needed; check the label (churn.label, churn.positive)"
    else:
        right = (
            f"both kinds are needed within {config.horizon_months} months after {days[0]}; other days (a shorter "
            "churn.horizon_months, more churn.snapshots), more customers, or another churn.rule may help"
        )
    raise DataError(f"churn: the {part} part {what}; {right}")


def _labelled(tables: Mapping[str, pl.DataFrame], label: Label, day: date | None) -> pl.DataFrame:
    customers = tables["customers"]
    if "valid_from" in customers.columns:
        customers = customers.sort("customer_id", "valid_from", nulls_last=False)
    known = customers.group_by("customer_id").agg(pl.col(label.name).last())
    return known.select(
        "customer_id",
        pl.lit(day, dtype=pl.Date).alias("as_of"),
        label.outcome(),
        pl.lit(None, dtype=pl.Date).alias("left"),
    ).drop_nulls("outcome")


def _derived(tables: Mapping[str, pl.DataFrame], config: ChurnConfig, day: date, until: date | None) -> pl.DataFrame:
    assert config.rule is not None
    end = horizon_end(day, config, until)
    found = leavings(tables, config.rule, (day,), end)
    return found.with_columns(pl.col("left").is_not_null().cast(pl.Int8).alias("outcome"))


def _drawn(found: pl.DataFrame, share: float) -> pl.DataFrame:
    if share >= 1:
        return found
    day = pl.col("as_of").cast(pl.String).fill_null("")
    text = found.select(pl.concat_str(pl.lit("churn"), "customer_id", day, separator=":")).to_series()
    return found.filter(pl.Series(stable_hashes(text) / 2.0**64 < share, dtype=pl.Boolean))


def _positive(lake: Lake, name: str, asked: str | None) -> str:
    """The value that means left, after a look at all values."""
    values = lake.scan("customers").select(_as_text(name).alias("value")).drop_nulls()
    counts = values.group_by("value").len().sort(["len", "value"], descending=[True, False]).collect()
    found = dict(counts.iter_rows())
    listed = ", ".join(f"{value!r} ({count:,})" for value, count in list(found.items())[:SHOWN])
    if len(found) > 2:
        more = f" … {len(found):,} in all" if len(found) > SHOWN else ""
        raise DataError(
            f"customers.{name}: the label has {len(found):,} values, and a customer leaves or stays: {listed}{more}; "
            "let the catalog make it true, false, or null where it is not known"
        )
    if len(found) < 2:
        said = f"is {listed} for everyone" if found else "is null for everyone"
        raise DataError(f"customers.{name}: the label {said}, so there is nothing to tell apart")
    known = asked if asked is not None else next((v for v in found if v in ("true", "1", "1.0")), None)
    if known is None:
        raise ConfigError(f"churn.positive: customers.{name} is {listed}; name the value that means left")
    if known not in found:
        raise ConfigError(f"churn.positive: {asked!r} is no value of customers.{name}; it is {listed}")
    return known


def _as_text(name: str) -> pl.Expr:
    """A label's value as text: true and false of a flag, a number or a category as they stand."""
    return pl.col(name).cast(pl.String)
