"""A randomised comparison of two arms: Welch's difference, relative lift, and CUPED, from mergeable moments."""

from dataclasses import dataclass, replace

import numpy as np

from recsys.campaigns.intervals import Estimate, Fieller, difference_of_shares, fieller
from recsys.segment_cards.intervals import welch


@dataclass(frozen=True)
class Moments:
    """Counts, means and centred sums of squares of an outcome y and a covariate x; two of them add up."""

    count: int
    y: float
    x: float
    yy: float
    xx: float
    xy: float

    @classmethod
    def of(cls, y: np.ndarray, x: np.ndarray | None = None) -> "Moments":
        """Of independent units [n]; without `x` the covariate is zero throughout."""
        n = len(y)
        if n == 0:
            return cls(0, 0.0, 0.0, 0.0, 0.0, 0.0)
        x = np.zeros(n) if x is None else x
        mean_y, mean_x = float(y.mean()), float(x.mean())
        dy, dx = y - mean_y, x - mean_x
        return cls(n, mean_y, mean_x, float(dy @ dy), float(dx @ dx), float(dx @ dy))

    def __add__(self, other: "Moments") -> "Moments":
        """Of both together (Chan, Golub, LeVeque 1979)."""
        n = self.count + other.count
        if not self.count or not other.count:
            return self if self.count else other
        dy, dx, share = other.y - self.y, other.x - self.x, self.count * other.count / n
        weight = other.count / n
        return Moments(
            n,
            self.y + dy * weight,
            self.x + dx * weight,
            self.yy + other.yy + dy * dy * share,
            self.xx + other.xx + dx * dx * share,
            self.xy + other.xy + dx * dy * share,
        )

    @property
    def variance(self) -> float:
        """Unbiased, of y; NaN for fewer than two units."""
        return self.yy / (self.count - 1) if self.count > 1 else np.nan

    def adjusted(self, theta: float, centre: float) -> "Moments":
        """Of y - theta (x - centre)."""
        square = max(self.yy - 2 * theta * self.xy + theta * theta * self.xx, 0.0)
        return replace(self, y=self.y - theta * (self.x - centre), yy=square, xy=self.xy - theta * self.xx)


@dataclass(frozen=True)
class Comparison:
    """A treated arm beside the control."""

    treated: float
    control: float
    difference: Estimate
    relative: Fieller
    """Difference as a share of the control's mean."""
    error: float
    """Standard error of the difference."""
    p: float
    """Two-sided, by Welch's t; NaN where nothing varies."""
    count: int
    """Units of both arms."""
    variance_factor: float = 1.0
    """What a covariate left of the outcome's variance: 1 - correlation²."""


def compare(treated: Moments, control: Moments, shares: bool = False) -> Comparison:
    """Mean of the treated less that of the control by Welch (1947); for `shares` with Newcombe's interval."""
    value = treated.y - control.y
    sides = (treated, control)
    variances = tuple(np.array([side.variance]) for side in sides)
    counts = tuple(np.array([side.count]) for side in sides)
    half, p = (float(part[0]) for part in welch(np.array([value]), variances, counts))  # type: ignore[arg-type]
    own, base = (side.variance / side.count if side.count > 1 else np.nan for side in sides)
    if shares:
        pairs = [(side.y * side.count, side.count) for side in sides]
        difference = difference_of_shares(pairs[0], pairs[1])
    else:
        difference = Estimate(value, value - half, value + half, "Welch")
    relative = fieller(value, control.y, own + base, base, -base)
    count = treated.count + control.count
    return Comparison(treated.y, control.y, difference, relative, float(np.sqrt(own + base)), p, count)


def theta(both: Moments) -> float:
    """CUPED's coefficient cov(x, y) / var(x), pooled over the arms; zero where the covariate never varies."""
    return both.xy / both.xx if both.xx > 0 else 0.0


def cuped(treated: Moments, control: Moments, every: Moments | None = None) -> Comparison:
    """`compare` of y - theta (x - mean x), where x is known from before the contact.

    Deng, Xu, Kohavi, Walker: Improving the Sensitivity of Online Controlled Experiments, WSDM 2013. `every` are all
    arms where there are more than two: theta is the same for each comparison.
    """
    both = every or treated + control
    slope = theta(both)
    found = compare(treated.adjusted(slope, both.x), control.adjusted(slope, both.x))
    left = 1 - both.xy**2 / (both.xx * both.yy) if both.xx > 0 and both.yy > 0 else 1.0
    named = replace(found.difference, method="CUPED, Welch")
    return replace(found, difference=named, variance_factor=left)
