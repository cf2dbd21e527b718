"""The driver table: for each driver what is predictive, what remains among customers alike, what chance has shown."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys.drivers.advice import advise
from recsys.drivers.columns import Columns, Contrast
from recsys.drivers.effects import Effect
from recsys.segment_cards.intervals import Z, benjamini_hochberg, rounded
from training.driver_adjusted import Compared
from training.driver_models import Importance

OFTEN = 0.8
"""In the first ten in so many splits: a driver whose rank is stable."""


@dataclass(frozen=True)
class Found:
    """Everything that was worked out about one driver."""

    contrast: Contrast
    importance: Importance | None
    observed: Effect
    compared: Compared | None
    randomised: Effect | None
    name: str = ""
    """In words, where the column's own text does not say it."""

    @property
    def tier(self) -> str:
        """The most trustworthy tier that has an estimate."""
        if self.randomised is not None:
            return "randomised"
        return "adjusted" if self.compared is not None and self.compared.adjusted is not None else "predictive"

    @property
    def best(self) -> Effect:
        """The estimate of that tier."""
        if self.randomised is not None:
            return self.randomised
        if self.compared is not None and self.compared.adjusted is not None:
            return self.compared.adjusted
        return self.observed


def table(found: Sequence[Found], columns: Columns, outcome: str, levers: Collection[str] = ()) -> list[dict[str, Any]]:
    """The rows as JSON: the clear ones by trust, then size; all are tested at once (Benjamini-Hochberg, 5 %)."""
    p = benjamini_hochberg(np.array([one.best.p for one in found], dtype=np.float64))
    rows = [_row(one, columns, outcome, float(chance), levers) for one, chance in zip(found, p, strict=True)]
    order = {"randomised": 0, "adjusted": 1, "predictive": 2}
    return sorted(rows, key=lambda r: (r["direction"] == "unclear", order[r["tier"]], -abs(r["size"]), r["key"]))


def _row(one: Found, columns: Columns, outcome: str, p: float, levers: Collection[str]) -> dict[str, Any]:
    best = one.best
    sign = best.sign if p <= 0.05 else 0
    advice = advise(columns, one.contrast, one.tier, sign, best.untreated, best.value, outcome, one.name, levers)
    text = one.name or columns.text(one.contrast.column)
    return {
        "key": one.contrast.key if not one.name else f"{one.contrast.key}@{one.name}",
        "column": one.contrast.column,
        "text": text,
        "side": one.contrast.text,
        "against": one.contrast.against,
        "tier": one.tier,
        "direction": {1: "raises", -1: "lowers", 0: "unclear"}[sign],
        "size": rounded(best.value) or 0.0,
        "low": rounded(best.low),
        "high": rounded(best.high),
        "p_adjusted": rounded(p),
        "in_words": words(one, sign),
        "predictive": _importance(one.importance) | {"observed": _effect(one.observed)},
        "adjusted": _adjusted(one.compared),
        "randomised": _effect(one.randomised) if one.randomised else None,
        "warnings": list(warnings(one)),
        "lever": advice.lever,
        "approach": advice.approach,
        "kpi": advice.kpi,
    }


def words(one: Found, sign: int) -> str:
    """Direction and size in plain units, with what kind of knowledge it is."""
    best = one.best
    among = {
        "randomised": "Where chance decided",
        "adjusted": "Among customers alike in all else that is known",
        "predictive": "As observed",
    }[one.tier]
    rates = f"{best.treated:.1%} against {best.untreated:.1%}"
    points = f"{100 * best.value:+.1f} points ({100 * best.low:+.1f} to {100 * best.high:+.1f})"
    said = "" if sign else "; chance alone could make this difference"
    return f"{among}: {rates}, {points}{said}."


def warnings(one: Found) -> Iterator[str]:
    """Where the tiers do not say the same."""
    adjusted = one.compared.adjusted if one.compared else None
    if one.randomised:
        yield from _against_chance(one.observed, adjusted, one.randomised)
    elif adjusted and one.observed.sign * adjusted.sign < 0:
        yield f"As observed ({_points(one.observed)}) the sign is the other way than among customers alike."
    elif adjusted and one.observed.sign and not adjusted.sign and one.importance and one.importance.in_top >= OFTEN:
        yield "It tells who, but no effect remains among customers alike: changing it may change nothing."
    if one.compared and one.compared.refused:
        yield f"Not adjusted: {one.compared.refused}."


def _against_chance(plain: Effect, adjusted: Effect | None, randomised: Effect) -> Iterator[str]:
    known = {"as observed": plain, "adjusted": adjusted}
    wrong = [f"{name} ({_points(one)})" for name, one in known.items() if one and apart(one, randomised)]
    if wrong:
        said = " and ".join(wrong)
        yield f"{said.capitalize()}: beyond chance from randomised ({_points(randomised)}). Who got it was chosen."


def apart(first: Effect, second: Effect) -> bool:
    """Whether two estimates differ by more than their errors together allow (5 %)."""
    one, other = ((effect.high - effect.low) / (2 * Z) for effect in (first, second))
    return bool(abs(first.value - second.value) > Z * np.hypot(one, other))


def _points(effect: Effect) -> str:
    return f"{100 * effect.value:+.1f} points"


def _importance(found: Importance | None) -> dict[str, Any]:
    if found is None:
        return {"auc_lost": None, "rank": None, "in_top": None, "stable": None}
    return {
        "auc_lost": [rounded(part) for part in (found.lost.value, found.lost.low, found.lost.high)],
        "rank": [rounded(part) for part in (found.rank.value, found.rank.low, found.rank.high)],
        "in_top": rounded(found.in_top),
        "stable": found.in_top >= OFTEN,
    }


def _adjusted(compared: Compared | None) -> dict[str, Any] | None:
    if compared is None:
        return None
    told: dict[str, Any] = {"refused": compared.refused, "overlap": rounded(compared.overlap)}
    told["not_held_equal"] = list(compared.not_equal)
    if compared.adjusted is None:
        return told
    return _effect(compared.adjusted) | {"e_value": rounded(compared.e_value)} | told


def _effect(effect: Effect) -> dict[str, Any]:
    fields = ("value", "low", "high", "p", "treated", "untreated")
    return {**{name: rounded(getattr(effect, name)) for name in fields}, "rows": effect.rows}
