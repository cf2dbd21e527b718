"""One policy evaluated on one log: the gates first, then every estimator with its intervals, or no value at all."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recsys.campaigns.ope.estimators import ESTIMATORS, Terms, estimate
from recsys.campaigns.ope.gates import Gates, Overlap, overlap
from recsys.campaigns.ope.intervals import Estimate, difference, with_intervals
from recsys.campaigns.ope.log import Floats, Log, check_policy
from recsys.errors import ConfigError


@dataclass(frozen=True)
class Evaluation:
    """What a log tells of a policy; without estimates where a gate refuses."""

    overlap: Overlap
    estimates: Mapping[str, Estimate]
    terms: Mapping[str, Terms]

    @property
    def answered(self) -> bool:
        return not self.overlap.refused

    def as_json(self) -> dict[str, Any]:
        return {
            "overlap": self.overlap.as_json(),
            "estimates": {name: asdict(found) for name, found in self.estimates.items()},
        }


@dataclass(frozen=True)
class Verdict:
    """Whether a policy may be released, and why."""

    released: bool
    reason: str
    estimator: str
    gain: Estimate | None = None
    """Value of the policy less that of the one in force, where both are known."""


def evaluate(
    log: Log,
    probabilities: np.ndarray,
    q: Floats,
    gates: Gates | None = None,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Evaluation:
    """Evaluate the policy with `probabilities` [N, A]; q [N, A] is the cross-fitted reward of every action."""
    policy = check_policy(probabilities, log)
    found = overlap(log, policy, gates)
    if found.refused:
        return Evaluation(found, {}, {})
    terms = estimate(log, policy, q)
    return Evaluation(found, with_intervals(terms, log.customer, samples, seed, level), terms)


def logged(log: Log) -> Terms:
    """The value of the policy that made the log, by the mean of what its decisions earned."""
    return Terms(log.reward, np.ones(len(log)))


def release(candidate: Evaluation, in_force: Terms, log: Log, estimator: str = "dr", level: float = 0.95) -> Verdict:
    """A policy is released only if its gain over the one in force is above 0 by the lower bound of its interval.

    in_force: terms on the same log, such as `logged(log)` where the policy in force made it. The estimator is to be
    chosen before its result is seen. Raises ConfigError for one that is none of ESTIMATORS, and for DM, whose interval
    leaves out what its model gets wrong.
    """
    if estimator not in ESTIMATORS or estimator == "dm":
        usable = ", ".join(name for name in ESTIMATORS if name != "dm")
        raise ConfigError(f"estimator {estimator!r}: a policy is released by one of {usable}")
    if not candidate.answered:
        return Verdict(False, f"not released: {candidate.overlap.refused[0]}", estimator)
    gain = difference(candidate.terms[estimator], in_force, log.customer, level)
    if gain.low > 0:
        return Verdict(
            True, "released: its gain over the policy in force is above 0 by its lower bound", estimator, gain
        )
    if gain.high < 0:
        return Verdict(False, "not released: it is worse than the policy in force", estimator, gain)
    return Verdict(False, "not released: whether it is better than the policy in force cannot be told", estimator, gain)
