"""Six estimators of a policy's value, each as one numerator and one denominator per decision.

With q(x, a) a model of the reward, q(x, π) = Σ_a π(a|x) q(x, a), w = π(a|x) / propensity and r the reward:

    DM         mean of q(x, π)
    IPS        mean of w r                                        (Horvitz and Thompson 1952)
    SNIPS      Σ w r / Σ w                                        (Swaminathan and Joachims 2015, equation 8)
    DR         mean of q(x, π) + w (r - q(x, a))                  (Dudík, Langford and Li 2011, equation 3)
    Switch-DR  DR with w set to 0 where it is above τ             (Wang, Agarwal and Dudík 2017, section 4)
    DRos       DR with λ w / (w² + λ) in the place of w           (Su et al. 2020, section 4.2)

DRos is DM at λ = 0 and DR as λ grows without end; so is Switch-DR in τ.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from recsys.campaigns.ope.log import Floats, Log, importance_weights, taken

ESTIMATORS = ("dm", "ips", "snips", "dr", "switch_dr", "dros")
TITLES = {"dm": "DM", "ips": "IPS", "snips": "SNIPS", "dr": "DR", "switch_dr": "Switch-DR", "dros": "DRos"}
"""How each estimator is written."""
GRID = tuple(float(10**power) for power in np.linspace(-2, 4, 25))
"""Candidates of τ and λ."""
Change = Callable[[Floats, float], Floats]
"""Weights and a candidate of τ or λ → changed weights."""
DELTA = 0.05
"""The bias bound holds with probability 1 - DELTA."""


@dataclass(frozen=True)
class Terms:
    """An estimate as Σ numerator / Σ denominator, so that a resample normalises anew."""

    numerator: Floats  # [N]
    denominator: Floats  # [N]
    tuned: float | None = None
    """τ of Switch-DR or λ of DRos."""

    @property
    def value(self) -> float:
        return float(self.numerator.sum() / self.denominator.sum())


def estimate(log: Log, probabilities: Floats, q: Floats) -> dict[str, Terms]:
    """Every estimator of ESTIMATORS; probabilities and q are float64 [N, A], q not fitted on the row that it tells of.

    SNIPS of a log that never drew what the policy would do is 0 / 0 and comes out as 0.
    """
    weight = importance_weights(log, probabilities)
    expected = (probabilities * q).sum(axis=1)
    residual = log.reward - taken(q, log)
    ones = np.ones(len(log))
    switched, tau = _tuned(weight, residual, expected, _switch)
    shrunk, lam = _tuned(weight, residual, expected, _shrink)
    return {
        "dm": Terms(expected, ones),
        "ips": Terms(weight * log.reward, ones),
        "snips": Terms(weight * log.reward, weight if weight.any() else ones),
        "dr": Terms(expected + weight * residual, ones),
        "switch_dr": Terms(expected + switched * residual, ones, tau),
        "dros": Terms(expected + shrunk * residual, ones, lam),
    }


def _switch(weight: Floats, tau: float) -> Floats:
    return np.where(weight <= tau, weight, 0.0)


def _shrink(weight: Floats, lam: float) -> Floats:
    return lam * weight / (weight**2 + lam)


def _tuned(weight: Floats, residual: Floats, expected: Floats, change: Change) -> tuple[Floats, float]:
    """The changed weights, and the candidate, with the smallest estimated mean squared error.

    Estimated as bound² + variance / N: the bound on the bias is |mean (w' - w)(r - q)| and what Bernstein's inequality
    adds to it; the variance is that of the terms (Su et al. 2020, section 5, direct bias estimation).
    """
    n, spread = len(weight), np.log(2 / DELTA)
    best: tuple[float, Floats, float] | None = None
    for candidate in GRID:
        changed = change(weight, candidate)
        missed = (changed - weight) * residual
        bound = abs(missed.mean()) + np.sqrt(2 * spread * missed.var() / n)
        bound += 2 * float(np.abs(missed).max()) * spread / (3 * n)
        error = float(bound**2 + (expected + changed * residual).var() / n)
        if best is None or error < best[0]:
            best = (error, changed, candidate)
    assert best is not None
    return best[1], best[2]
