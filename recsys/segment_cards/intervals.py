"""Intervals and tests from sufficient statistics: shares, means, ratios, many tests at once, shrinkage."""

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, stdtr, stdtrit

Z = 1.959963984540054
"""Two-sided 95 %."""


@dataclass(frozen=True)
class Estimates:
    """A value with its 95 % interval, arrays of one shape; NaN where there is nothing to estimate from."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def wilson(successes: np.ndarray, trials: np.ndarray) -> Estimates:
    """Share with the Wilson score interval (Wilson, JASA 1927); `trials` may be an effective number."""
    x, n = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(n > 0, x / n, np.nan)
        centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
        half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    low, high = (
        np.fmin(centre - half, share),
        np.fmax(centre + half, share),
    )  # rounding must not leave the share outside
    return Estimates(share, np.clip(low, 0, 1), np.clip(high, 0, 1))


def newcombe(first: tuple[np.ndarray, float], second: tuple[np.ndarray, float]) -> Estimates:
    """Difference of two shares, each with its number of trials, by the score intervals of both.

    Newcombe: Interval estimation for the difference between independent proportions, 1998, method 10.
    """
    a, b = (wilson(share * n, np.full(len(share), n)) for share, n in (first, second))
    apart = a.value - b.value
    low = apart - np.sqrt((a.value - a.low) ** 2 + (b.high - b.value) ** 2)
    high = apart + np.sqrt((a.high - a.value) ** 2 + (b.value - b.low) ** 2)
    return Estimates(apart, low, high)


def ratio_of_sums(
    x: np.ndarray, t: np.ndarray, xx: np.ndarray, xt: np.ndarray, tt: np.ndarray, customers: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Σx / Σt over customers, and its standard error by the delta method: customers, not events, are independent.

    Σx², Σx·t and Σt² are sums over the same `customers`. Deng, Knoblich, Lu: Applying the Delta Method in Metric
    Analytics, KDD 2018, section 3.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(t > 0, x / t, np.nan)
        spread = np.maximum(xx - 2 * ratio * xt + ratio**2 * tt, 0)
        correction = np.where(customers > 1, customers / np.maximum(customers - 1, 1), np.nan)
        return ratio, np.sqrt(spread * correction) / t


def clustered_wilson(share: np.ndarray, error: np.ndarray, trials: np.ndarray) -> tuple[Estimates, np.ndarray]:
    """Wilson's interval with the number of independent trials that has this standard error, and that number.

    It is never more than `trials`: events of one customer tell less than events of several.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        worth = np.where(error > 0, share * (1 - share) / error**2, trials)
    effective = np.minimum(np.asarray(trials, dtype=np.float64), worth)
    return wilson(share * effective, effective), effective


def beta_interval(successes: np.ndarray, failures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The middle 95 % of a Beta distribution; both parameters positive."""
    return betaincinv(successes, failures, 0.025), betaincinv(successes, failures, 0.975)


def dirichlet(counts: np.ndarray) -> Estimates:
    """Shares along the last axis with Jeffreys' prior (a half in each cell): posterior mean and middle 95 %."""
    after = np.asarray(counts, dtype=np.float64) + 0.5
    rest = after.sum(axis=-1, keepdims=True) - after
    low, high = beta_interval(after, np.maximum(rest, 0.5))
    return Estimates(after / (after + rest), low, high)


def shrunk(successes: np.ndarray, trials: np.ndarray) -> Estimates:
    """Rates of several groups [K], drawn to their common rate as far as the groups do not really differ.

    Beta-binomial empirical Bayes, the prior by moments (Kleinman, JASA 1973); groups without trials get the common
    rate. The interval is the posterior's, with the prior taken as known.
    """
    x, n = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    total = n.sum()
    if total <= 0:
        nothing = np.full(x.shape, np.nan)
        return Estimates(nothing, nothing.copy(), nothing.copy())
    common = x.sum() / total
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = np.where(n > 0, x / n, common)
    between = float((n * (rates - common) ** 2).sum() - ((n > 0).sum() - 1) * common * (1 - common))
    room = total - (n**2).sum() / total
    variance = min(max(between / room, 0.0) if room > 0 else 0.0, common * (1 - common))
    strength = common * (1 - common) / variance - 1 if variance > 0 else 1e6
    prior = max(strength, 1e-6)
    good, bad = x + prior * common + 1e-9, n - x + prior * (1 - common) + 1e-9
    low, high = beta_interval(good, bad)
    return Estimates(good / (good + bad), low, high)


def welch(
    difference: np.ndarray, variances: tuple[np.ndarray, np.ndarray], counts: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Half-width of the 95 % interval of a difference of two means, and its two-sided p-value (Welch, 1947).

    `variances` are unbiased; NaN where a side has fewer than two values or nothing varies.
    """
    a, b = (np.asarray(v / np.maximum(n, 1), dtype=np.float64) for v, n in zip(variances, counts, strict=True))
    known = (counts[0] >= 2) & (counts[1] >= 2) & (a + b > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = (a + b) ** 2 / (a**2 / np.maximum(counts[0] - 1, 1) + b**2 / np.maximum(counts[1] - 1, 1))
        error = np.sqrt(a + b)
        p = 2 * stdtr(freedom, -np.abs(difference) / error)
    half = error * stdtrit(np.where(known, freedom, 1.0), 0.975)
    return np.where(known, half, np.nan), np.where(known, p, np.nan)


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Adjusted p-values of a family of tests of any shape; NaN (not tested) stays NaN and counts for nothing.

    Benjamini and Hochberg, JRSS B 1995: declaring what is at most 0.05 keeps the expected share of false
    declarations at 5 %.
    """
    flat = np.asarray(p, dtype=np.float64).ravel()
    tested = np.flatnonzero(~np.isnan(flat))
    order = tested[np.argsort(flat[tested], kind="stable")]
    scaled = flat[order] * len(order) / np.arange(1, len(order) + 1)
    adjusted = np.full(flat.shape, np.nan)
    adjusted[order] = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1.0)
    return adjusted.reshape(np.shape(p))


def rounded(number: float | None) -> float | None:
    """Five significant digits, the same in whatever order floats were summed; None for what is not known."""
    return None if number is None or not np.isfinite(number) else float(f"{number:.5g}")
