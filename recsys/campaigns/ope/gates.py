"""Gates: whether a log can tell of a policy at all; below them there is no answer, only what is missing."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recsys.campaigns.ope.log import Floats, Log, importance_weights


@dataclass(frozen=True)
class Gates:
    """What a log must show before a policy is evaluated on it."""

    effective: float = 100.0
    """Least effective number of decisions, (Σ w)² / Σ w² (Kish 1965)."""
    rewarded: float = 10.0
    """Least effective number of rewarded decisions, (Σ w |r|)² / Σ (w r)²: few conversions say little, however many
    decisions were logged."""
    largest: float = 0.05
    """Largest share of all weight that one customer may have."""
    unsupported: float = 0.05
    """Largest share of the policy's probability on actions that the log never drew."""
    off_one: float = 0.1
    """How far the mean weight may lie from 1 beyond three of its standard errors."""


@dataclass(frozen=True)
class Overlap:
    """How far the log covers what the policy would do."""

    decisions: int
    effective: float
    rewarded: float
    """Effective number of decisions with a reward."""
    largest: float
    """Share of all weight that the customer with the most has."""
    mean_weight: float
    mean_weight_error: float
    unsupported: float
    drawn_by_chance: float
    """Share of the decisions whose propensity is below 1."""
    refused: tuple[str, ...]
    """Why there is no answer, and what would give one; empty where there is one."""

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "refused": list(self.refused)}


def overlap(log: Log, probabilities: Floats, gates: Gates | None = None) -> Overlap:
    """Measure the overlap of the log with the policy's probabilities [N, A], and say which gates it fails."""
    gate, weight = gates or Gates(), importance_weights(log, probabilities)
    total = float(weight.sum())
    by_customer = np.bincount(log.customer, weights=weight)
    effective, rewarded = _effective(weight), _effective(weight * np.abs(log.reward))
    largest = float(by_customer.max() / total) if total > 0 else 1.0
    never = np.bincount(log.action, minlength=len(log.actions)) == 0
    unsupported = float(probabilities[:, never].sum(axis=1).mean())
    mean = float(weight.mean())
    error = float(weight.std(ddof=1) / np.sqrt(len(log))) if len(log) > 1 else float("inf")
    chance = float((log.propensity < 1).mean())
    reasons = []
    if chance == 0:
        reasons.append(
            "every decision was drawn with propensity 1, so chance decided nothing and no other policy can be told "
            "from this log; keep a share of decisions to chance (an exploration floor) and log its probability"
        )
    if effective < gate.effective:
        reasons.append(
            f"the effective sample size is {effective:,.1f} of {len(log):,} decisions, below {gate.effective:,.0f}: "
            f"about {_needed(len(log), effective, gate)}, or logs drawn closer to this policy, are needed"
        )
    if rewarded < gate.rewarded:
        reasons.append(
            f"the effective number of rewarded decisions is {rewarded:,.1f}, below {gate.rewarded:,.0f}: more outcomes "
            "are needed, or a reward that is less rare"
        )
    if largest > gate.largest:
        reasons.append(
            f"one customer has {largest:.1%} of all weight, above {gate.largest:.0%}: their outcome would be the answer"
        )
    if unsupported > gate.unsupported:
        names = ", ".join(name for name, gone in zip(log.actions, never, strict=True) if gone)
        reasons.append(
            f"{unsupported:.1%} of the policy's decisions are actions that the log never drew ({names}); give them an "
            "exploration floor first"
        )
    if abs(mean - 1) > 3 * error + gate.off_one:
        reasons.append(
            f"the mean weight is {mean:.3f} and should be 1: propensities are not those that the decisions were drawn "
            "with, or the policy does what the log could not draw"
        )
    return Overlap(len(log), effective, rewarded, largest, mean, error, unsupported, chance, tuple(reasons))


def _effective(weight: Floats) -> float:
    squares = float((weight**2).sum())
    return float(weight.sum()) ** 2 / squares if squares > 0 else 0.0


def _needed(decisions: int, effective: float, gate: Gates) -> str:
    if effective <= 0:
        return "decisions that agree with this policy"
    return f"{gate.effective / effective * decisions:,.0f} decisions of this kind"
