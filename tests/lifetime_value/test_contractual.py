"""Margin times survival, discounted: by hand, and as parts that make the whole."""

import numpy as np
import pytest

from recsys.errors import DataError
from recsys.lifetime_value.contractual import contractual_value, monthly


def test_by_hand() -> None:
    found = contractual_value(
        np.array([100.0]), np.array([[0.9, 0.72]]), np.array([1, 2]), horizon=3, discount=0.12, leave=1
    )
    month = 1.12 ** (1 / 12)
    written = 100 * (0.9 / month + 0.72 / month**2 + 0.576 / month**3)  # the last hazard, 1 in 5, goes on
    assert found.value[0] == pytest.approx(written)


def test_hazards_are_constant_between_months_and_after_the_last() -> None:
    found = monthly(np.array([[0.81, 0.81 * 0.25]]), np.array([2, 4]), 6)
    np.testing.assert_allclose(found[0], [1, 0.9, 0.81, 0.405, 0.2025, 0.10125, 0.050625])


def test_the_value_is_that_of_stayers_and_leavers_together() -> None:
    rng = np.random.default_rng(0)
    survival = np.sort(rng.uniform(0.05, 1, (50, 3)))[:, ::-1]
    margin, months = rng.uniform(-5, 50, 50), np.array([3, 6, 12])
    found = contractual_value(margin, survival, months, horizon=36, discount=0.1, leave=6)
    stays = monthly(survival, months, 36)
    worth = 1.1 ** (-np.arange(1, 37) / 12)
    rng_stay = np.where(np.arange(1, 37) <= 6, 1, stays[:, 1:] / stays[:, 6:7]) @ worth * margin
    lost = rng_stay - found.at_stake
    np.testing.assert_allclose(found.value, stays[:, 6] * rng_stay + (1 - stays[:, 6]) * lost)
    assert (np.sign(found.at_stake) == np.sign(margin)).all()


def test_the_interval_holds_what_drawn_lifetimes_bring() -> None:
    survival, months = np.array([[0.7, 0.5, 0.2]]), np.array([3, 6, 12])
    found = contractual_value(np.array([10.0]), survival, months, horizon=24, discount=0.0, leave=3)
    stays = monthly(survival, months, 24)[0]
    chance = np.random.default_rng(0).random(100_000)
    lived = (stays[None, 1:] > chance[:, None]).sum(axis=1) * 10.0
    assert lived.mean() == pytest.approx(found.value[0], rel=0.01)
    assert lived.var() == pytest.approx(found.variance[0], rel=0.02)
    inside = ((lived >= found.low[0]) & (lived <= found.high[0])).mean()
    assert 0.95 <= inside <= 1
    certain = contractual_value(np.array([10.0]), np.ones((1, 1)), np.array([12]), horizon=24, discount=0.0, leave=3)
    assert certain.low[0] == certain.high[0] == certain.value[0] == 240
    assert certain.at_stake[0] > 0


@pytest.mark.parametrize(
    ("survival", "months", "message"),
    [
        ([[0.9, 0.95]], [1, 2], "never rise"),
        ([[1.2]], [1], "between 0 and 1"),
        ([[0.9, 0.8]], [2, 2], "must ascend"),
        ([[0.9]], [1, 2], "a chance for each"),
    ],
)
def test_impossible_chances_are_refused(survival: list[list[float]], months: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        monthly(np.array(survival), np.array(months), 12)
