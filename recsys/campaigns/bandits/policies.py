"""Four policies as probabilities of the eligible actions, before the exploration floor.

Every policy looks at the value of an action: what a conversion is worth times the reward that the belief expects, less
the action's cost.

    greedy    the best by the mean
    LinUCB    the best by mean + α × standard deviation (Li, Chu, Langford and Schapire 2010, algorithm 1)
    SquareCB  1 / (E + γ (best - value)) each of E eligible actions, the best one the rest; γ = scale × rewards^power
              (Foster and Rakhlin 2020, algorithm 1, after Abe and Long 1999)
    Thompson  how often an action is the best over S draws from the posterior (Thompson 1933; Chapelle and Li 2011)

An action is drawn from the probabilities that are returned, so the propensity that is logged is exact, for Thompson
too: its S draws are the policy, not an estimate of it. Ties go to the action that is named first.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.campaigns.bandits.posterior import Floats, Posterior, drawn, expected, spread
from recsys.errors import ConfigError

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Actions:
    """What can be done: A names, what a reward of 1 is worth under each, and what each costs, in one unit of money."""

    names: tuple[str, ...]
    worth: Floats  # [A]
    cost: Floats  # [A]

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) != len(self.names):
            raise ConfigError("actions: there must be one or more, each named once")
        if self.worth.shape != (len(self.names),) or self.cost.shape != (len(self.names),):
            raise ConfigError(f"actions: expected a worth and a cost for each of {len(self.names)} actions")

    def value(self, reward: Floats) -> Floats:
        """Value of expected rewards [..., A]."""
        worth: Floats = reward * self.worth - self.cost
        return worth


@dataclass(frozen=True)
class Greedy:
    """Always the best by the mean."""

    def probabilities(
        self, belief: Posterior, actions: Actions, features: Floats, eligible: Flags, rng: np.random.Generator
    ) -> Floats:
        return _best(actions.value(expected(belief, features)), eligible)


@dataclass(frozen=True)
class LinUCB:
    """The best by an upper bound, `alpha` standard deviations above the mean."""

    alpha: float = 1.0

    def probabilities(
        self, belief: Posterior, actions: Actions, features: Floats, eligible: Flags, rng: np.random.Generator
    ) -> Floats:
        bound = expected(belief, features) + self.alpha * spread(belief, features)
        return _best(actions.value(bound), eligible)


@dataclass(frozen=True)
class SquareCB:
    """Inverse gap weighting; `unit` is the money at which a gap counts as 1."""

    unit: float
    scale: float = 10.0
    power: float = 0.5

    def probabilities(
        self, belief: Posterior, actions: Actions, features: Floats, eligible: Flags, rng: np.random.Generator
    ) -> Floats:
        value = np.where(eligible, actions.value(expected(belief, features)), -np.inf)
        best, count = value.max(axis=1, keepdims=True), eligible.sum(axis=1, keepdims=True)
        some = np.isfinite(best)
        gap = np.where(eligible, (np.where(some, best, 0.0) - np.where(eligible, value, 0.0)) / self.unit, 0.0)
        sharp = self.scale * max(belief.seen, 1) ** self.power
        chance = np.where(eligible, 1 / (np.maximum(count, 1) + sharp * gap), 0.0)
        first = _best(value, eligible) > 0
        rest = 1 - (chance * ~first).sum(axis=1)
        return np.where(first, rest[:, None], chance)


@dataclass(frozen=True)
class Thompson:
    """How often an action is the best in so many draws."""

    draws: int = 64

    def probabilities(
        self, belief: Posterior, actions: Actions, features: Floats, eligible: Flags, rng: np.random.Generator
    ) -> Floats:
        chance = np.zeros(eligible.shape)
        for value in actions.value(drawn(belief, features, self.draws, rng)):
            chance += _best(value, eligible)
        return chance / self.draws


Policy = Greedy | LinUCB | SquareCB | Thompson
POLICIES: dict[str, type[Policy]] = {
    "greedy": Greedy,
    "lin_ucb": LinUCB,
    "square_cb": SquareCB,
    "thompson": Thompson,
}


def _best(value: Floats, eligible: Flags) -> Floats:
    """1 at the eligible action of the highest value in each row [N, A], the first of equals; rows without one are 0."""
    place = np.argmax(np.where(eligible, value, -np.inf), axis=1)
    chance = np.zeros(eligible.shape)
    rows = np.flatnonzero(eligible.any(axis=1))
    chance[rows, place[rows]] = 1.0
    return chance
