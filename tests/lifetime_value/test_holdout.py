"""Deciles hold who belongs together, and the normalised Gini is 1 for the right order and 0 for none."""

import numpy as np
import pytest

from recsys.lifetime_value.holdout import deciles, normalised_gini


def test_deciles_hold_everybody_in_order() -> None:
    rng = np.random.default_rng(0)
    predicted = rng.gamma(1.0, 2.0, 5_000)
    found = deciles(predicted, rng.poisson(predicted).astype(float))
    assert [part.customers for part in found] == [500] * 10
    assert np.all(np.diff([part.predicted for part in found]) > 0)
    assert all(part.inside for part in found)
    assert not all(part.inside for part in deciles(1.3 * predicted, rng.poisson(predicted).astype(float)))


def test_equal_predictions_stay_together() -> None:
    predicted = np.array([0.0] * 60 + list(range(1, 41)))
    found = deciles(predicted, predicted)
    assert found[0].customers == 60 and sum(part.customers for part in found) == 100


def test_joint_intervals_hold_all_deciles_of_a_right_model_nearly_always() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        predicted = rng.gamma(2.0, 1.0, 2_000)
        held += all(part.inside for part in deciles(predicted, rng.poisson(predicted).astype(float)))
    assert held >= 180  # 95 % of 200, and what chance takes from it


def test_gini_of_the_right_order_of_none_and_of_the_wrong_one() -> None:
    rng = np.random.default_rng(0)
    actual = rng.gamma(0.5, 2.0, 2_000)
    noisy = actual * rng.gamma(2.0, 0.5, 2_000)
    predictions = {"right": actual, "none": np.ones(2_000), "wrong": -actual, "noisy": noisy}
    found = normalised_gini(predictions, actual, [("noisy", "none")])
    assert found["right"].value == pytest.approx(1) and found["right"].low == pytest.approx(1)
    assert found["none"].value == pytest.approx(0)
    assert found["wrong"].value == pytest.approx(-1)
    assert found["none"].value < found["noisy"].low < found["noisy"].value < found["noisy"].high < 1
    assert found["noisy − none"].value == pytest.approx(found["noisy"].value)


def test_gini_by_hand() -> None:
    """Of three customers who bring 0, 0 and 1, the one who brings it is put second: half of the way."""
    found = normalised_gini({"second": np.array([3.0, 1.0, 2.0])}, np.array([0.0, 0.0, 1.0]))
    assert found["second"].value == pytest.approx(0)
    first = normalised_gini({"tied": np.array([0.0, 2.0, 2.0])}, np.array([0.0, 0.0, 1.0]))
    assert first["tied"].value == pytest.approx(0.5)


def test_where_nobody_brings_anything_there_is_no_order() -> None:
    assert normalised_gini({"a": np.arange(3.0)}, np.zeros(3)) == {}
