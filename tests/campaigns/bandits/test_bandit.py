"""Bandits: masks, propensities, the floor, late rewards, and state that survives a file."""

from pathlib import Path

import numpy as np
import pytest

from recsys.campaigns.bandits.bandit import NOTHING, Bandit
from recsys.campaigns.bandits.policies import Actions, Greedy, LinUCB, Policy, SquareCB, Thompson
from recsys.campaigns.bandits.posterior import Posterior, expected, prior, spread, updated
from recsys.campaigns.bandits.state_file import load, save
from recsys.errors import ConfigError, DataError

ACTIONS = Actions(("none", "e-mail", "call"), np.array([0.0, 100.0, 100.0]), np.array([0.0, 1.0, 20.0]))
EVERY: tuple[Policy, ...] = (Greedy(), LinUCB(), SquareCB(unit=100.0), Thompson(draws=50))


def _features(size: int, seed: int = 0) -> np.ndarray:
    """[N, 3, 4]: a constant and x for e-mail, the same for calls, nothing for nothing."""
    x = np.random.default_rng(seed).normal(size=size)
    one = np.stack([np.ones(size), x], axis=1)
    none = np.zeros_like(one)
    parts = [np.concatenate(pair, axis=1) for pair in ((none, none), (one, none), (none, one))]
    return np.stack(parts, axis=1)


def _taught(policy: Policy, floor: float = 0.05) -> Bandit:
    """A bandit that has seen that e-mail converts 30 % and a call 10 %."""
    bandit = Bandit(ACTIONS, prior("linear", 4, 0.1, 0.2), policy, floor)
    features, rng = _features(400), np.random.default_rng(0)
    rows = np.concatenate([features[:200, 1], features[200:, 2]])
    bandit.belief = updated(bandit.belief, rows, (rng.random(400) < np.repeat([0.3, 0.1], 200)).astype(float))
    return bandit


@pytest.mark.parametrize("policy", EVERY)
def test_only_eligible_actions_are_ever_drawn_and_each_at_its_logged_rate(policy: Policy) -> None:
    bandit, size = _taught(policy, floor=0.1), 4000
    eligible = np.tile([[True, True, True], [True, False, True], [False, False, True], [False] * 3], (size // 4, 1))
    choice = bandit.decide([f"D{i}" for i in range(size)], _features(size), eligible, np.random.default_rng(1))
    every = np.arange(size)
    some = eligible.any(axis=1)
    assert eligible[every[some], choice.action[some]].all(), "consent binds the exploration floor as well"
    assert (choice.action[~some] == NOTHING).all() and (choice.propensity[~some] == 1).all()
    np.testing.assert_allclose(choice.probabilities[some].sum(axis=1), 1.0)
    assert (choice.probabilities[eligible] >= 0.1 / 3 - 1e-12).all() and (choice.probabilities[~eligible] == 0).all()
    np.testing.assert_allclose(choice.propensity[some], choice.probabilities[every[some], choice.action[some]])
    for action in range(3):
        chance = choice.probabilities[some, action]
        seen = (choice.action[some] == action).sum()
        assert abs(seen - chance.sum()) < 4 * np.sqrt((chance * (1 - chance)).sum()) + 1e-9
    assert len(bandit.pending) == some.sum(), "what was not decided about waits for no reward"


def test_what_was_learned_is_used() -> None:
    eligible, features = np.ones((50, 3), dtype=bool), _features(50, 3)
    for policy in EVERY:
        chances = _taught(policy, floor=0.0).probabilities(features, eligible, np.random.default_rng(0))
        assert chances.mean(axis=0).argmax() == 1, policy


def test_exploration_narrows_as_rewards_come() -> None:
    eligible, features = np.ones((1, 3), dtype=bool), _features(1, 3)
    for policy in (SquareCB(unit=100.0), Thompson(draws=400)):
        fresh = Bandit(ACTIONS, prior("linear", 4, 0.1, 0.2), policy, 0.0)
        before = fresh.probabilities(features, eligible, np.random.default_rng(0)).max()
        assert _taught(policy, 0.0).probabilities(features, eligible, np.random.default_rng(0)).max() > before + 0.1


def test_a_late_batch_teaches_as_much_as_rewards_one_by_one() -> None:
    features, rewards = _features(60)[:, 1], np.random.default_rng(0).random(60)
    whole = updated(prior("linear", 4, 0.5, 0.3), features, rewards)
    by_one = prior("linear", 4, 0.5, 0.3)
    for row in np.random.default_rng(1).permutation(60):
        by_one = updated(by_one, features[row : row + 1], rewards[row : row + 1])
    np.testing.assert_allclose(by_one.mean, whole.mean, atol=1e-10)
    np.testing.assert_allclose(by_one.precision, whole.precision, atol=1e-8)
    assert whole.seen == by_one.seen == 60


def test_the_linear_posterior_is_ridge_regression() -> None:
    features, rewards = _features(80)[:, 2], np.random.default_rng(0).random(80)
    ridge = np.linalg.solve(features.T @ features + 0.3 / 0.5 * np.eye(4), features.T @ rewards)
    np.testing.assert_allclose(updated(prior("linear", 4, 0.5, 0.3), features, rewards).mean, ridge)


def test_the_logistic_posterior_finds_rates_and_how_sure_they_are() -> None:
    rng = np.random.default_rng(0)
    features, belief = np.ones((1, 1)), prior("logistic", 1, 4.0)
    for _ in range(10):
        belief = updated(belief, np.ones((100, 1)), (rng.random(100) < 0.2).astype(float))
    found, width = float(expected(belief, features)[0]), float(spread(belief, features)[0])
    assert abs(found - 0.2) < 3 * width
    assert width == pytest.approx(np.sqrt(0.2 * 0.8 / 1000), rel=0.1)
    with pytest.raises(DataError, match=r"rewards in \[0, 1\]"):
        updated(belief, np.ones((1, 1)), np.array([1.5]))


def test_rewards_need_a_decision_and_come_once() -> None:
    bandit = _taught(Greedy())
    before = bandit.belief
    with pytest.raises(DataError, match="2 of 2 belong to no decision that waits for one .first: D1"):
        bandit.learn({"D1": 1.0, "D2": 0.0})
    bandit.decide(["D1", "D2"], _features(2), np.ones((2, 3), dtype=bool), np.random.default_rng(0))
    with pytest.raises(DataError, match="waiting for their reward already"):
        bandit.decide(["D1"], _features(1), np.ones((1, 3), dtype=bool), np.random.default_rng(0))
    with pytest.raises(DataError, match="first: D3"):
        bandit.learn({"D1": 1.0, "D3": 0.0})
    assert bandit.belief is before and len(bandit.pending) == 2, "a batch that is refused teaches nothing"
    bandit.learn({"D1": 1.0})
    assert bandit.belief.seen == before.seen + 1 and list(bandit.pending) == ["D2"]
    with pytest.raises(DataError, match="comes once"):
        bandit.learn({"D1": 1.0})
    bandit.forget(["D2", "never made"])
    assert not bandit.pending


@pytest.mark.parametrize("policy", EVERY)
def test_state_survives_a_file_without_pickle(tmp_path: Path, policy: Policy) -> None:
    bandit, path = _taught(policy), tmp_path / "bandit.npz"
    bandit.decide(["A", "Ä"], _features(2), np.ones((2, 3), dtype=bool), np.random.default_rng(0))
    save(bandit, path)
    again = load(path)
    eligible, features = np.ones((5, 3), dtype=bool), _features(5, 9)
    np.testing.assert_array_equal(
        again.probabilities(features, eligible, np.random.default_rng(2)),
        bandit.probabilities(features, eligible, np.random.default_rng(2)),
    )
    again.learn({"A": 1.0, "Ä": 0.0})
    assert again.belief.seen == 402
    first = path.read_bytes()
    save(bandit, path)
    assert path.read_bytes() == first
    with np.load(path, allow_pickle=False) as archive:
        assert all(archive[name].dtype.kind != "O" for name in archive.files)


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bandit.npz"
    with pytest.raises(DataError, match=r"bandit\.npz: is no state of a bandit"):
        load(path)
    save(_taught(Greedy()), path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="is no state of a bandit"):
        load(path)


def test_what_no_bandit_can_be_made_of_is_named() -> None:
    with pytest.raises(ConfigError, match="each named once"):
        Actions(("a", "a"), np.zeros(2), np.zeros(2))
    with pytest.raises(ConfigError, match="a worth and a cost for each of 2"):
        Actions(("a", "b"), np.zeros(3), np.zeros(2))
    with pytest.raises(ConfigError, match="must all be above 0"):
        prior("linear", 4, 0.0)
    with pytest.raises(ConfigError, match=r"floor 1\.5"):
        Bandit(ACTIONS, prior("linear", 4), Greedy(), 1.5)
    belief: Posterior = prior("linear", 4)
    with pytest.raises(DataError, match="expected features"):
        updated(belief, np.zeros((2, 3)), np.zeros(2))
    with pytest.raises(DataError, match="features must be finite"):
        Bandit(ACTIONS, belief, Greedy()).probabilities(
            np.full((1, 3, 4), np.nan), np.ones((1, 3), dtype=bool), np.random.default_rng(0)
        )
