"""Targeted campaigns: weighed right where the plain difference is wrong, and refused where chances tell nothing."""

from dataclasses import replace

import numpy as np
import pytest

from recsys.campaigns.observational import (
    Predicted,
    chance_of_contact,
    overlap,
    refusal,
    without_certain,
)
from recsys.drivers.randomised import Trial

SIZE = 1_000


def targeted(seed: int, size: int = SIZE) -> tuple[Trial, np.ndarray]:
    """Those who would buy anyway are contacted more often; and the true effect on each."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=size)
    treated = np.clip(1 / (1 + np.exp(-1.2 * x)), 0.08, 0.92)
    arm = (rng.random(size) < treated).astype(int)
    base, effect = 0.1 + 0.15 * (x > 0), np.where(x > 0, 0.08, 0.02)
    outcome = (rng.random(size) < base + effect * arm).astype(float)
    each = np.arange(size)
    chance = np.where(arm == 1, treated, 1 - treated)
    return Trial("K", each, arm, chance, outcome, x[:, None], each, ("control", "treated")), effect


def test_weights_find_the_effect_and_the_plain_difference_does_not() -> None:
    hits = {"aipw": 0, "hajek": 0, "naive": 0}
    runs = 200
    for seed in range(runs):
        trial, effect = targeted(seed)
        found = Predicted.of(trial).weighed(1)
        for name in hits:
            one = getattr(found, name)
            hits[name] += one.low <= effect.mean() <= one.high
    slack = 3 * np.sqrt(0.95 * 0.05 / runs)
    assert hits["aipw"] / runs == pytest.approx(0.95, abs=slack)
    assert hits["hajek"] / runs == pytest.approx(0.95, abs=slack)
    assert hits["naive"] / runs < 0.3


def test_the_effect_on_those_contacted_counts_them_as_often_as_they_are() -> None:
    trial, effect = targeted(3, 40_000)
    chance = chance_of_contact(trial)
    assert chance is not None
    predicted = Predicted.of(trial)
    treated, control = predicted.sides(1, stands_for=chance)
    true = float((chance * effect).sum() / chance.sum())
    assert true > effect.mean() + 0.01
    assert treated.value - control.value == pytest.approx(true, abs=0.015)
    above = predicted.effect(1, trial.design[:, 0] > 0)
    assert above.low < 0.08 < above.high and above.rows == (trial.design[:, 0] > 0).sum()


def test_customers_without_a_choice_are_left_out() -> None:
    trial, _ = targeted(4)
    sure = trial.chance.copy()
    sure[:50] = 1.0
    kept, certain = without_certain(replace(trial, chance=sure))
    assert certain == 50 and len(kept.rows) == SIZE - 50
    assert without_certain(trial) == (trial, 0)
    nobody, certain = without_certain(replace(trial, chance=np.ones(SIZE)))
    assert "had no choice of arm" in refusal(nobody, overlap(nobody, certain))


def test_refused_where_few_customers_carry_the_weight() -> None:
    trial, _ = targeted(5)
    found = overlap(trial)
    assert found.counts[0] + found.counts[1] == SIZE and all(
        e < n for e, n in zip(found.effective, found.counts, strict=True)
    )
    assert refusal(trial, found) == ""
    rng = np.random.default_rng(0)
    treated = np.where(np.arange(4_000) < 40, 0.5, 0.008)
    arm = (rng.random(4_000) < treated).astype(int)
    chance = np.where(arm == 1, treated, 1 - treated)
    each = np.arange(4_000)
    thin = Trial("K", each, arm, chance, np.zeros(4_000), np.zeros((4_000, 1)), each, ("control", "treated"))
    assert "effective sample size" in refusal(thin, overlap(thin))
    assert overlap(thin).thin > 0


def test_refused_where_the_log_is_wrong() -> None:
    trial, _ = targeted(6, 4_000)
    wrong = replace(trial, chance=np.full(4_000, 0.7))
    assert "sample ratio" in refusal(wrong, overlap(wrong))


def test_three_arms_with_chances_of_their_own() -> None:
    trial, _ = targeted(7)
    three = replace(trial, arm=np.where(trial.arm == 1, 1 + (np.arange(SIZE) % 2), 0), arms=("control", "a", "b"))
    assert chance_of_contact(three) is None, "the chance of contact of a treated row is not in its log"
    even = replace(three, chance=np.where(three.arm == 0, 0.4, 0.3))
    assert chance_of_contact(even) == pytest.approx(np.full(SIZE, 0.6))
