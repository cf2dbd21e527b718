"""Doubly robust scores: unbiased where either part is right; lines, targeting and AUTOC on known effects."""

import numpy as np
import pytest

from recsys.uplift.groups import deciles, harmed
from recsys.uplift.scores import autoc, best_line, clustered_mean, doubly_robust, targeting_gain, top_share


def confounded(n: int, seed: int) -> tuple[np.ndarray, ...]:
    """x decides who is contacted and what they do; the effect is 0.2 x."""
    draws = np.random.default_rng(seed)
    x = draws.random(n)
    chance = 0.2 + 0.6 * x
    treated = draws.random(n) < chance
    outcome = (draws.random(n) < 0.1 + 0.5 * x + 0.2 * x * treated).astype(float)
    return x, chance, treated, outcome


@pytest.mark.parametrize("right", ["models", "chances"])
def test_scores_are_unbiased_where_either_part_is_right(right: str) -> None:
    x, chance, treated, outcome = confounded(200_000, 1)
    first, second = (0.1 + 0.7 * x, 0.1 + 0.5 * x) if right == "models" else (np.zeros_like(x), np.zeros_like(x))
    p = np.where(treated, chance, 1 - chance) if right == "chances" else np.full(len(x), 0.5)
    scores = doubly_robust(outcome, treated, ~treated, p, first, second)
    found = clustered_mean(scores, np.arange(len(x)))
    assert found.low <= 0.1 <= found.high and found.high - found.low < 0.03
    naive = outcome[treated].mean() - outcome[~treated].mean()
    assert abs(naive - 0.1) > 0.1


def test_a_third_arm_adds_what_the_models_say() -> None:
    one, neither = np.array([1.0]), np.array([False])
    scores = doubly_robust(one, neither, neither, 0.3 * one, 0.5 * one, 0.2 * one)
    assert scores == pytest.approx([0.3])


def test_the_line_finds_how_far_effects_are_overstated() -> None:
    draws = np.random.default_rng(2)
    true = draws.normal(0.05, 0.02, 50_000)
    scores = true + draws.normal(0, 0.3, 50_000)
    line = best_line(scores, 0.1 + 4 * (true - 0.05), np.arange(50_000))
    assert abs(line.slope - 0.25) < 4 * line.slope_error < 0.1
    assert abs(line.mean - 0.05) < 4 * line.mean_error
    flat = best_line(scores, np.full(50_000, 0.3), np.arange(50_000))
    assert (flat.slope, flat.slope_error) == (0.0, 0.0)


def test_the_top_share_parts_a_tie_and_the_gain_is_that_of_the_better_half() -> None:
    assert top_share(np.array([3.0, 2.0, 2.0, 1.0]), 0.5) == pytest.approx([1, 0.5, 0.5, 0])
    effect = np.repeat([0.2, 0.0], 20_000)
    scores = effect + np.random.default_rng(3).normal(0, 0.4, 40_000)
    found = targeting_gain(scores, effect, np.arange(40_000), 0.5)
    assert found.low <= 0.05 <= found.high and found.low > 0
    guess = targeting_gain(scores, np.random.default_rng(4).random(40_000), np.arange(40_000), 0.5)
    assert guess.low <= 0 <= guess.high


def test_autoc_of_a_known_order_and_of_chance() -> None:
    effect = np.linspace(1, -1, 2_001)
    found = autoc(effect, effect, np.arange(2_001), samples=50)
    exact = (np.cumsum(effect) / np.arange(1, 2_002)).mean() - effect.mean()
    assert found.value == pytest.approx(exact)
    assert autoc(effect, np.zeros(2_001), np.arange(2_001), samples=20).value == pytest.approx(0, abs=1e-12)


def test_deciles_and_the_harmed_show_what_they_were() -> None:
    effect = np.linspace(0.3, -0.1, 20_000)
    scores = effect + np.random.default_rng(5).normal(0, 0.3, 20_000)
    groups = deciles(scores, effect, np.arange(20_000))
    assert len(groups) == 10 and sum(group.units for group in groups) == 20_000
    assert [group.predicted for group in groups] == sorted((group.predicted for group in groups), reverse=True)
    assert sum(group.shown.low <= group.predicted <= group.shown.high for group in groups) >= 7
    found = harmed(scores, effect, np.full(20_000, 0.02), np.arange(20_000))
    first, sure = found["expected"], found["sure"]
    assert first is not None and first.shown.high < 0 and first.share == pytest.approx(0.25, abs=0.01)
    assert sure is not None and sure.units < first.units
    none = harmed(scores, np.abs(effect), np.zeros(20_000), np.arange(20_000))
    assert none["expected"] is None and len(deciles(scores, np.zeros(20_000), np.arange(20_000))) == 1
