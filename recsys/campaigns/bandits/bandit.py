"""A bandit: decides among eligible actions with an exploration floor, waits for rewards, and learns from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recsys.campaigns.bandits.policies import Actions, Flags, Policy
from recsys.campaigns.bandits.posterior import Floats, Posterior, updated
from recsys.errors import ConfigError, DataError

Ints = NDArray[np.int64]
FLOOR = 0.03
"""Share of decisions that are drawn uniformly from the eligible actions."""
NOTHING = -1
"""The action of a customer for whom nothing is eligible."""


@dataclass(frozen=True)
class Choice:
    """What was decided for N customers."""

    action: Ints  # [N] index of the actions, NOTHING where none is eligible
    propensity: Floats  # [N] probability with which it was drawn; 1 for NOTHING
    probabilities: Floats  # [N, A] of every action, 0 where not eligible


@dataclass
class Bandit:
    """A belief, a policy over actions, and the decisions whose rewards have not come yet."""

    actions: Actions
    belief: Posterior
    policy: Policy
    floor: float = FLOOR
    pending: dict[str, Floats] = field(default_factory=dict)
    """Decision id → the features [D] of the action taken."""

    def __post_init__(self) -> None:
        if not 0 <= self.floor <= 1:
            raise ConfigError(f"floor {self.floor}: the share of decisions left to chance lies in [0, 1]")

    def probabilities(self, features: Floats, eligible: Flags, rng: np.random.Generator) -> Floats:
        """(1 - floor) × the policy's probabilities + floor / E for each of E eligible actions; [N, A].

        features: [N, A, D]; eligible: [N, A], consent and caps included: the floor stays inside it. Rows without an
        eligible action are 0. Raises DataError for shapes that do not fit.
        """
        wanted = (len(eligible), len(self.actions.names))
        if eligible.shape != wanted or features.shape != (*wanted, self.belief.size):
            raise DataError(
                f"decide: expected eligible {wanted} and features {(*wanted, self.belief.size)}, "
                f"got {eligible.shape} and {features.shape}"
            )
        if not np.isfinite(features).all():
            raise DataError("decide: features must be finite")
        policy = self.policy.probabilities(self.belief, self.actions, features, eligible, rng)
        count = np.maximum(eligible.sum(axis=1, keepdims=True), 1)
        return np.asarray((1 - self.floor) * policy + self.floor * eligible / count, dtype=np.float64)

    def decide(self, ids: Sequence[str], features: Floats, eligible: Flags, rng: np.random.Generator) -> Choice:
        """Draw an action for each decision id and remember what it was about until its reward comes.

        Raises DataError for an id that is waiting for a reward already or stands twice.
        """
        if len(ids) != len(eligible) or len(set(ids)) != len(ids):
            raise DataError(f"decide: expected {len(eligible):,} different ids, got {len(set(ids)):,} of {len(ids):,}")
        again = [name for name in ids if name in self.pending]
        if again:
            raise DataError(f"decide: {len(again):,} ids are waiting for their reward already (first: {again[0]})")
        chances = self.probabilities(features, eligible, rng)
        some = eligible.any(axis=1)
        reached = chances.cumsum(axis=1) > rng.random(len(chances))[:, None] * chances.sum(axis=1, keepdims=True)
        action = np.where(some, reached.argmax(axis=1), NOTHING).astype(np.int64)
        every = np.arange(len(action))
        propensity = np.where(some, chances[every, np.maximum(action, 0)], 1.0)
        for row in np.flatnonzero(some).tolist():
            self.pending[ids[row]] = np.array(features[row, action[row]])
        return Choice(action, propensity, chances)

    def learn(self, rewards: Mapping[str, float]) -> None:
        """Take in what became of decisions, by id, whenever it is known; a decision is learned from once.

        Where nothing came of a decision its reward is 0, said when the time for it has passed. Raises DataError for a
        reward without a decision (one that was never made, or whose reward has come before); then nothing is learned.
        """
        strangers = [name for name in rewards if name not in self.pending]
        if strangers:
            raise DataError(
                f"rewards: {len(strangers):,} of {len(rewards):,} belong to no decision that waits for one "
                f"(first: {strangers[0]}); a reward follows its decision and comes once"
            )
        if not rewards:
            return
        features = np.stack([self.pending[name] for name in rewards])
        self.belief = updated(self.belief, features, np.array(list(rewards.values()), dtype=np.float64))
        for name in rewards:
            del self.pending[name]

    def forget(self, ids: Sequence[str]) -> None:
        """Drop decisions that will never be told of, such as those of an erased customer."""
        for name in ids:
            self.pending.pop(name, None)
