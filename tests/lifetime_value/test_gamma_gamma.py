"""Gamma-Gamma gives the published figures and finds again what made the amounts."""

from pathlib import Path

import numpy as np
import pytest

from recsys.errors import DataError
from recsys.lifetime_value.gamma_gamma import GammaGamma, fit_gamma_gamma, log_likelihood
from recsys.lifetime_value.histories import histories
from tests.lifetime_value.cdnow import CALIBRATION, purchases


def test_cdnow_has_the_published_parameters(datasets: Path) -> None:
    known = histories(purchases(datasets), CALIBRATION)
    found = fit_gamma_gamma(known["frequency"].to_numpy(), known["spend"].to_numpy() / 100)
    assert found.customers == 946
    np.testing.assert_allclose(found.values, [6.25, 3.74, 15.44], rtol=0.005)
    cents = fit_gamma_gamma(known["frequency"].to_numpy(), known["spend"].to_numpy())
    np.testing.assert_allclose(cents.values, found.values * [1, 1, 100], rtol=1e-4)


def test_the_gradient_is_that_of_the_likelihood() -> None:
    gradient = log_likelihood(np.array([1.0, 3.0, 1.0, 8.0]), np.array([0.4, 5.0, 1.1, 7.0]))
    at = np.array([3.0, 2.5, 1.2])
    _, by = gradient(at)
    for place in range(3):
        step = np.zeros(3)
        step[place] = 1e-5
        slope = (gradient(at + step)[0] - gradient(at - step)[0]) / 2e-5
        assert by[place] == pytest.approx(slope, rel=1e-6)


def test_parameters_that_made_amounts_are_found_again() -> None:
    rng = np.random.default_rng(1)
    truth = GammaGamma(5.0, 4.0, 30.0)
    x = rng.integers(1, 12, 40_000)
    total = rng.gamma(truth.p * x) / rng.gamma(truth.q, 1 / truth.v, len(x))
    found = fit_gamma_gamma(x, total)
    np.testing.assert_allclose(found.values, [5.0, 4.0, 30.0], rtol=0.06)


def test_the_more_is_known_the_more_the_own_mean_counts() -> None:
    model = GammaGamma(6.25, 3.74, 15.44)
    assert model.spend(np.array([0]), np.array([0.0]))[0] == pytest.approx(model.mean)
    drawn = model.spend(np.array([1, 10, 1000]), np.array([100.0, 1000.0, 100_000.0]))
    assert model.mean < drawn[0] < drawn[1] < drawn[2] < 100.0
    assert drawn[2] == pytest.approx(100.0, rel=0.01)
    assert GammaGamma(6.0, 0.9, 10.0).mean == np.inf


def test_draws_have_the_expected_mean() -> None:
    model = GammaGamma(6.25, 3.74, 15.44)
    x, total = np.array([0, 4]), np.array([0.0, 200.0])
    drawn = model.draws(x, total, np.full((2, 200_000), 3), np.random.default_rng(0))
    np.testing.assert_allclose(drawn.mean(axis=1), 3 * model.spend(x, total), rtol=0.01)
    assert (model.draws(x, total, np.zeros((2, 5)), np.random.default_rng(0)) == 0).all()


def test_amounts_that_say_nothing_are_refused() -> None:
    with pytest.raises(DataError, match="1 customers spent something on a second day"):
        fit_gamma_gamma(np.array([0, 3, 2]), np.array([0, 10, 0]))
    with pytest.raises(DataError, match="every customer spends the same"):
        fit_gamma_gamma(np.array([1, 2, 3]), np.array([10, 20, 30]))
