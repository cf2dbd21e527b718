"""BG/NBD gives the published figures, agrees with its closed forms and with customers made by it, and says no."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.special import hyp2f1

from recsys.errors import DataError
from recsys.lifetime_value.bg_nbd import BgNbd, fit_bg_nbd, log_likelihood
from recsys.lifetime_value.gamma_gamma import GammaGamma
from recsys.lifetime_value.histories import SCHEMA, Histories, collapsed, histories
from recsys.lifetime_value.simulation import simulated
from tests.lifetime_value.cdnow import CALIBRATION, purchases

CDNOW = BgNbd(0.243, 4.414, 0.793, 2.426)
WEEK = 7.0


def of(frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return (
        frame["frequency"].to_numpy(),
        frame["recency"].to_numpy() / WEEK,
        frame["age"].to_numpy() / WEEK,
    )


def test_cdnow_has_the_published_parameters(datasets: Path) -> None:
    found = fit_bg_nbd(collapsed(histories(purchases(datasets), CALIBRATION)), WEEK)
    assert found.customers == 2_357
    np.testing.assert_allclose(found.values, [0.243, 4.414, 0.793, 2.426], rtol=0.005)
    assert found.log_likelihood == pytest.approx(-9582.43, abs=0.01)
    for (_, value, low, high), published in zip(found.intervals(), [0.243, 4.414, 0.793, 2.426], strict=True):
        assert low < published < high and low < value < high


def test_cdnow_customers_have_the_published_expectation(datasets: Path) -> None:
    """Fader, Hardie and Lee: x = 2, t_x = 30.43, T = 38.86 is expected to buy 1.226 times in 39 weeks."""
    one = (np.array([2]), np.array([30.43]), np.array([38.86]))
    assert CDNOW.purchases(*one, 39.0)[0] == pytest.approx(1.226, abs=0.001)


def test_the_gradient_is_that_of_the_likelihood() -> None:
    known = Histories(*np.array([[0, 1, 2, 9], [0, 14, 60, 300], [40, 30, 90, 300]]), np.array([5.0, 2, 1, 3]))
    gradient = log_likelihood(known, WEEK)
    at = np.array([0.4, 3.0, 0.7, 1.9])
    _, by = gradient(at)
    for place in range(4):
        step = np.zeros(4)
        step[place] = 1e-5
        slope = (gradient(at + step)[0] - gradient(at - step)[0]) / 2e-5
        assert by[place] == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_the_likelihood_is_that_of_the_paper_written_out() -> None:
    """A1 · A2 · (A3 + A4) of appendix A, customer by customer."""
    from scipy.special import gamma

    r, alpha, a, b = 0.4, 3.0, 0.7, 1.9
    rows = [(0, 0, 40, 2.0), (1, 14, 30, 1.0), (3, 60, 90, 4.0)]
    written = 0.0
    for x, t_x, age, count in rows:
        recent, old = t_x / WEEK, age / WEEK
        first = gamma(r + x) * alpha**r / gamma(r)
        second = gamma(a + b) * gamma(b + x) / (gamma(b) * gamma(a + b + x))
        alive = (1 / (alpha + old)) ** (r + x)
        left = a / (b + x - 1) * (1 / (alpha + recent)) ** (r + x) if x else 0.0
        written += count * np.log(first * second * (alive + left))
    columns = np.array([row[:3] for row in rows]).T
    known = Histories(*columns, np.array([row[3] for row in rows]))
    assert log_likelihood(known, WEEK)(np.array([r, alpha, a, b]))[0] == pytest.approx(written, rel=1e-12)


@pytest.mark.parametrize("model", [CDNOW, BgNbd(2.0, 10.0, 0.99, 2.0), BgNbd(0.1, 50.0, 3.0, 1.0)])
@pytest.mark.parametrize("horizon", [1.0, 39.0, 104.0])
def test_expected_purchases_are_the_closed_form(model: BgNbd, horizon: float) -> None:
    x = np.array([0, 1, 2, 7, 30])
    old = np.array([3.0, 5.0, 20.0, 38.9, 60.0])
    recent = np.array([0.0, 4.0, 3.0, 38.0, 59.0])
    r, alpha, a, b = model.r + x, model.alpha + old, model.a, model.b + x
    inside = (alpha / (alpha + horizon)) ** r * hyp2f1(r, b, a + b - 1, horizon / (alpha + horizon))
    closed = (a + b - 1) / (a - 1) * (1 - inside) * model.alive(x, recent, old)
    np.testing.assert_allclose(model.purchases(x, recent, old, horizon), closed, rtol=1e-7)


def test_nothing_is_lost_where_the_closed_form_breaks() -> None:
    """At a = 1 it divides by zero; with hundreds of purchases it overflows."""
    x, recent, old = np.array([0, 3]), np.array([0.0, 9.0]), np.array([10.0, 10.0])
    near = [BgNbd(0.5, 4.0, a, 2.0).purchases(x, recent, old, 52.0) for a in (1 - 1e-7, 1.0, 1 + 1e-7)]
    np.testing.assert_allclose(near[0], near[1], rtol=1e-6)
    np.testing.assert_allclose(near[2], near[1], rtol=1e-6)
    daily = CDNOW.purchases(np.array([700]), np.array([104.0]), np.array([104.1]), 52.0)
    assert 100 < daily[0] < 352  # their pace so far would give 351


def test_expectation_is_the_mean_of_draws() -> None:
    x, recent, old = np.array([0, 2, 12]), np.array([0.0, 20.0, 50.0]), np.array([38.0, 38.0, 52.0])
    drawn = CDNOW.draws(x, recent, old, 39.0, 200_000, np.random.default_rng(0))
    expected = CDNOW.purchases(x, recent, old, 39.0)
    error = drawn.std(axis=1) / np.sqrt(drawn.shape[1])
    assert (np.abs(drawn.mean(axis=1) - expected) < 4 * error).all()


def test_discounting_takes_each_purchase_at_its_time() -> None:
    x, recent, old = np.array([0, 4]), np.array([0.0, 30.0]), np.array([38.0, 38.0])
    rate, steps = 0.002, np.linspace(0, 104, 521)
    until = np.stack([CDNOW.purchases(x, recent, old, t) for t in steps[1:]], axis=1)
    each = np.diff(until, axis=1, prepend=0.0)
    written = each @ np.exp(-rate * (steps[1:] - 0.1))
    np.testing.assert_allclose(CDNOW.purchases(x, recent, old, 104.0, rate), written, rtol=1e-6)


def test_silence_makes_leaving_likelier_and_more_so_for_frequent_buyers() -> None:
    old = np.full(3, 52.0)
    recent = np.array([51.0, 30.0, 10.0])
    rare, often = (CDNOW.alive(np.full(3, x), recent, old) for x in (2, 15))
    assert (np.diff(rare) < 0).all() and (np.diff(often) < 0).all()
    assert often[2] < 0.001 < 0.1 < rare[2]
    assert CDNOW.alive(np.array([0]), np.array([0.0]), np.array([52.0]))[0] == 1


def test_parameters_that_made_customers_are_found_again() -> None:
    truth = BgNbd(0.6, 6.0, 0.9, 2.5)
    made = simulated(truth, GammaGamma(6, 4, 1500), 60_000, 600, WEEK, 180, seed=3)
    found = fit_bg_nbd(collapsed(made), WEEK)
    wide = np.exp(4 * np.sqrt(np.diag(found.covariance)))
    true = np.array([truth.r, truth.alpha, truth.a, truth.b])
    assert ((found.values / wide < true) & (true < found.values * wide)).all()
    np.testing.assert_allclose(found.values, true, rtol=0.1)
    expected = BgNbd(*found.values).purchases(*of(made), 180 / WEEK)
    spread = made["later"].to_numpy().std() * np.sqrt(made.height)
    assert abs(expected.sum() - made["later"].sum()) < 4 * spread


def test_the_result_does_not_depend_on_collapsing() -> None:
    made = simulated(CDNOW, GammaGamma(6, 4, 1500), 3_000, 300, WEEK, 90, seed=0)
    columns = (made[name].to_numpy() for name in ("frequency", "recency", "age"))
    each = fit_bg_nbd(Histories(*columns, np.ones(made.height)), WEEK)
    together = fit_bg_nbd(collapsed(made), WEEK)
    np.testing.assert_allclose(each.values, together.values, rtol=1e-4)


def test_where_nobody_leaves_the_parameters_are_said_to_be_open() -> None:
    """Everyone buys every week to the end: leaving has no trace, and a and b have no maximum."""
    weekly = Histories(np.array([20]), np.array([140]), np.array([140]), np.array([500.0]))
    found = fit_bg_nbd(weekly, WEEK)
    assert not found.determined
    assert np.isnan([low for _, _, low, _ in found.intervals()]).all()


def test_without_a_second_purchase_there_is_nothing_to_learn() -> None:
    once = pl.DataFrame([("a", 0, 0, 9, 0)], schema=SCHEMA, orient="row")
    with pytest.raises(DataError, match="none of 1 customers bought on a second day"):
        fit_bg_nbd(collapsed(once), WEEK)
    with pytest.raises(DataError, match="nobody bought anything"):
        fit_bg_nbd(collapsed(once.clear()), WEEK)
