"""Effects: right where chances or predictions are, intervals by customer, and the figures that go with them."""

import numpy as np
import pytest

from recsys.campaigns.sample_size import sample_per_arm
from recsys.drivers.effects import Effect, difference, e_value, mean_had_all, observed, weighted
from recsys.segment_cards.intervals import newcombe


def _confounded(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Side, chance of it, outcome, and the true chance of the outcome on either side; the effect is 0.1."""
    rng = np.random.default_rng(0)
    x = rng.random(size)
    chance = 0.2 + 0.6 * x
    taken = rng.random(size) < chance
    base = 0.1 + 0.5 * x
    outcome = (rng.random(size) < base + 0.1 * taken).astype(float)
    return taken, chance, outcome, base, base + 0.1


@pytest.mark.parametrize("wrong", ["chances", "predictions"])
def test_either_may_be_wrong(wrong: str) -> None:
    taken, chance, outcome, without, with_it = _confounded(60_000)
    if wrong == "chances":
        chance = np.full(len(chance), 0.5)
    else:
        without = with_it = np.full(len(chance), 0.3)
    treated = mean_had_all(outcome, taken, chance, with_it)
    untreated = mean_had_all(outcome, ~taken, 1 - chance, without)
    found = difference(treated, untreated, np.arange(len(outcome)))
    plain = difference(observed(outcome, taken), observed(outcome, ~taken), np.arange(len(outcome)))
    assert found.low < 0.1 < found.high and found.high - found.low < 0.03
    assert plain.low > 0.15, "who is treated has more of the outcome anyway"


def test_interval_of_two_groups_is_newcombes() -> None:
    taken = np.arange(400) < 150
    outcome = ((np.arange(400) % 10 == 0) | (np.arange(400) < 20)).astype(float)
    found = difference(observed(outcome, taken), observed(outcome, ~taken), np.arange(400))
    rates = [np.array([outcome[side].mean()]) for side in (taken, ~taken)]
    wanted = newcombe((rates[0], 150.0), (rates[1], 250.0))
    assert found.value == pytest.approx(wanted.value[0])
    assert (found.low, found.high) == pytest.approx((wanted.low[0], wanted.high[0]), abs=3e-4)


def test_rows_of_one_customer_are_one_observation() -> None:
    rng = np.random.default_rng(1)
    taken, outcome = rng.random(300) < 0.5, (rng.random(300) < 0.3).astype(float)
    once = difference(observed(outcome, taken), observed(outcome, ~taken), np.arange(300))
    five = [np.repeat(values, 5) for values in (taken, outcome, np.arange(300))]
    again = difference(observed(five[1], five[0]), observed(five[1], ~five[0]), five[2])
    assert (again.low, again.high) == pytest.approx((once.low, once.high), abs=1e-9)


def test_nothing_varies_and_no_shares() -> None:
    taken = np.arange(40) < 20
    nothing = difference(observed(np.zeros(40), taken), observed(np.zeros(40), ~taken), np.arange(40))
    assert nothing.value == 0 and np.isnan(nothing.low) and nothing.sign == 0
    amounts = np.random.default_rng(0).normal(100, 10, 40) + 50 * taken
    found = difference(observed(amounts, taken), observed(amounts, ~taken), np.arange(40), shares=False)
    assert found.low < 50 < found.high


def test_weighted_means_share_their_errors() -> None:
    rng = np.random.default_rng(2)
    outcome, who = (rng.random(200) < 0.4).astype(float), np.arange(200)
    half = observed(outcome, who < 100)
    rest = observed(outcome, who >= 100)
    both = weighted([half, rest], [0.5, 0.5])
    assert both.value == pytest.approx(outcome.mean())
    assert both.influence == pytest.approx(observed(outcome, np.ones(200, dtype=bool)).influence, abs=2e-3)


def test_e_value_is_that_of_the_paper() -> None:
    # VanderWeele and Ding 2017: a lower limit of 1.8 asks for a ratio of 3.0.
    assert e_value(Effect(0.2, 0.08, 0.3, 0.0, 0.3, 0.1, 100)) == pytest.approx(3.0, abs=0.005)
    assert e_value(Effect(-0.05, -0.06, -0.1 + 0.1 / 1.8, 0.0, 0.05, 0.1, 100)) == pytest.approx(3.0, abs=0.005)
    assert e_value(Effect(0.01, -0.01, 0.03, 0.3, 0.11, 0.1, 100)) == 1.0


def test_sample_size() -> None:
    assert sample_per_arm(0.05, 0.01) == pytest.approx(8155, abs=5)
    assert sample_per_arm(0.05, 0.0) is None and sample_per_arm(0.0, 0.01) is None
