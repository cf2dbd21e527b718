"""How large a campaign's test must be to show a wanted effect, and how long it takes."""

from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from recsys.campaigns.sample_size import Design, share_design
from recsys.errors import ConfigError, DataError
from recsys.lake.contract import nearest
from recsys.lake.store import Lake

CONTROL_SHARES = (0.5, 0.3, 0.2, 0.1, 0.05)


@dataclass(frozen=True)
class Past:
    """What past campaigns say of the next."""

    rate: float
    """Conversion of customers who were not contacted."""
    customers: int
    """Of whom that is known."""
    per_day: float
    """Customers drawn into a campaign on a day on which there are any."""
    campaigns: tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """What is asked of a test."""

    rate: float
    effect: float
    """Difference of shares, such as 0.01 for one point."""
    power: float = 0.8
    alpha: float = 0.05
    control_share: float = 0.5
    arms: int = 1
    correlation: float = 0.0
    """Of the outcome with a covariate from before; CUPED leaves 1 - correlation² of the variance."""
    per_day: float | None = None


def past(lake: Lake, campaigns: tuple[str, ...]) -> Past:
    """Rate and pace from contacts. Raises ConfigError for an unknown campaign, DataError where nothing is known."""
    if "contacts" not in lake.tables or "converted" not in lake.schema("contacts"):
        raise ConfigError(f"{lake.path}: has no contacts with the column converted; give --rate in its place")
    rows = lake.scan("contacts").select("customer_id", "campaign_id", "contacted", "converted", "at")
    if campaigns:
        known = lake.read("campaigns")["campaign_id"].to_list()
        for name in campaigns:
            if name not in known:
                raise ConfigError(f"--campaign {name!r}: the lake has no such campaign{nearest(name, known)}")
        rows = rows.filter(pl.col("campaign_id").is_in(list(campaigns)))
    left_alone = ~pl.col("contacted") & pl.col("converted").is_not_null()
    found = rows.select(
        pl.col("converted").filter(left_alone).mean().alias("rate"),
        left_alone.sum().alias("customers"),
        (pl.len() / pl.col("at").dt.date().n_unique()).alias("per_day"),
    ).collect()
    if not found["customers"].item():
        raise DataError(
            f"{lake.path}: nobody was left uncontacted, so that the rate without contact is not known; give --rate"
        )
    return Past(float(found["rate"].item()), int(found["customers"].item()), float(found["per_day"].item()), campaigns)


def designed(wanted: Wanted) -> dict[str, Any]:
    """The sizes asked for, and those of other shares of the control beside them. Raises ConfigError."""
    try:
        own = _sizes(wanted, wanted.control_share)
        others = {share: _sizes(wanted, share) for share in CONTROL_SHARES}
    except ValueError as error:
        raise ConfigError(f"--rate {wanted.rate:g} --effect {wanted.effect:g}: {error}") from None
    return {
        "schema": 1,
        "wanted": asdict(wanted),
        "design": _told(own, wanted),
        "by_control_share": [{"control_share": share} | _told(one, wanted) for share, one in others.items()],
    }


def _sizes(wanted: Wanted, control_share: float) -> Design:
    return share_design(
        wanted.rate,
        wanted.effect,
        power=wanted.power,
        alpha=wanted.alpha,
        control_share=control_share,
        arms=wanted.arms,
        variance_factor=1 - wanted.correlation**2,
    )


def _told(found: Design, wanted: Wanted) -> dict[str, Any]:
    told: dict[str, Any] = asdict(found) | {"total": found.total}
    if wanted.per_day:
        told["days"] = found.days(wanted.per_day)
        told["days_watched"] = found.days(wanted.per_day, watched=True)
    return told
