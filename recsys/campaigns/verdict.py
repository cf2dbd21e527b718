"""The verdict on a campaign in a sentence, and what to log so that the next one can be told."""

from collections.abc import Mapping, Sequence
from typing import Any

from recsys.campaigns.effects import ArmEffect, Found
from recsys.campaigns.forecast import Forecast
from recsys.campaigns.intervals import Estimate

NEXT_TIME = (
    "keep a random part of the customers out (recsys campaign design says how many)",
    "log every customer who was considered in the table contacts, with contacted false for those who were left out",
    "log the arm, and as propensity the probability with which that arm was drawn, also where it differs by customer",
    "record the outcome of the customers who were not contacted in the same way and in the same window",
)


def sentence(found: Found, watching: bool, unit: str, amounts: bool = False) -> str:
    """The verdict: it worked, it did harm, or it cannot be told, with the figures of every arm.

    `watching` goes by the always-valid interval; `unit` is what is counted: conversions, opened messages, amounts.
    """
    if found.refused:
        return f"It cannot be told whether it worked: {found.refused}."
    return " ".join(_of_arm(arm, watching, unit, len(found.arms) > 1, amounts) for arm in found.arms)


def called(arm: ArmEffect, watching: bool, arms: int) -> int:
    """1 it worked, -1 it did harm, 0 it cannot be told. Of several arms, one is called after Benjamini-Hochberg."""
    sign = (arm.watched if watching else arm.best).sign
    return sign if arms == 1 or watching or arm.adjusted_p <= 0.05 else 0


def _of_arm(arm: ArmEffect, watching: bool, unit: str, several: bool, amounts: bool) -> str:
    estimate, who = (arm.watched if watching else arm.best), f"The arm {arm.arm}" if several else "It"
    sign = called(arm, watching, 2 if several else 1)
    figures = _figures(estimate, unit, amounts)
    how = f"{estimate.method}, {sum(arm.customers):,} customers"
    if sign > 0:
        return f"{who} worked: {figures} ({how})."
    if sign < 0:
        return f"{who} did harm: {figures} ({how})."
    start = f"Of the arm {arm.arm} it cannot be told whether it" if several else "It cannot be told whether it"
    if not arm.detectable > 0:
        return f"{start} worked: the outcome was the same for everybody: {figures} ({how})."
    least = f"{arm.detectable:,.4g}" if amounts else f"{100 * arm.detectable:.2g}"
    short = f"so many customers would show an effect of {least} or more 4 times of 5"
    if estimate.sign:  # its interval lies on one side of 0, and it is not called all the same: say why
        short = (
            f"alone it could be told, but of several arms tested together it cannot (Benjamini-Hochberg, "
            f"p {arm.adjusted_p:.2g}); {short}"
        )
    return f"{start} worked: {figures} ({how}); {short}."


def _figures(estimate: Estimate, unit: str, amounts: bool) -> str:
    if amounts:
        return f"{estimate.value:+,.4g} [{estimate.low:,.4g}, {estimate.high:,.4g}] {unit} per customer assigned"
    value, low, high = (100 * part for part in (estimate.value, estimate.low, estimate.high))
    return f"{value:+.2f} [{low:.2f}, {high:.2f}] {unit} per 100 customers assigned"


def money_sentence(roi: dict[str, Any] | None, refused: str) -> str:
    """Whether it paid, from what `Returns.told` gives."""
    if roi is None:
        return f"What it earned cannot be told: {refused}."
    found = roi["roi"]
    if found["low"] is None:
        return "Whether it paid cannot be told: the data exclude no return."
    figures = f"incremental ROI {found['value']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}]"
    if found["low"] > 0:
        return f"It paid: {figures}."
    if found["high"] < 0:
        return f"It did not pay: {figures}."
    return f"Whether it paid cannot be told: {figures}."


def winsorised_sentence(roi: dict[str, Any] | None) -> str:
    """The same where no customer counts with more than a bound, or nothing where that was not asked."""
    if roi is None or "winsorised" not in roi:
        return ""
    found = roi["winsorised"]
    counted = f"{found['bounded']:,} customer{'s' * (found['bounded'] != 1)} with more count as the bound"
    return f"With margins bounded at their {found['quantile']:.4g} quantile ({counted}): {money_sentence(found, '')}"


def forecast_sentence(found: Forecast, planned: Mapping[str, str]) -> str:
    """What to expect of a planned campaign, or that it cannot be foretold."""
    named = ", ".join(f"{name} {value}" for name, value in planned.items())
    if found.value is None:
        return f"The return of a campaign with {named} is not foretold: {found.refused}."
    assert found.skill is not None
    skill, value = found.skill, found.value
    return (
        f"A campaign with {named} is expected to return {value.value:+.2f} [{value.low:+.2f}, {value.high:+.2f}]; "
        f"its skill over the mean of {found.campaigns} past campaigns is {skill.value:.2f} "
        f"[{skill.low:.2f}, {skill.high:.2f}]."
    )


def overview(verdicts: Sequence[int], refused: int, together: int) -> str:
    """How many campaigns worked, did harm, or cannot be told; `together` are clear when all are tested at once."""
    total = len(verdicts)
    if total < 2:
        return ""
    worked, harm = (sum(1 for one in verdicts if one == sign) for sign in (1, -1))
    unclear = f"of {total - worked - harm:,} it cannot be told"
    told = f"Of {total:,} campaigns {worked:,} worked, {harm:,} did harm, {unclear}"
    told += f" ({refused:,} for want of a comparison)" if refused else ""
    return f"{told}. Beyond chance when all are tested together (Benjamini-Hochberg): {together:,}."
