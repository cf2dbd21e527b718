"""One campaign's units as arrays: who is the control, which chances are known, which units can be used."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.campaigns.effects import Rows
from recsys.errors import ConfigError
from recsys.lake.store import Lake
from training.campaign_gather import Asked, Gathered
from training.driver_trials import Draw

UNLOGGED = 0.05
"""Share of units without a logged chance above which the others tell nothing."""


@dataclass(frozen=True)
class Campaign:
    """One campaign's units as arrays, and what is wrong with them."""

    name: str
    units: pl.DataFrame
    """Of known outcome and arm; the control's arms have one name."""
    usable: np.ndarray
    """bool, the units that are `rows`: of known outcome and chance."""
    rows: Rows | None
    refused: str
    warnings: tuple[str, ...]


def campaign_of(name: str, gathered: Gathered, places: np.ndarray, asked: Asked, draw: Draw | None) -> Campaign:
    """Who is the control, which units can be used, and why the others cannot."""
    units = gathered.units[places]
    controls, warnings = _controls(units, draw.control if draw else None)
    label = " and ".join(controls)
    control = pl.col("arm").is_in(controls)
    units = units.with_columns(is_control=control, arm=pl.when(control).then(pl.lit(label)).otherwise(pl.col("arm")))
    warnings += _warnings(units, asked)
    if draw is not None and draw.control not in controls:
        raise ConfigError(f"--randomised: {draw.attribute} is never {draw.control!r}")
    refused = _no_comparison(units, controls)
    chance, why, more = _chances(units, asked, draw is not None)
    warnings += more
    usable = units["outcome"].is_not_null().to_numpy()
    usable = usable if chance is None else usable & (chance > 0)
    rest = units.filter(pl.Series(usable))
    arms = (label, *sorted(set(rest["arm"].unique().to_list()) - {label}))
    if not refused and not why:
        why = "" if len(arms) > 1 and rest["is_control"].any() else "the outcome of one of the arms is not known"
    if refused or why:
        return Campaign(name, units, usable, None, refused or why, tuple(warnings))
    kept = np.flatnonzero(usable)
    covariate = None if gathered.covariate is None else gathered.covariate[places][kept]
    rows = Rows(
        outcome=rest["outcome"].to_numpy(),
        arm=rest["arm"].replace_strict({arm: i for i, arm in enumerate(arms)}, return_dtype=pl.Int64).to_numpy(),
        arms=arms,
        chance=None if chance is None else chance[kept],
        covariate=covariate,
        design=gathered.design[places][kept],
        customer=np.arange(len(kept)),
    )
    return Campaign(name, units, usable, rows, "", tuple(warnings))


def _controls(units: pl.DataFrame, named: str | None) -> tuple[list[str], list[str]]:
    """The arms of which nobody was contacted; else one that is called control, with a warning."""
    if named is not None:
        return [named], []
    reached = units.group_by("arm").agg(pl.col("contacted").any().alias("any"), pl.col("contacted").sum().alias("n"))
    controls = reached.filter(~pl.col("any"))["arm"].sort().to_list()
    if controls:
        return controls, []
    called = [arm for arm in reached["arm"].to_list() if arm.lower() == "control"]
    if not called:
        return [], []
    n = reached.filter(pl.col("arm") == called[0])["n"].item()
    return called, [f"{n:,} customers of the control were contacted; they stay in it, so the effect looks smaller"]


def _no_comparison(units: pl.DataFrame, controls: list[str]) -> str:
    if not units["contacted"].any():
        return "nobody was contacted"
    if not controls:
        return "there is no control: everybody was contacted, so nobody knows what would have come anyway"
    return ""


def _chances(units: pl.DataFrame, asked: Asked, drawn: bool) -> tuple[np.ndarray | None, str, list[str]]:
    """The chance of each unit's arm (0 where it is not known), why there is none, and warnings."""
    if asked.shares:
        told = dict(asked.shares)
        arms = set(units["arm"].unique().to_list())
        if arms != set(told) or abs(sum(told.values()) - 1) > 1e-6 or min(told.values()) <= 0:
            raise ConfigError(
                f"--share: the arms are {', '.join(sorted(arms))}; give each one's chance, above 0, summing to 1"
            )
        return units["arm"].replace_strict(told, return_dtype=pl.Float64).to_numpy(), "", []
    if drawn:
        sizes = pl.len().over("arm") / pl.len()
        note = ["chances are taken from the sizes of the arms, so that these cannot be checked; give --share"]
        return units.select(sizes).to_series().cast(pl.Float64).to_numpy(), "", note
    missing = units["propensity"].null_count()
    if missing == units.height:
        return None, "it has a control, but no propensity is logged: whether chance drew the arms is not known", []
    if missing > UNLOGGED * units.height:
        return None, f"the propensity of {missing:,} of {units.height:,} customers is not logged", []
    note = [f"{missing:,} customers without a logged propensity are left out"] if missing else []
    return units["propensity"].fill_null(0.0).to_numpy(), "", note


def _warnings(units: pl.DataFrame, asked: Asked) -> list[str]:
    """What a reader should know of the units before the figures."""
    found = []
    several, crossed = (units["contacts"] > 1).sum(), (units["arms"] > 1).sum()
    early, unknown = int((units["early"].fill_null(0) > 0).sum()), units["outcome"].null_count()
    running = int(units["open_window"].fill_null(False).sum()) if not asked.outcome.startswith("contacts.") else 0
    missed = int((~units["is_control"] & ~units["contacted"]).sum())
    below = int((units["revenue"].fill_null(0.0) < 0).sum())
    if several:
        found.append(f"{several:,} customers were contacted more than once; each counts once, from the first contact")
    if crossed:
        found.append(f"{crossed:,} customers are in more than one arm; they stay in the first, as they were drawn")
    if early:
        found.append(
            f"{early:,} customers had the outcome in the {asked.days} days before the contact; it does not count"
        )
    if running:
        found.append(f"the window of {running:,} customers is not over at the end of the lake; they are left out")
    if unknown > running:
        found.append(f"the outcome of {unknown - running:,} customers is not known; they are left out")
    if missed:
        found.append(
            f"{missed:,} customers were to be contacted and were not; they stay in their arm (intention to treat)"
        )
    if below:
        found.append(f"the revenue of {below:,} customers is below zero (refunds); it is counted")
    if asked.segments is not None:
        found.append("segments are those of the files, which may have been assigned after the contact")
    return found


def watching(campaign: Campaign, lake: Lake, asked: Asked) -> tuple[bool, list[str]]:
    """Whether the verdict goes by the always-valid interval: asked for, or the campaign is not over."""
    if asked.watching:
        return True, []
    if asked.randomised is not None or "ends" not in lake.schema("campaigns"):
        return False, []
    ends = lake.read("campaigns").filter(pl.col("campaign_id") == campaign.name)["ends"]
    if len(ends) and ends[0] is not None and lake.last_event and ends[0] > lake.last_event:
        return True, [
            f"it ends on {ends[0]}, after the lake ({lake.until}): the verdict goes by the always-valid interval"
        ]
    return False, []
