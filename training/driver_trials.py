"""Where chance decided: the trials that a lake's contacts, or an attribute drawn at random, make up."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.drivers.columns import Columns, Contrast
from recsys.drivers.effects import Effect, difference, observed
from recsys.drivers.outcome import CONTEXT
from recsys.drivers.randomised import Arms, Trial, arms_of, pooled_effect, refused
from recsys.errors import ConfigError
from recsys.lake.store import Lake
from recsys.segment_cards.suppression import FEWEST
from training.driver_data import GROUP, Units

CONTACTED = f"{CONTEXT}contacted"


@dataclass(frozen=True)
class Draw:
    """An attribute of customers that says which arm chance drew for them, each with the same probability for all."""

    attribute: str
    control: str

    @classmethod
    def parse(cls, text: str | None, lake: Lake) -> "Draw | None":
        """From `email=No E-Mail`. Raises ConfigError where customers has no such group."""
        if text is None:
            return None
        name, sign, control = text.partition("=")
        known = [a.name for a in lake.attributes("customers") if a.role == "group" and a.kind in ("category", "flag")]
        if not sign or name not in known:
            raise ConfigError(
                f"--randomised {text!r}: write ATTRIBUTE=CONTROL, an attribute of customers with the role group that "
                f"says which arm chance drew; there is {', '.join(known) or 'none'}"
            )
        return cls(name, control)


@dataclass(frozen=True)
class Shown:
    """An effect that chance has shown."""

    contrast: Contrast
    name: str
    effect: Effect
    observed: Effect
    """The plain difference between the same rows."""
    among: np.ndarray
    """bool [N], the rows of its trials."""
    same_columns: bool
    """Whether the contrast's two sides are the same among these rows, so that the other tiers can be told too."""


def contact_trials(units: Units) -> tuple[list[Trial], dict[str, str]]:
    """A trial for each campaign with a control and logged chances; campaign → why it is left out."""
    rows = units.rows
    if "propensity" not in rows.columns:
        return [], {}
    trials, left = [], {}
    design = units.columns.design()
    known = rows.with_row_index("row").filter(pl.col("propensity").is_not_null() & pl.col("arm").is_not_null())
    for (name,), part in known.sort("campaign_id", "row").group_by("campaign_id", maintain_order=True):
        controls = part.filter(~pl.col("contacted"))["arm"].unique().to_list()
        others = sorted(set(part["arm"].unique().to_list()) - set(controls))
        if len(controls) != 1 or not others:
            continue
        arms = (controls[0], *others)
        trial = _trial(
            str(name), part["row"].to_numpy(), part["arm"], arms, part["propensity"].to_numpy(), units, design
        )
        why = refused(trial)
        if why:
            left[str(name)] = why
        else:
            trials.append(trial)
    return trials, left


def drawn_trial(units: Units, draw: Draw) -> Trial:
    """The one trial of an attribute; the chances are the shares of the arms. Raises ConfigError for a wrong control."""
    arm = units.rows[f"{GROUP}{draw.attribute}"]
    rows = arm.is_not_null().arg_true().to_numpy()
    counts = dict(arm.drop_nulls().value_counts().iter_rows())
    if draw.control not in counts:
        raise ConfigError(
            f"--randomised: {draw.attribute} is never {draw.control!r}; it is {', '.join(sorted(counts))}"
        )
    arms = (draw.control, *sorted(set(counts) - {draw.control}))
    chance = arm.drop_nulls().replace_strict({a: n / len(rows) for a, n in counts.items()}, return_dtype=pl.Float64)
    trial = _trial(draw.attribute, rows, arm.drop_nulls(), arms, chance.to_numpy(), units, units.columns.design())
    if why := refused(trial):
        raise ConfigError(f"--randomised: {draw.attribute}: {why}")
    return trial


def _trial(
    name: str,
    rows: np.ndarray,
    arm: pl.Series,
    arms: tuple[str, ...],
    chance: np.ndarray,
    units: Units,
    design: np.ndarray,
) -> Trial:
    place = arm.replace_strict({a: i for i, a in enumerate(arms)}, return_dtype=pl.Int64).to_numpy()
    rows = rows.astype(np.int64)
    customer = units.customer[rows]
    return Trial(name, rows, place, chance, units.outcome[rows], design[rows], customer, arms)


def shown_by_contacts(units: Units, trials: list[Trial]) -> Iterator[Shown]:
    """Being contacted at all, by each channel, and each arm where a campaign had several."""
    found = [arms_of(trial, len(units.outcome)) for trial in trials]
    contacted = Contrast(CONTACTED, CONTACTED, "yes", "no")
    yield from _shown(units, found, contacted, "being contacted", None)
    channel = units.rows["channel"]
    by: dict[str, list[Arms]] = {}
    for one in found:
        used = channel.gather(pl.Series(one.trial.rows)).drop_nulls().unique().to_list()
        if len(used) == 1:
            by.setdefault(str(used[0]), []).append(one)
    if len(by) > 1:
        for name, some in sorted(by.items()):
            yield from _shown(units, some, contacted, f"being contacted by {name}", None)
    arms = {arm for one in found for arm in one.trial.arms[1:] if len(one.trial.arms) > 2}
    for arm in sorted(arms):
        some = [one for one in found if arm in one.trial.arms[1:]]
        contrast = Contrast(CONTACTED, f"{CONTACTED}.{arm}", "yes", "control")
        yield from _shown(units, some, contrast, f"the arm {arm}", arm)


def shown_by_draw(units: Units, draw: Draw, columns: Columns) -> Iterator[Shown]:
    """Each arm of an attribute against the control."""
    trial = drawn_trial(units, draw)
    found = [arms_of(trial, len(units.outcome))]
    name = f"{CONTEXT}{draw.attribute}"
    for arm in trial.arms[1:]:
        contrast = Contrast(name, f"{name}={arm}", arm, draw.control, level=arm)
        yield from _shown(units, found, contrast, columns.text(name), arm)


def _shown(units: Units, found: list[Arms], contrast: Contrast, name: str, arm: str | None) -> Iterator[Shown]:
    """The effect of an arm, or of all other arms, against the control in these trials.

    Nothing where it would tell of fewer than ten customers with the outcome, or without it, on either side.
    """
    treated, untreated = (np.zeros(len(units.outcome), dtype=bool) for _ in range(2))
    for one in found:
        place = one.trial.arm
        treated[one.trial.rows] = place > 0 if arm is None else place == one.trial.arms.index(arm)
        untreated[one.trial.rows] = place == 0
    cells = [side & (units.outcome == value) for side in (treated, untreated) for value in (0, 1)]
    if min(len(np.unique(units.customer[cell])) for cell in cells) < FEWEST:
        return
    effect = pooled_effect(found, units.customer, arm)
    plain = difference(observed(units.outcome, treated), observed(units.outcome, untreated), units.customer)
    yield Shown(contrast, name, effect, plain, treated | untreated, arm is None or contrast.level is not None)
