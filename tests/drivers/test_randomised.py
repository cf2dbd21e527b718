"""What chance has shown: covered as often as promised, and refused where the arms do not fit their chances."""

import numpy as np
import pytest

from recsys.drivers.effects import difference, observed
from recsys.drivers.randomised import Trial, arms_of, cross_fitted, mismatch, pooled_effect, refused

SIZE = 800


def _trial(rng: np.random.Generator, name: str = "K1", arms: int = 2) -> tuple[Trial, np.ndarray]:
    """Chances that go with the outcome, a rare outcome, and its true chance under each arm [n, A]."""
    x = rng.normal(size=SIZE)
    treated = np.clip(1 / (1 + np.exp(-x)), 0.1, 0.9)
    draws = np.stack([1 - treated, *[treated / (arms - 1)] * (arms - 1)], axis=1)
    arm = (rng.random(SIZE)[:, None] > draws.cumsum(axis=1)[:, :-1]).sum(axis=1)
    chances = np.stack([0.04 + 0.04 * (x > 0) + 0.03 * place for place in range(arms)], axis=1)
    outcome = (rng.random(SIZE) < chances[np.arange(SIZE), arm]).astype(float)
    design = np.stack([x, rng.normal(size=SIZE)], axis=1)
    each = np.arange(SIZE)
    names = ("control", "treated", "more")[:arms]
    return Trial(name, each, arm, draws[each, arm], outcome, design, each, names), chances


def test_interval_covers_the_true_effect() -> None:
    rng = np.random.default_rng(0)
    covered, plain = [], []
    for _ in range(400):
        trial, chances = _trial(rng)
        true = float((chances[:, 1] - chances[:, 0]).mean())
        found = pooled_effect([arms_of(trial, SIZE)], trial.customer)
        sides = [observed(trial.outcome, trial.arm == place) for place in (1, 0)]
        naive = difference(sides[0], sides[1], trial.customer)
        covered.append(found.low <= true <= found.high)
        plain.append(naive.low <= true <= naive.high)
    assert 0.92 <= np.mean(covered) <= 0.98, "binomial noise of 400 runs is a hundredth"
    assert np.mean(plain) < 0.9, "the plain difference misses it, as who was contacted was chosen"


def test_pools_trials_and_tells_arms_apart() -> None:
    rng = np.random.default_rng(1)
    made = [_trial(rng, f"K{i}", 3)[0] for i in range(30)]
    size = 30 * SIZE
    trials = [Trial(**{**vars(t), "rows": t.rows + i * SIZE, "customer": t.customer}) for i, t in enumerate(made)]
    customers = np.tile(np.arange(SIZE), 30)
    found = [arms_of(trial, size) for trial in trials]
    every = pooled_effect(found, customers)
    one, two = (pooled_effect(found, customers, arm) for arm in ("treated", "more"))
    assert every.rows == size and one.low < 0.03 < one.high and two.low < 0.06 < two.high
    assert one.value < every.value < two.value and every.sign == 1
    assert every.high - every.low < 0.02


def test_predictions_never_saw_the_row() -> None:
    trial, _ = _trial(np.random.default_rng(2))
    turned = trial.outcome.copy()
    turned[trial.customer % 5 == 0] = 1 - turned[trial.customer % 5 == 0]
    same = Trial(**{**vars(trial), "outcome": turned})
    held = trial.customer % 5 == 0
    assert np.array_equal(cross_fitted(trial)[held], cross_fitted(same)[held])
    assert not np.array_equal(cross_fitted(trial)[~held], cross_fitted(same)[~held])


def test_arms_that_do_not_fit_their_chances_are_refused() -> None:
    trial, _ = _trial(np.random.default_rng(3))
    assert refused(trial) == "" and mismatch(trial.arm, trial.chance, 2) > 0.001
    lost = (trial.arm == 0) | (trial.design[:, 0] < 0.5)
    part = Trial(
        **{**vars(trial), **{n: getattr(trial, n)[lost] for n in ("rows", "arm", "chance", "outcome", "design")}}
    )
    assert "sample ratio mismatch" in refused(part)
    few = Trial(**{**vars(trial), "arms": ("control", "treated", "never")})
    assert refused(few) == "the arm never has fewer than 30 rows"


@pytest.mark.parametrize("arm", [np.zeros(50, dtype=int), np.ones(50, dtype=int)])
def test_an_empty_arm_is_a_mismatch(arm: np.ndarray) -> None:
    assert mismatch(arm, np.full(50, 0.5), 2) == 0.0
