"""Which campaigns can tell what a contact adds, and why the others cannot: arms, actions, chances, days."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

import polars as pl

from recsys.errors import ConfigError, DataError
from recsys.lake.contract import nearest
from recsys.lake.store import Lake
from recsys.uplift.config import UpliftConfig

RESULTS = ("opened", "clicked", "converted")
FEWEST_IN_ARM = 30
UNLIKELY = 0.001
"""Arms that lie further from their logged chances than this are not trusted: a sample ratio mismatch."""


class Action(NamedTuple):
    """What a contact offers, through which channel, at which level of personalisation; None where nothing says."""

    product_id: str | None
    channel: str | None
    level: str | None


@dataclass(frozen=True)
class Trial:
    """A campaign with a control: who was drawn into which arm with which probability is known."""

    campaign: str
    arms: tuple[str, ...]
    """The control first."""
    actions: tuple[Action, ...]
    """Of the arms after the control."""
    shares: tuple[float, ...]
    """Of the arms; they stand for the propensity where it was not logged."""
    units: int
    first: date | None = None
    """The day of its first contact."""
    last: date | None = None
    """The day on which its outcomes are complete."""


@dataclass(frozen=True)
class Trials:
    """What a lake has to learn from."""

    found: tuple[Trial, ...]
    """In order of their first day and name."""
    left_out: dict[str, str]
    """Campaign → why it says nothing."""

    @property
    def units(self) -> int:
        return sum(trial.units for trial in self.found)


def find_trials(lake: Lake, config: UpliftConfig, until: date | None) -> Trials:
    """The campaigns that are over before `until`, or the one trial of the attribute `treatment`.

    Raises ConfigError for names that the lake lacks; DataError where no campaign can tell, and for campaigns whose
    contacts carry no propensity and that are not known to be randomised.
    """
    if config.treatment is not None:
        return Trials((_drawn(lake, config),), {})
    if "contacts" not in lake.tables:
        raise DataError(
            "uplift: the lake has no table contacts; where an attribute of customers says who was contacted, name it "
            "in uplift.treatment"
        )
    _check_outcome(lake, config)
    found, left_out = [], {}
    arms = _arms(lake, config, until).sort("campaign_id", "arm")
    unknown = [str(name) for (name,), rows in arms.group_by("campaign_id", maintain_order=True) if _unlogged(rows)]
    if unknown:
        raise DataError(
            f"uplift: {len(unknown)} campaigns have contacts without a propensity and are not known to be randomised "
            f"(first: {unknown[0]}): who was contacted was chosen, so what contact adds cannot be told from them. Log "
            "the probability with which each arm was drawn, name those drawn by chance alone in uplift.randomised, or "
            "leave the others out with uplift.campaigns"
        )
    for (name,), rows in arms.group_by("campaign_id", maintain_order=True):
        trial = _trial(str(name), rows, until)
        if isinstance(trial, str):
            left_out[str(name)] = trial
        else:
            found.append(trial)
    if not found:
        why = "; ".join(f"{name}: {reason}" for name, reason in list(left_out.items())[:3]) or "there is none"
        raise DataError(f"uplift: no campaign can tell what a contact adds ({why})")
    return Trials(tuple(sorted(found, key=lambda one: (str(one.first), one.campaign))), left_out)


def _unlogged(rows: pl.DataFrame) -> bool:
    return bool(rows["unlogged"].sum()) and not bool(rows["by_chance"].all())


def _check_outcome(lake: Lake, config: UpliftConfig) -> None:
    known = [name for name in RESULTS if name in lake.schema("contacts")]
    if config.outcome not in known:
        raise ConfigError(
            f"uplift.outcome: {config.outcome!r} is no result of a contact{nearest(config.outcome, known)}; this lake "
            f"knows {', '.join(known) or 'none'}"
        )


def _campaigns(lake: Lake, config: UpliftConfig) -> pl.LazyFrame:
    """campaign_id, product_id, ends, by_chance of the campaigns asked for."""
    table = lake.scan("campaigns")
    columns = lake.tables["campaigns"].columns
    empty = {"product_id": pl.String, "ends": pl.Date}
    table = table.with_columns(
        pl.lit(None, dtype=dtype).alias(name) for name, dtype in empty.items() if name not in columns
    )
    chance = pl.lit(False)
    for key, text in (("campaigns", config.campaigns), ("randomised", config.randomised)):
        if text is None:
            continue
        name, sign, value = text.partition("=")
        known = [a.name for a in lake.attributes("campaigns") if a.kind == "category"]
        if not sign or name not in known:
            raise ConfigError(
                f"uplift.{key}: {text!r}: write ATTRIBUTE=VALUE; campaigns has {', '.join(known) or 'none'}"
            )
        if key == "campaigns":
            table = table.filter(pl.col(name) == value)
        else:
            chance = (pl.col(name) == value).fill_null(False)
    return table.select("campaign_id", "product_id", "ends", chance.alias("by_chance"))


def _arms(lake: Lake, config: UpliftConfig, until: date | None) -> pl.DataFrame:
    """A row for each arm of each campaign: sizes, days, channels, and sums that tell whether its chances hold."""
    rows = with_arms(lake.scan("contacts"), lake.tables["contacts"].columns)
    if until is not None:
        rows = rows.filter(pl.col("at") < pl.lit(until).cast(pl.Datetime("us")))
    p = pl.col("propensity")
    counted = rows.group_by("campaign_id", "arm").agg(
        pl.len().alias("units"),
        pl.col("contacted").sum().alias("contacted"),
        pl.col("at").min().dt.date().alias("first"),
        pl.col("at").max().dt.date().alias("latest"),
        p.null_count().alias("unlogged"),
        (1 / p).sum().alias("weight"),
        ((1 - p) / p**2).sum().alias("spread"),
        (p >= 1).sum().alias("certain"),
        pl.col("channel").drop_nulls().unique().sort().alias("channels"),
        pl.col(config.outcome).sum().alias("yes"),
    )
    return counted.join(_campaigns(lake, config), on="campaign_id").collect()


def with_arms(contacts: Any, columns: Any) -> Any:
    """Contacts, a frame lazy or not, with arm, propensity and channel in any case; where no arm is named, contacted or
    not is the arm."""
    missing = {"arm": pl.String, "propensity": pl.Float64, "channel": pl.String}
    contacts = contacts.with_columns(
        pl.lit(None, dtype=dtype).alias(name) for name, dtype in missing.items() if name not in columns
    )
    said = pl.when(pl.col("contacted")).then(pl.lit("contacted")).otherwise(pl.lit("not contacted"))
    return contacts.with_columns(pl.col("arm").fill_null(said))


def _trial(name: str, rows: pl.DataFrame, until: date | None) -> Trial | str:
    """The trial of one campaign, or why it is none."""
    controls = rows.filter(pl.col("contacted") == 0)
    others = rows.filter(pl.col("contacted") > 0)
    if not controls.height:
        return "everybody was contacted, so there is no control"
    if not others.height:
        return "nobody was contacted"
    if controls.height > 1:
        return f"nobody was contacted in {controls.height} of its arms; one control is needed"
    ordered = pl.concat([controls, others])
    if ordered["units"].min() < FEWEST_IN_ARM:  # type: ignore[operator]
        small = ordered.sort("units").row(0, named=True)
        return f"the arm {small['arm']} has {small['units']} rows; at least {FEWEST_IN_ARM} are needed"
    if int(ordered["certain"].sum()) == int(ordered["units"].sum()):
        return "every propensity is 1, so nobody could have had another arm"
    if not ordered["unlogged"].sum() and _mismatch(ordered) < UNLIKELY:
        return "the sizes of the arms do not fit the logged chances (sample ratio mismatch)"
    several = others.filter(pl.col("channels").list.len() > 1)
    if several.height:
        return f"the arm {several['arm'][0]} used several channels; one for each arm is needed"
    ends = ordered["ends"][0]
    last: date = ends or max(ordered["latest"].to_list())
    if until is not None and last >= until:
        return f"its outcomes are complete on {last}, not before {until}"
    product = ordered["product_id"][0]
    channels = [one[0] if len(one) else None for one in others["channels"].to_list()]
    actions = tuple(Action(product, ch, arm) for ch, arm in zip(channels, others["arm"].to_list(), strict=True))
    total = int(ordered["units"].sum())
    shares = tuple(n / total for n in ordered["units"].to_list())
    first = ordered["first"].min()
    return Trial(name, tuple(ordered["arm"].to_list()), actions, shares, total, first, last)  # type: ignore[arg-type]


def _mismatch(arms: pl.DataFrame) -> float:
    """p-value that the arms were drawn with their chances, Bonferroni over arms: the sum of 1 / chance over an arm's
    rows is the number of all rows, give or take the draw."""
    total = float(arms["units"].sum())
    found = []
    for weight, spread in arms.select("weight", "spread").iter_rows():
        if spread > 0:
            found.append(math.erfc(abs(weight - total) / math.sqrt(2 * spread)))
    return min([1.0, *(p * len(found) for p in found)])


def _drawn(lake: Lake, config: UpliftConfig) -> Trial:
    """The one trial of an attribute that chance drew, and a check of the outcome beside it."""
    name, control = str(config.treatment), str(config.control)
    groups = {a.name for a in lake.attributes("customers") if a.role == "group" and a.kind in ("category", "flag")}
    if name not in groups:
        raise ConfigError(
            f"uplift.treatment: {name!r} is no attribute of customers with the role group"
            f"{nearest(name, sorted(groups))}; there is {', '.join(sorted(groups)) or 'none'}"
        )
    known = {a.name: a for a in lake.attributes("customers") if a.role in ("label", "outcome")}
    if config.outcome not in known or known[config.outcome].kind not in ("flag", "number"):
        raise ConfigError(
            f"uplift.outcome: {config.outcome!r} is no flag or number of customers with the role label or outcome"
            f"{nearest(config.outcome, known)}; there is {', '.join(sorted(known)) or 'none'}"
        )
    if lake.as_of is not None:
        raise ConfigError(
            "uplift.treatment: the lake has dated events and this attribute has no date, so events after the contact "
            "would be seen; write who was contacted as the table contacts"
        )
    counts: Mapping[str, int] = dict(
        lake.scan("customers").select(pl.col(name).cast(pl.String).drop_nulls().value_counts()).unnest(name).collect()
        .iter_rows()
    )  # fmt: skip
    if control not in counts:
        raise ConfigError(f"uplift.control: {name} is never {control!r}; it is {', '.join(sorted(counts)) or 'null'}")
    arms = (control, *sorted(set(counts) - {control}))
    if len(arms) < 2:
        raise DataError(f"uplift: {name} is always {control!r}: nobody was contacted")
    small = min(arms, key=lambda arm: counts[arm])
    if counts[small] < FEWEST_IN_ARM:
        raise DataError(f"uplift: {name}: {small!r} has {counts[small]} customers; at least {FEWEST_IN_ARM} are needed")
    total = sum(counts.values())
    shares = tuple(counts[arm] / total for arm in arms)
    return Trial(name, arms, tuple(Action(None, None, arm) for arm in arms[1:]), shares, total)
