"""Bandits on the synthetic bank's truth: regret, what is logged, and off-policy evaluation of that log."""

import numpy as np
import pytest

from recsys.campaigns.bandits.bandit import Bandit
from recsys.campaigns.bandits.policies import Actions, Greedy, Policy, Thompson
from recsys.campaigns.bandits.posterior import prior
from recsys.campaigns.bandits.simulation import Round, growth, references, simulate
from recsys.errors import DataError
from recsys.synthetic.decisions import ACTIONS, COSTS, WORTH, opportunities


@pytest.fixture(scope="module")
def rounds() -> list[Round]:
    return [
        Round(one.features[part], one.eligible[part], one.value[part], one.chance[part], one.believed[part])
        for one in opportunities(500, seed=0, months=14)
        for part in (one.customer % 2 == half for half in range(2))
    ]


def _bandit(policy: Policy, rounds: list[Round]) -> Bandit:
    return Bandit(Actions(ACTIONS, WORTH, COSTS), prior("linear", rounds[0].features.shape[2], 0.03**2, 0.05), policy)


def test_learning_beats_chance_and_the_best_one_action(rounds: list[Round]) -> None:
    beside = references(rounds)
    for policy in (Thompson(draws=30), Greedy()):
        run = simulate(_bandit(policy, rounds), rounds, seed=0)
        assert run.regret.sum() < 0.75 * beside["static"].sum() < beside["static"].sum() < beside["random"].sum()
        assert growth(run.regret, beside["random"]) < 0.9
        assert run.propensity.min() >= 0.03 / len(ACTIONS), "nothing that was drawn was impossible"
        assert (run.regret >= 0).all()


def test_chance_never_learns(rounds: list[Round]) -> None:
    beside = references(rounds)
    assert growth(beside["random"], beside["random"]) == pytest.approx(1.0)


def test_the_same_seed_gives_the_same_run(rounds: list[Round]) -> None:
    few = rounds[:6]
    one, again = (simulate(_bandit(Thompson(draws=10), few), few, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.regret, again.regret)
    np.testing.assert_array_equal(one.propensity, again.propensity)


def test_no_rounds_are_refused() -> None:
    with pytest.raises(DataError, match="no rounds"):
        simulate(Bandit(Actions(("none",), np.zeros(1), np.zeros(1)), prior("linear", 1), Greedy()), [], seed=0)
