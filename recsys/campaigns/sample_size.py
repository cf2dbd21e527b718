"""How many customers, and how many days, a test needs to show a wanted effect."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from recsys.campaigns.sequential import half_width, tuned_rho
from recsys.segment_cards.intervals import Z

POWER = 0.8


@dataclass(frozen=True)
class Design:
    """Sizes of a test of one control and `arms` treated arms."""

    control: int
    each_arm: int
    arms: int
    watched: int
    """Customers in all that are needed if one looks at any time with the always-valid interval."""

    @property
    def total(self) -> int:
        return self.control + self.arms * self.each_arm

    def days(self, per_day: float, watched: bool = False) -> int:
        """Days to reach them at so many customers a day."""
        return int(np.ceil((self.watched if watched else self.total) / per_day))


def sample_per_arm(rate: float, size: float) -> int | None:
    """Customers for each of two arms to see a difference of `size` from `rate`: 80 % power, 5 % two-sided."""
    if size == 0 or not 0 < rate < 1:
        return None
    spread = _variance(rate) + _variance(min(max(rate + size, 0.0), 1.0))
    return int(np.ceil((Z + ndtri(POWER)) ** 2 * spread / size**2))


def design(
    variances: tuple[float, float],
    size: float,
    power: float = POWER,
    alpha: float = 0.05,
    control_share: float = 0.5,
    arms: int = 1,
    variance_factor: float = 1.0,
) -> Design:
    """Sizes to see a difference of `size` between a treated arm and the control.

    `variances` are those of one customer's outcome in a treated arm and in the control; `control_share` is that of all
    customers who are kept as the control, the treated arms share the rest evenly; several arms are tested at
    alpha / arms each (Bonferroni), and `variance_factor` is what CUPED leaves (1 - correlation²). Normal approximation.
    Raises ValueError for a size of zero or a share outside 0 to 1.
    """
    if size == 0 or not 0 < control_share < 1 or arms < 1 or not 0 < power < 1:
        raise ValueError("expected a size other than zero, 0 < control_share < 1, 0 < power < 1, one arm or more")
    own_share = (1 - control_share) / arms
    spread = variance_factor * (variances[0] / own_share + variances[1] / control_share)
    needed = (ndtri(1 - alpha / arms / 2) + ndtri(power)) ** 2 * spread / size**2
    control, each = int(np.ceil(needed * control_share)), int(np.ceil(needed * own_share))
    pair = own_share + control_share
    watched = _watched(spread * pair, size, power, alpha / arms) / pair
    return Design(control, each, arms, int(np.ceil(watched)))


def share_design(rate: float, size: float, **options: float) -> Design:
    """`design` for a share of `rate` that is to become rate + size. Raises ValueError where that is no share."""
    if not 0 < rate < 1:
        raise ValueError(f"the rate without contact must lie between 0 and 1, found {rate:.4g}")
    if not 0 <= rate + size <= 1:
        raise ValueError(f"a share of {rate:.4g} cannot become {rate + size:.4g}")
    return design((_variance(rate + size), _variance(rate)), size, **options)  # type: ignore[arg-type]


def detectable(variances: tuple[float, float], counts: tuple[int, int], power: float = POWER) -> float:
    """The smallest difference that two arms of these sizes show with this power, 5 % two-sided."""
    error = np.sqrt(variances[0] / counts[0] + variances[1] / counts[1])
    return float((Z + ndtri(power)) * error)


def _variance(rate: float) -> float:
    return rate * (1 - rate)


def _watched(variance: float, size: float, power: float, alpha: float) -> float:
    """Units of two arms at which the confidence sequence, tuned to that number, leaves out zero with this power."""
    low, high = 2.0, 4.0
    while not _seen(high, variance, size, power, alpha):
        low, high = high, 2 * high
    while high / low > 1.0001:
        middle = (low + high) / 2
        low, high = (low, middle) if _seen(middle, variance, size, power, alpha) else (middle, high)
    return high


def _seen(units: float, variance: float, size: float, power: float, alpha: float) -> bool:
    half = float(half_width(variance, units, tuned_rho(int(np.ceil(units)), alpha), alpha))
    return bool(abs(size) >= half + float(ndtri(power)) * np.sqrt(variance / units))
