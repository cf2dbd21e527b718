"""One figure with its 95 % interval and the name of the method: shares, rates, means, ratios of sums, Fieller."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import gammaincinv, stdtrit

from recsys.segment_cards.intervals import Z, clustered_wilson, newcombe, ratio_of_sums, rounded, wilson


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; NaN where there is nothing to estimate from, infinite where it has no bound."""

    value: float
    low: float
    high: float
    method: str

    @property
    def sign(self) -> int:
        """1 or -1 where the interval leaves out zero, else 0."""
        return 1 if self.low > 0 else -1 if self.high < 0 else 0

    def told(self) -> dict[str, Any]:
        """For JSON: five digits; null for what is not known or not bounded."""
        return {
            "value": rounded(self.value),
            "low": rounded(self.low),
            "high": rounded(self.high),
            "method": self.method,
        }


NOTHING = Estimate(np.nan, np.nan, np.nan, "not known")


def share(successes: float, trials: float) -> Estimate:
    """Share of independent trials with Wilson's score interval (JASA 1927)."""
    if trials <= 0:
        return NOTHING
    found = wilson(np.array([successes]), np.array([trials]))
    return Estimate(float(found.value[0]), float(found.low[0]), float(found.high[0]), "Wilson")


def clustered_share(x: np.ndarray, t: np.ndarray) -> Estimate:
    """Σx / Σt over customers, `x` and `t` [n] of each, for events that are yes or no.

    Wilson's interval where every customer is one trial; otherwise with the number of independent trials that has the
    standard error by customer.
    """
    total, n = float(t.sum()), int((t > 0).sum())
    if total <= 0:
        return NOTHING
    if t.max() <= 1:
        return share(float(x.sum()), total)
    found, error = _ratio(x, t, n)
    own, _ = clustered_wilson(found, error, np.array([total]))
    return Estimate(float(own.value[0]), float(own.low[0]), float(own.high[0]), "Wilson, clustered by customer")


def rate(events: float, exposure: float) -> Estimate:
    """Events per unit of exposure with Garwood's exact Poisson interval (Biometrika 1936)."""
    if exposure <= 0:
        return NOTHING
    low = float(gammaincinv(events, 0.025)) if events > 0 else 0.0
    high = float(gammaincinv(events + 1, 0.975))
    return Estimate(events / exposure, low / exposure, high / exposure, "Garwood")


def mean(values: np.ndarray) -> Estimate:
    """Mean of independent values [n] with Student's interval; no interval for fewer than two."""
    n = len(values)
    if n == 0:
        return NOTHING
    value = float(values.mean())
    if n < 2:
        return Estimate(value, np.nan, np.nan, "Student")
    half = float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / np.sqrt(n))
    return Estimate(value, value - half, value + half, "Student")


def ratio(x: np.ndarray, t: np.ndarray) -> Estimate:
    """Σx / Σt over customers, `x` and `t` [n] of each, by the delta method: customers are independent, not events.

    Deng, Knoblich, Lu: Applying the Delta Method in Metric Analytics, KDD 2018, section 3.
    """
    if t.sum() <= 0:
        return NOTHING
    value, error = (float(part[0]) for part in _ratio(x, t, len(x)))
    return Estimate(value, value - Z * error, value + Z * error, "delta method, clustered by customer")


def difference_of_shares(treated: tuple[float, float], control: tuple[float, float]) -> Estimate:
    """First less second share, each as (successes, trials), by Newcombe's method 10 (Statistics in Medicine 1998)."""
    if min(treated[1], control[1]) <= 0:
        return NOTHING
    first, second = ((np.array([x / n]), n) for x, n in (treated, control))
    found = newcombe(first, second)
    return Estimate(float(found.value[0]), float(found.low[0]), float(found.high[0]), "Newcombe")


@dataclass(frozen=True)
class Fieller:
    """The ratios that two uncertain numbers allow at 95 %.

    interval: from `low` to `high`. rays: at most `low` or at least `high`, because the denominator may be zero.
    everything: the data exclude no ratio.
    """

    value: float
    low: float
    high: float
    shape: Literal["interval", "rays", "everything"]

    def estimate(self) -> Estimate:
        """The same as an Estimate; without bounds where there is no interval."""
        bounded = self.shape == "interval"
        return Estimate(self.value, self.low if bounded else np.nan, self.high if bounded else np.nan, "Fieller")

    def told(self) -> dict[str, Any]:
        """For JSON; the two ends of the rays are `at_most` and `at_least`."""
        found = self.estimate().told() | {"shape": self.shape}
        if self.shape == "rays":
            found |= {"at_most": rounded(self.low), "at_least": rounded(self.high)}
        return found


def fieller(
    a: float, b: float, variance_a: float, variance_b: float, covariance: float = 0.0, quantile: float = Z
) -> Fieller:
    """a / b for two estimates with these variances: all ratios r for which a - r b is not away from zero.

    Fieller, JRSS B 1954. With `variance_a` and `covariance` zero it inverts the interval of the denominator.
    """
    square = quantile**2
    first, middle, last = b * b - square * variance_b, a * b - square * covariance, a * a - square * variance_a
    value = a / b if b else np.nan
    room = middle * middle - first * last
    if first > 0:
        root = np.sqrt(max(room, 0.0))
        return Fieller(value, (middle - root) / first, (middle + root) / first, "interval")
    if first < 0 and room > 0:
        root = np.sqrt(room)
        ends = sorted(((middle - root) / first, (middle + root) / first))
        return Fieller(value, ends[0], ends[1], "rays")
    return Fieller(value, np.nan, np.nan, "everything")


def ratio_by_fieller(x: np.ndarray, t: np.ndarray) -> Fieller:
    """Σx / Σt over customers [n] by Fieller: holds up where few customers bring all of the denominator."""
    n = len(x)
    if n < 2:
        return Fieller(float(x.sum() / t.sum()) if n and t.sum() else np.nan, np.nan, np.nan, "everything")
    spread = np.cov(x, t) / n
    return fieller(float(x.mean()), float(t.mean()), spread[0, 0], spread[1, 1], spread[0, 1])


def _ratio(x: np.ndarray, t: np.ndarray, customers: int) -> tuple[np.ndarray, np.ndarray]:
    """Σx / Σt and its standard error, each [1]."""
    x, t = np.asarray(x, dtype=np.float64), np.asarray(t, dtype=np.float64)
    first, second, xx, xt, tt = (np.array([part.sum()]) for part in (x, t, x * x, x * t, t * t))
    return ratio_of_sums(first, second, xx, xt, tt, np.array([customers]))
