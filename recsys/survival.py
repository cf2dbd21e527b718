"""How long customers stay: Kaplan-Meier, concordance, Brier score and calibration, with those still here censored.

Time is the number of the month in which a customer left, or the months for which one who did not leave was seen. Who
was seen for t whole months counts as staying through month t, as is usual for discrete time: at one time events come
before censoring. Arrays are time [N] (above 0) and event bool [N] (False: censored).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from recsys.errors import DataError

SMALLEST_WEIGHT = 0.05
"""A chance of still being seen below this is taken as this, so that no few customers speak for all."""


@dataclass(frozen=True)
class Curve:
    """A Kaplan-Meier curve: a step at each time, constant between them and 1 before the first."""

    times: np.ndarray
    """float64 [T] distinct times, ascending."""
    at_risk: np.ndarray
    """[T] how many could still have the event at that time."""
    events: np.ndarray
    """[T] how many had it."""
    survival: np.ndarray
    """float64 [T] just after each time."""
    greenwood: np.ndarray
    """float64 [T] Greenwood's sum, Σ d / (n (n - d)); infinite once nobody is left."""

    def at(self, t: float) -> float:
        """Survival beyond t."""
        return self._step(self.survival, t, 1.0)

    def before(self, t: np.ndarray) -> np.ndarray:
        """Survival up to but not through each t, float64 of the same shape."""
        place = np.searchsorted(self.times, t, side="left")
        return np.concatenate([[1.0], self.survival])[place]

    def standard_error(self, t: float) -> float:
        """Greenwood's: S(t) √Σ d / (n (n - d)); 0 where S(t) is 0 or 1."""
        survival = self.at(t)
        return survival * float(np.sqrt(self._step(self.greenwood, t, 0.0))) if survival > 0 else 0.0

    def interval(self, t: float, level: float = 0.95) -> tuple[float, float]:
        """Bounds of S(t) through log(-log S), which stay within 0 and 1 (Kalbfleisch and Prentice, section 1.4).

        Without any event, or with nobody left, the scale ends; the bounds are then those of Wilson for all at risk.
        """
        survival = self.at(t)
        z = NormalDist().inv_cdf((1 + level) / 2)
        if not 0 < survival < 1:
            return _wilson(survival, int(self.at_risk[0]) if len(self.at_risk) else 0, z)
        log = np.log(survival)
        spread = z * float(np.sqrt(self._step(self.greenwood, t, 0.0))) / -log
        return float(np.exp(log * np.exp(spread))), float(np.exp(log * np.exp(-spread)))

    def _step(self, values: np.ndarray, t: float, first: float) -> float:
        place = int(np.searchsorted(self.times, t, side="right"))
        return float(values[place - 1]) if place else first


def kaplan_meier(time: np.ndarray, event: np.ndarray) -> Curve:
    """The product-limit estimate (Kaplan and Meier, JASA 1958). Raises DataError for times that are none."""
    time, event = _checked(time, event)
    times, place = np.unique(time, return_inverse=True)
    events = np.bincount(place, weights=event)
    gone = np.bincount(place)
    at_risk = len(time) - np.concatenate([[0], np.cumsum(gone)[:-1]])
    return _curve(times, at_risk.astype(np.float64), events)


def seen_curve(time: np.ndarray, event: np.ndarray) -> Curve:
    """The chance of still being seen, G: Kaplan-Meier of the censoring; at one time events come first."""
    time, event = _checked(time, event)
    times, place = np.unique(time, return_inverse=True)
    events = np.bincount(place, weights=event)
    censored = np.bincount(place) - events
    at_risk = len(time) - np.concatenate([[0], np.cumsum(censored + events)[:-1]]) - events
    return _curve(times, at_risk.astype(np.float64), censored)


def concordance(
    time: np.ndarray, event: np.ndarray, risk: np.ndarray, *, weighted: bool = False, until: float | None = None
) -> float:
    """The share of comparable pairs in which who left first had the higher risk; equal risks count half.

    A pair is comparable if one left at t and the other was there beyond t (Harrell, Califf, Pryor, Lee, Rosati, JAMA
    1982). `weighted`: each pair by 1 / G(t-)², which takes out what censoring does to the pairs; `until` leaves out
    those who left after it (Uno, Cai, Pencina, D'Agostino, Wei, Statistics in Medicine 2011, equation 6).
    One pass per distinct time of leaving. Raises DataError if no pair is comparable.
    """
    time, event = _checked(time, event)
    risk = np.asarray(risk, dtype=np.float64)
    if risk.shape != time.shape or not np.isfinite(risk).all():
        raise DataError(f"concordance: expected a finite risk for each of {len(time)} customers, got {risk.shape}")
    seen = seen_curve(time, event)
    right, pairs = 0.0, 0.0
    for t in np.unique(time[event]):
        if until is not None and t > until:
            break
        cases = risk[event & (time == t)]
        others = np.sort(risk[(time > t) | ((time == t) & ~event)])
        below, upto = (np.searchsorted(others, cases, side=side) for side in ("left", "right"))
        weight = max(float(seen.before(np.array(t))), SMALLEST_WEIGHT) ** -2 if weighted else 1.0
        right += weight * float((below + (upto - below) / 2).sum())
        pairs += weight * float(len(cases) * len(others))
    if not pairs:
        raise DataError("concordance: no two customers of whom it is known who left first")
    return right / pairs


def brier_scores(
    time: np.ndarray, event: np.ndarray, survival: np.ndarray, horizons: Sequence[float]
) -> dict[str, np.ndarray]:
    """Squared error of P(stays beyond each horizon), those no longer seen made up for by the others.

    survival [N, H] → `score` [H] and `rows` [N, H], each customer's weighted share of it (its mean is the score).
    Weights are 1 / G(t-) at the time of leaving, or at the horizon for those who stayed (Graf, Schmoor, Sauerbrei,
    Schumacher, Statistics in Medicine 1999, section 5).
    """
    time, event = _checked(time, event)
    survival = np.asarray(survival, dtype=np.float64)
    if survival.shape != (len(time), len(horizons)):
        raise DataError(f"brier: expected survival [{len(time)}, {len(horizons)}], got {survival.shape}")
    seen = seen_curve(time, event)
    at_event = 1 / np.maximum(seen.before(time), SMALLEST_WEIGHT)
    rows = np.zeros(survival.shape)
    for h, horizon in enumerate(horizons):
        left = event & (time <= horizon)
        stayed = ~left & (time >= horizon)
        at_horizon = 1 / max(float(seen.before(np.array(float(horizon)))), SMALLEST_WEIGHT)
        rows[left, h] = at_event[left] * survival[left, h] ** 2
        rows[stayed, h] = at_horizon * (1 - survival[stayed, h]) ** 2
    return {"score": rows.mean(axis=0), "rows": rows}


def integrated(values: np.ndarray, horizons: Sequence[float]) -> np.ndarray:
    """Mean over time of what is known at the horizons [..., H], by trapezoids between the first and the last."""
    values, where = np.asarray(values, dtype=np.float64), np.asarray(horizons, dtype=np.float64)
    if len(where) == 1:
        return values[..., 0]
    return np.trapezoid(values, where, axis=-1) / (where[-1] - where[0])


def survival_calibration(
    time: np.ndarray, event: np.ndarray, survival: np.ndarray, horizon: float, groups: np.ndarray, level: float = 0.95
) -> list[dict[str, float]]:
    """For each group int [N] the mean `predicted` survival beyond the horizon beside Kaplan-Meier's.

    `low` and `high` are a joint band: all groups are within it in `level` of cases where the predictions are right
    (Šidák: each at level ** (1 / groups)). Lowest group first, with its `customers`.
    """
    time, event = _checked(time, event)
    names = np.unique(groups)
    each = level ** (1 / len(names))
    found = []
    for name in names:
        rows = groups == name
        curve = kaplan_meier(time[rows], event[rows])
        low, high = curve.interval(horizon, each)
        entry = {"group": float(name), "customers": float(rows.sum()), "predicted": float(np.mean(survival[rows]))}
        found.append({**entry, "observed": curve.at(horizon), "low": low, "high": high})
    return found


@dataclass(frozen=True)
class Band:
    """Group means of a known survival, and how far chance takes what is observed from them."""

    mean: np.ndarray
    """float64 [G, H] the mean of the known survival."""
    error: np.ndarray
    """float64 [G, H] the standard error of the observed share around it."""
    factor: float
    """Standard errors within which all groups and horizons are at once in `level` of samples."""

    @property
    def low(self) -> np.ndarray:
        return self.mean - self.factor * self.error

    @property
    def high(self) -> np.ndarray:
        return self.mean + self.factor * self.error


def joint_band(known: np.ndarray, groups: np.ndarray, level: float = 0.95, samples: int = 4000, seed: int = 0) -> Band:
    """The band that the shares of customers who stay keep jointly, over all groups and horizons.

    known float64 [N, H]: each customer's true survival beyond each horizon, not rising; groups int [N]. Leaving is
    drawn `samples` times from the truth; the factor is the quantile of the greatest standardised difference. (Ten bands
    of 95 % each would be kept together only 60 % of the time.)
    """
    known = np.asarray(known, dtype=np.float64)
    names, place = np.unique(groups, return_inverse=True)
    member = (place[None, :] == np.arange(len(names))[:, None]).astype(np.float64)
    member /= member.sum(axis=1, keepdims=True)
    mean = member @ known
    error = np.sqrt((member**2) @ (known * (1 - known)))
    rng = np.random.default_rng(seed)
    largest = np.empty(samples)
    for i in range(samples):
        stays = (rng.random(len(known))[:, None] < known).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            apart = np.abs(member @ stays - mean) / error
        largest[i] = np.nanmax(np.where(error > 0, apart, 0.0))
    return Band(mean, error, float(np.quantile(largest, level, method="higher")))


def _curve(times: np.ndarray, at_risk: np.ndarray, events: np.ndarray) -> Curve:
    """Times at which nobody is left to have the event leave the curve as it is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(at_risk > 0, events / at_risk, 0.0)
        term = np.where(events > 0, events / (at_risk * (at_risk - events)), 0.0)
    return Curve(times, at_risk, events, np.cumprod(1 - share), np.cumsum(term))


def _wilson(share: float, n: int, z: float) -> tuple[float, float]:
    if not n:
        return 0.0, 1.0
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * float(np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)))
    return max(0.0, centre - half), min(1.0, centre + half)


def _checked(time: np.ndarray, event: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    time, event = np.asarray(time, dtype=np.float64), np.asarray(event).astype(bool)
    if time.ndim != 1 or time.shape != event.shape or not len(time):
        raise DataError(f"survival: times {time.shape} and events {event.shape} must be equally many, and some")
    wrong = np.flatnonzero(~np.isfinite(time) | (time <= 0))
    if len(wrong):
        raise DataError(f"survival: {len(wrong)} of {len(time)} times are not above 0 (first: row {wrong[0]})")
    return time, event
