"""Gates, bad logs, and the gate of release."""

import numpy as np
import pytest

from recsys.campaigns.ope.evaluation import evaluate, logged, release
from recsys.campaigns.ope.gates import overlap
from recsys.campaigns.ope.log import make_log
from recsys.campaigns.ope.reward_model import cross_fitted
from recsys.errors import ConfigError, DataError
from tests.campaigns.ope.known import ACTIONS, drawn, policy


def _always(size: int, action: int) -> np.ndarray:
    return np.tile(np.eye(3)[action], (size, 1))


@pytest.mark.parametrize(
    ("decisions", "sharp", "released", "said"),
    [
        (6000, 1.5, True, "above 0 by its lower bound"),
        (6000, -1.5, False, "worse than the policy in force"),
        (300, -0.4, False, "cannot be told"),
    ],
)
def test_only_a_policy_that_is_better_by_its_lower_bound_is_released(
    decisions: int, sharp: float, released: bool, said: str
) -> None:
    log, x = drawn(decisions, 0)
    verdict = release(evaluate(log, policy(x[:, 0], sharp), cross_fitted(log, x, crossed=True)), logged(log), log)
    assert verdict.released is released and said in verdict.reason
    assert verdict.gain is not None and (verdict.gain.low > 0) is released


def test_a_policy_far_from_the_log_gets_no_answer_but_what_is_missing() -> None:
    rng = np.random.default_rng(0)
    action = np.where(rng.random(5000) < 0.0004, 1, 0)
    log = make_log(action, np.where(action == 1, 0.0004, 0.9996), rng.integers(0, 2, 5000), ACTIONS[:2])
    found = evaluate(log, np.tile([0.0, 1.0], (5000, 1)), np.zeros((5000, 2)))
    assert not found.answered and not found.estimates
    assert any("effective sample size" in reason and "are needed" in reason for reason in found.overlap.refused)
    verdict = release(found, logged(log), log)
    assert not verdict.released and "effective sample size" in verdict.reason and verdict.gain is None


def test_an_action_that_was_never_drawn_is_named() -> None:
    log, x = drawn(2000, 0)
    fewer = log.some(log.action != 2)
    found = overlap(fewer, policy(x[log.action != 2, 0]))
    assert any("never drew (call)" in reason for reason in found.refused)


def test_a_log_that_chance_did_not_draw_is_refused() -> None:
    log = make_log(np.zeros(500, int), np.ones(500), np.ones(500), ACTIONS)
    assert "propensity 1" in overlap(log, _always(500, 0)).refused[0]


def test_wrong_propensities_show_in_the_mean_weight() -> None:
    log, x = drawn(4000, 0)
    wrong = make_log(log.action, np.minimum(log.propensity * 2.5, 1.0), log.reward, ACTIONS)
    assert any("mean weight" in reason for reason in overlap(wrong, policy(x[:, 0])).refused)


def test_without_any_conversion_there_is_no_answer() -> None:
    log, x = drawn(2000, 0)
    none = make_log(log.action, log.propensity, np.zeros(2000), ACTIONS)
    found = evaluate(none, policy(x[:, 0]), cross_fitted(none, x))
    assert any("rewarded decisions is 0.0" in reason for reason in found.overlap.refused)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"propensity": [0.5, 0.0, 0.5]}, "1 of 3 are 0 or less"),
        ({"propensity": [0.5, np.nan, 0.5]}, "1 of 3 are missing"),
        ({"propensity": [0.5, 1.5, 0.5]}, "above 1"),
        ({"propensity": [0.5, 0.5]}, "expected one value for each of 3 decisions"),
        ({"reward": [0.0, np.inf, 1.0]}, "log.reward: 1 of 3"),
        ({"action": [0, 1, 3]}, "name none of the 3 actions"),
        ({"action": [], "propensity": [], "reward": []}, "holds no decision"),
    ],
)
def test_a_bad_log_is_refused_by_name(change: dict[str, list[float]], said: str) -> None:
    columns = {"action": [0, 1, 2], "propensity": [0.5, 0.5, 0.5], "reward": [0.0, 1.0, 0.0]} | change
    with pytest.raises(DataError, match=said):
        make_log(*(np.array(columns[name]) for name in ("action", "propensity", "reward")), ACTIONS)


def test_a_policy_is_probabilities_of_every_decision() -> None:
    log, x = drawn(50, 0)
    for wrong, said in (
        (policy(x[:, 0])[:-1], "expected probabilities of 3 actions for each of 50"),
        (policy(x[:, 0]) * 1.1, "do not sum to 1"),
        (_always(50, 0) - 0.1, "negative"),
    ):
        with pytest.raises(DataError, match=said):
            evaluate(log, wrong, np.zeros((50, 3)))


def test_nothing_is_released_by_the_models_word_alone() -> None:
    log, x = drawn(500, 0)
    found = evaluate(log, policy(x[:, 0], -0.4), np.zeros((500, 3)))
    for name in ("dm", "magic"):
        with pytest.raises(ConfigError, match="released by one of ips, snips, dr"):
            release(found, logged(log), log, name)
