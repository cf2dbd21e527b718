"""Calibration: probabilities that were wrong become right, and the error of calibration is what it should be."""

import numpy as np
import pytest

from recsys.calibration import Knots, calibrate, expected_calibration_error, fit_isotonic, reliability
from recsys.errors import DataError


def drawn(rows: int = 40_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True probabilities, mostly small, and outcomes drawn from them."""
    rng = np.random.default_rng(seed)
    truth = rng.beta(0.6, 6, rows)
    return truth, (rng.random(rows) < truth).astype(float)


def test_a_distorted_probability_is_brought_back() -> None:
    truth, outcomes = drawn()
    knots = fit_isotonic(np.sqrt(truth), outcomes)
    fresh, happened = drawn(seed=1)
    assert expected_calibration_error(np.sqrt(fresh), happened) > 0.1
    found = knots.apply(np.sqrt(fresh))
    assert expected_calibration_error(found, happened) < 0.01
    assert np.abs(found - fresh).mean() < 0.01


def test_the_order_is_kept_and_the_knots_rise_from_zero() -> None:
    truth, outcomes = drawn()
    knots = fit_isotonic(truth, outcomes)
    assert knots.x[0] == knots.y[0] == 0
    assert (np.diff(knots.x) > 0).all() and (np.diff(knots.y) >= 0).all() and knots.y[-1] <= 1
    grid = np.linspace(0, 1, 2001)
    assert (np.diff(knots.apply(grid)) >= 0).all()
    assert np.abs(Knots.model_validate_json(knots.model_dump_json()).apply(grid) - knots.apply(grid)).max() == 0


def test_a_handful_of_rows_is_not_promised_a_certainty() -> None:
    p = np.concatenate([np.full(1000, 0.1), np.full(5, 0.9)])
    outcomes = np.concatenate([np.arange(1000) % 10 == 0, np.ones(5)]).astype(float)
    assert fit_isotonic(p, outcomes, least=25).apply(np.array([0.9]))[0] < 0.15


def test_few_or_equal_probabilities_are_calibrated_to_their_share() -> None:
    knots = fit_isotonic(np.full(200, 0.5), np.arange(200) % 4 == 0)
    assert knots.apply(np.array([0.5]))[0] == pytest.approx(0.25)
    assert fit_isotonic(np.zeros(8), np.arange(8) % 2).apply(np.array([1.0]))[0] == pytest.approx(0.5)
    with pytest.raises(DataError, match="0 of 9"):
        fit_isotonic(np.full(9, 0.5), np.zeros(9))


def test_a_longer_horizon_is_never_below_a_shorter_one() -> None:
    high, low = Knots(x=(0.0, 1.0), y=(0.0, 0.9)), Knots(x=(0.0, 1.0), y=(0.0, 0.1))
    found = calibrate([high, low], np.array([[[0.5, 0.6]]]))
    assert found.tolist() == [[[0.45, 0.45]]]


def test_the_error_by_hand() -> None:
    """Two bins of equal mass: predicted .1 and .6, observed 0 and .5, so .5 · .1 + .5 · .1."""
    p, y = np.array([0.1, 0.1, 0.5, 0.7]), np.array([0, 0, 0, 1])
    assert expected_calibration_error(p, y, bins=2) == pytest.approx(0.1)
    table = reliability(p, y, bins=2)
    assert [row["share"] for row in table] == [0.5, 0.5]
    assert [row["predicted"] for row in table] == pytest.approx([0.1, 0.6])
    assert [row["observed"] for row in table] == [0.0, 0.5]


def test_equal_probabilities_share_a_bin_and_a_true_model_has_a_small_error() -> None:
    assert len(reliability(np.full(100, 0.2), np.arange(100) % 5 == 0)) == 1
    truth, outcomes = drawn()
    table = reliability(truth, outcomes)
    assert len(table) == 15 and max(abs(row["share"] - 1 / 15) for row in table) < 0.001
    assert expected_calibration_error(truth, outcomes) < 0.01
    with pytest.raises(DataError, match="equally many"):
        reliability(truth, outcomes[:5])
