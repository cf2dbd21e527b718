"""An interval that stays valid however often one looks: the asymptotic confidence sequence of Waudby-Smith et al."""

import numpy as np

from recsys.campaigns.intervals import Estimate

PLANNED = 5_000
"""Units at which the sequence is narrowest, fixed before the data: another number is as valid, if chosen beforehand."""
ALPHA = 0.05


def tuned_rho(planned: int = PLANNED, alpha: float = ALPHA) -> float:
    """The parameter that makes the sequence narrowest at `planned` units.

    Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas: Time-uniform central limit theory and asymptotic confidence
    sequences, equation 161 (approximately optimal, two-sided).
    """
    log = -2 * np.log(alpha)
    return float(np.sqrt((log + np.log(log + 1)) / planned))


def half_width(variance: np.ndarray | float, units: np.ndarray | float, rho: float, alpha: float = ALPHA) -> np.ndarray:
    """Half the width at `units` independent units whose influences have this variance; both of one shape.

    Equation 9 of the same: σ √( 2 (n ρ² + 1) / (n ρ)² · log( √(n ρ² + 1) / α ) ).
    """
    n = np.asarray(units, dtype=np.float64)
    grown = n * rho**2 + 1
    return np.sqrt(np.asarray(variance) * 2 * grown / (n * rho) ** 2 * np.log(np.sqrt(grown) / alpha))


def always_valid(value: float, error: float, units: int, planned: int = PLANNED) -> Estimate:
    """An estimate with this standard error from so many units of all arms, valid at every look.

    The variance of one unit's influence is units · error².
    """
    if units < 2 or not np.isfinite(error):
        return Estimate(value, np.nan, np.nan, "confidence sequence")
    half = float(half_width(units * error**2, units, tuned_rho(planned)))
    return Estimate(value, value - half, value + half, "confidence sequence")
