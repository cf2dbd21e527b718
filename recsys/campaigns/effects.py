"""The effect of each arm of one campaign, by whatever its log allows, for everybody and by segment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl
from scipy.special import ndtri

from recsys.campaigns.experiment import Comparison, Moments, compare, cuped
from recsys.campaigns.intervals import Estimate, Fieller, fieller
from recsys.campaigns.observational import (
    Overlap,
    Predicted,
    overlap,
    refusal,
    without_certain,
)
from recsys.campaigns.sample_ratio import SampleRatio, sample_ratio
from recsys.campaigns.sample_size import POWER, detectable
from recsys.campaigns.sequential import always_valid
from recsys.drivers.effects import Effect
from recsys.drivers.randomised import FEWEST_IN_ARM, Trial
from recsys.segment_cards.intervals import Z, benjamini_hochberg, rounded
from recsys.segment_cards.suppression import FEWEST

POWERED = float(Z + ndtri(POWER))
"""Standard errors that an effect must have to show 4 times of 5."""
Status = Literal["randomised", "targeted", "unknown"]


@dataclass(frozen=True)
class Rows:
    """The units of one campaign whose outcome is known, n of them, one row per customer."""

    outcome: np.ndarray  # float64 [n]
    arm: np.ndarray  # int64 [n], 0 is the control
    arms: tuple[str, ...]
    chance: np.ndarray | None  # float64 [n], of the arm that was drawn
    covariate: np.ndarray | None  # float64 [n], known before the contact
    design: np.ndarray  # float64 [n, W], known before the contact
    customer: np.ndarray  # int64 [n]

    @property
    def shares(self) -> bool:
        """Whether the outcome is a yes or a no."""
        return bool(np.isin(self.outcome, (0.0, 1.0)).all())

    def trial(self) -> Trial:
        """The same for the estimators from logged chances."""
        if self.chance is None:
            raise ValueError("a trial needs the chances with which arms were drawn")
        each = np.arange(len(self.arm))
        return Trial("campaign", each, self.arm, self.chance, self.outcome, self.design, self.customer, self.arms)


@dataclass(frozen=True)
class ArmEffect:
    """What one arm did, against the control."""

    arm: str
    treated: float
    control: float
    plain: Estimate
    """The difference as it is observed."""
    best: Estimate
    """The one that the verdict goes by."""
    watched: Estimate
    """The always-valid interval around the same estimate."""
    relative: Fieller
    p: float
    customers: tuple[int, int]
    detectable: float
    """The smallest difference that so many customers would show 4 times of 5."""
    cuped: Comparison | None = None
    hajek: Estimate | None = None
    adjusted_p: float = np.nan
    """After Benjamini-Hochberg over the campaign's arms."""

    def told(self) -> dict[str, Any]:
        """For JSON."""
        names = ("plain", "best", "watched", "hajek", "relative")
        found = {name: getattr(self, name).told() for name in names if getattr(self, name) is not None}
        if self.cuped is not None:
            found["cuped"] = self.cuped.difference.told() | {"variance_factor": rounded(self.cuped.variance_factor)}
        numbers = {name: rounded(getattr(self, name)) for name in ("treated", "control", "p", "adjusted_p")}
        sizes = {"customers": list(self.customers), "detectable": rounded(self.detectable)}
        return {"arm": self.arm} | numbers | sizes | found


@dataclass(frozen=True)
class Found:
    """What the arms of a campaign say; `refused` says why they say nothing."""

    status: Status
    refused: str
    ratio: SampleRatio | None
    overlap: Overlap | None
    arms: tuple[ArmEffect, ...]
    certain: int = 0


def status_of(chance: np.ndarray | None, arm: np.ndarray, arms: int) -> Status:
    """randomised: each arm had one chance for all. targeted: chances differ between customers. unknown: no chances."""
    if chance is None:
        return "unknown"
    for place in range(arms):
        drawn = chance[arm == place]
        if len(drawn) and not np.allclose(drawn, drawn[0], rtol=1e-6, atol=0):
            return "targeted"
    return "randomised"


def effects_of(rows: Rows, planned: int, adjust: bool) -> Found:
    """Every arm against the control. With `adjust` the verdict on a randomised campaign goes by CUPED, if it can."""
    status = status_of(rows.chance, rows.arm, len(rows.arms))
    if status == "unknown":
        return Found(
            status, "the log does not say with which probability each customer was put into an arm", None, None, ()
        )
    if status == "randomised":
        return _randomised(rows, planned, adjust)
    trial, certain = without_certain(rows.trial())
    told = overlap(trial, certain)
    if why := refusal(trial, told):
        return Found(status, why, None, told, (), certain)
    predicted = Predicted.of(trial)
    arms = [_weighed(predicted, place, rows.shares, planned) for place in range(1, len(rows.arms))]
    return Found(status, "", None, told, _together(arms), certain)


def segment_effects(rows: Rows, segments: Mapping[str, pl.Series]) -> list[dict[str, Any]]:
    """The effect of each arm in each value of each column (of the same rows), p-values adjusted over all of them.

    Values that tell of fewer than ten customers with the outcome or without it on either side are left out.
    """
    told: list[dict[str, Any]] = []
    status = status_of(rows.chance, rows.arm, len(rows.arms))
    predicted = Predicted.of(rows.trial()) if status == "targeted" else None
    for by, column in segments.items():
        for value in column.drop_nulls().unique().sort().to_list():
            here = (column == value).fill_null(False).to_numpy()
            for place in range(1, len(rows.arms)):
                if _told_of(rows, here, place):
                    effect = _effect_within(rows, predicted, here, place)
                    told.append({"by": by, "segment": str(value), "arm": rows.arms[place]} | effect)
    adjusted = benjamini_hochberg(np.array([np.nan if one["p"] is None else one["p"] for one in told]))
    for one, p in zip(told, adjusted, strict=True):
        one["adjusted_p"] = rounded(float(p))
        one["clear"] = bool(p <= 0.05)
    return told


def _randomised(rows: Rows, planned: int, adjust: bool) -> Found:
    assert rows.chance is not None
    counts = np.bincount(rows.arm, minlength=len(rows.arms))
    least = int(counts.argmin())
    if counts[least] < FEWEST_IN_ARM:
        why = f"the arm {rows.arms[least]} has {counts[least]} customers; {FEWEST_IN_ARM} are needed"
        return Found("randomised", why, None, None, ())
    shares = np.array([rows.chance[rows.arm == place][0] for place in range(len(rows.arms))])
    if abs(shares.sum() - 1) > 0.01:
        told = ", ".join(f"{name} {share:g}" for name, share in zip(rows.arms, shares, strict=True))
        why = f"the logged chances of the arms ({told}) sum to {shares.sum():.3g}, not to one: arms are missing"
        return Found("randomised", why, None, None, ())
    ratio = sample_ratio(counts, shares / shares.sum())
    if ratio.blocked:
        sizes = " and ".join(f"{n:,}" for n in ratio.counts)
        wanted = " and ".join(f"{n:,.0f}" for n in ratio.expected)
        why = f"the arms hold {sizes} customers where their chances make one expect {wanted} (p = {ratio.p:.1g}): "
        return Found("randomised", why + "something kept customers out of an arm, or the log is wrong", ratio, None, ())
    sides = [
        Moments.of(rows.outcome[here], None if rows.covariate is None else rows.covariate[here])
        for here in (rows.arm == place for place in range(len(rows.arms)))
    ]
    every = Moments(0, 0, 0, 0, 0, 0)
    for side in sides:
        every = every + side
    arms = [
        _compared(rows.arms[place], sides[place], sides[0], every, rows, planned, adjust)
        for place in range(1, len(sides))
    ]
    return Found("randomised", "", ratio, None, _together(arms))


def _compared(
    name: str, treated: Moments, control: Moments, every: Moments, rows: Rows, planned: int, adjust: bool
) -> ArmEffect:
    plain = compare(treated, control, rows.shares)
    adjusted = cuped(treated, control, every) if rows.covariate is not None and every.xx > 0 else None
    best = adjusted if adjust and adjusted is not None else plain
    variances, counts = (treated.variance, control.variance), (treated.count, control.count)
    factor = best.variance_factor
    return ArmEffect(
        arm=name,
        treated=plain.treated,
        control=plain.control,
        plain=plain.difference,
        best=best.difference,
        watched=always_valid(best.difference.value, best.error, best.count, planned),
        relative=best.relative,
        p=best.p,
        customers=counts,
        detectable=detectable((variances[0] * factor, variances[1] * factor), counts),
        cuped=adjusted,
    )


def _weighed(predicted: Predicted, place: int, shares: bool, planned: int) -> ArmEffect:
    trial = predicted.trial
    found, sides = predicted.weighed(place, shares), predicted.sides(place)
    influence = np.stack([sides[0].influence - sides[1].influence, sides[1].influence])
    spread = influence @ influence.T  # one row per customer
    gain, base, error = found.aipw.value, sides[1].value, float(np.sqrt(spread[0, 0]))
    relative = fieller(gain, base, spread[0, 0], spread[1, 1], spread[0, 1])
    counts = (int((trial.arm == place).sum()), int((trial.arm == 0).sum()))
    return ArmEffect(
        arm=trial.arms[place],
        treated=sides[0].value,
        control=base,
        plain=_estimate(found.naive, "plain difference: not the effect"),
        best=_estimate(found.aipw, "AIPW, cross-fitted"),
        watched=always_valid(gain, error, sum(counts), planned),
        relative=relative,
        p=found.aipw.p,
        customers=counts,
        detectable=POWERED * error,
        hajek=_estimate(found.hajek, "Hájek"),
    )


def _together(arms: Sequence[ArmEffect]) -> tuple[ArmEffect, ...]:
    adjusted = benjamini_hochberg(np.array([arm.p for arm in arms]))
    return tuple(replace(arm, adjusted_p=float(p)) for arm, p in zip(arms, adjusted, strict=True))


def _told_of(rows: Rows, here: np.ndarray, place: int) -> bool:
    sides = [here & (rows.arm == other) for other in (place, 0)]
    if not rows.shares:
        return min(int(side.sum()) for side in sides) >= FEWEST_IN_ARM
    return min(int((side & (rows.outcome == value)).sum()) for side in sides for value in (0, 1)) >= FEWEST


def _effect_within(rows: Rows, predicted: Predicted | None, here: np.ndarray, place: int) -> dict[str, Any]:
    if predicted is not None:
        effect = predicted.effect(place, here, rows.shares)
        found, p = _estimate(effect, "AIPW, cross-fitted"), effect.p
    else:
        sides = [Moments.of(rows.outcome[here & (rows.arm == other)]) for other in (place, 0)]
        compared = compare(sides[0], sides[1], rows.shares)
        found, p = compared.difference, compared.p
    return found.told() | {"p": rounded(p), "customers": int((here & np.isin(rows.arm, (0, place))).sum())}


def _estimate(effect: Effect, method: str) -> Estimate:
    return Estimate(effect.value, effect.low, effect.high, method)
