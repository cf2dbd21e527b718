"""A bandit run through rounds whose truth is known: its regret, beside that of chance and of the best one action."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.campaigns.bandits.bandit import Bandit
from recsys.campaigns.bandits.policies import Flags
from recsys.campaigns.bandits.posterior import Floats
from recsys.errors import DataError


@dataclass(frozen=True)
class Round:
    """Customers who are decided about together: N of them, A actions, the first of which is to do nothing."""

    features: Floats  # [N, A, D]
    eligible: Flags  # [N, A]
    value: Floats  # [N, A] true money that each action adds
    chance: Floats  # [N, A] true probability of a conversion under each action
    believed: Floats  # [N, A] probability of it without any contact, as the bank takes it to be


@dataclass(frozen=True)
class Run:
    """What each round cost against the oracle, and the propensities logged, all rounds after each other."""

    regret: Floats  # [T] money
    propensity: Floats  # [decisions]


def simulate(bandit: Bandit, rounds: Iterable[Round], seed: int, slowest: int = 4) -> Run:
    """Decide round by round; a decision's reward comes 1 to `slowest` rounds later, and rewards of one day together.

    The reward is whether the product was acquired less what the bank believed without contact, so that its expectation
    is what the contact adds and the error of that belief. Decisions for nothing are known to add nothing.
    """
    rng = np.random.default_rng([seed, 1])
    world = np.random.default_rng([seed, 2])
    arriving: dict[int, dict[str, float]] = {}
    regret, propensities = [], []
    for number, one in enumerate(rounds):
        bandit.learn(arriving.pop(number, {}))
        size = len(one.eligible)
        ids = [f"{number}-{row}" for row in range(size)]
        choice = bandit.decide(ids, one.features, one.eligible, rng)
        every, action = np.arange(size), np.maximum(choice.action, 0)
        converted = world.random(size) < one.chance[every, action]
        late = number + 1 + (world.random(size) * slowest).astype(int)
        reward = converted - one.believed[every, action]
        for row in np.flatnonzero(action > 0).tolist():
            arriving.setdefault(int(late[row]), {})[ids[row]] = float(reward[row])
        bandit.forget([ids[row] for row in np.flatnonzero(action == 0).tolist()])
        regret.append(float((_oracle(one) - one.value[every, action]).sum()))
        propensities.append(choice.propensity)
    if not regret:
        raise DataError("simulate: there are no rounds to decide in")
    return Run(np.array(regret), np.concatenate(propensities))


def references(rounds: Sequence[Round]) -> dict[str, Floats]:
    """Regret of each round, [T]: of a uniform choice among the eligible, and of the best action of hindsight.

    `static` takes the one action that earned the most over all rounds wherever it is eligible, and nothing elsewhere.
    """
    totals = np.sum([np.where(one.eligible, one.value, 0.0).sum(axis=0) for one in rounds], axis=0)
    best = int(np.argmax(totals))
    uniform, static = [], []
    for one in rounds:
        oracle, value = _oracle(one).sum(), np.where(one.eligible, one.value, 0.0)
        uniform.append(oracle - (value.sum(axis=1) / one.eligible.sum(axis=1)).sum())
        static.append(oracle - value[:, best].sum())
    return {"random": np.array(uniform), "static": np.array(static)}


def growth(regret: Floats, clock: Floats, skipped: float = 0.25) -> float:
    """The exponent b of cumulative regret ~ t^b, by least squares on logs after the first `skipped` of the rounds.

    Time t is what a uniform choice has lost so far, cumulated from `clock` [T]: months differ in how much there is to
    lose, and in this time the exponent of a policy that never learns is 1. Below 1 the share lost falls as the bandit
    learns; 0.5 is the rate of the theory for models that hold.
    """
    total, time = np.cumsum(regret), np.cumsum(clock)
    late = np.arange(len(total)) >= skipped * len(total)
    return float(np.polyfit(np.log(time[late]), np.log(np.maximum(total[late], 1e-9)), 1)[0])


def _oracle(one: Round) -> Floats:
    """True value of the best eligible action of each customer, [N]."""
    best: Floats = np.where(one.eligible, one.value, -np.inf).max(axis=1)
    return best
