"""Gaussian processes: the gradient is right, smooth shapes and jumps are found, poor tables are borne."""

from collections.abc import Iterator

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from recsys.churn.models_config import GaussianProcessConfig
from training.churn_blend import sigmoid
from training.churn_gaussian_process import Fit, Inputs, fit, fit_gaussian_process
from training.churn_kernel import Kernel, log_evidence, telling

QUICK = GaussianProcessConfig(points=64, steps=60, rows=250)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(1, "blas"):
        yield


def fitted(table: np.ndarray, outcome: np.ndarray, config: GaussianProcessConfig = QUICK) -> Fit:
    return fit(config, table.astype(np.float32), outcome, np.random.default_rng(0))


def drawn(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Four numbers, of which two matter: a wave of the first, upside down where the second is 0, as half are."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(rows, 4)).astype(np.float32)
    table[rng.random(rows) < 0.5, 1] = 0.0
    return table, np.where(table[:, 1] == 0, -2.5, 2.5) * np.sin(3 * table[:, 0])


def outcomes(log_odds: np.ndarray, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random(len(log_odds)) < sigmoid(log_odds)).astype(np.int8)


def test_the_gradient_is_that_of_the_evidence() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 3)), (rng.random(80) < 0.4).astype(float)
    flat = Kernel.first(3).flat + 0.1 * rng.normal(size=11)

    def value(at: np.ndarray) -> float:
        f = np.zeros(80)
        for _ in range(4):
            found, _, f = log_evidence(at, x, y, f)
        return found

    _, gradient, _ = log_evidence(flat, x, y, np.zeros(80))
    step = 1e-4 * np.eye(11)
    numeric = [(value(flat + one) - value(flat - one)) / 2e-4 for one in step]
    assert gradient == pytest.approx(numeric, abs=1e-3)


def test_the_evidence_prefers_what_the_outcomes_came_from() -> None:
    x = np.random.default_rng(1).normal(size=(300, 2))
    y = outcomes(3 * np.sin(3 * x[:, 0]), 2).astype(float)
    short, long = Kernel.first(2), Kernel.first(2)
    short.lengths[0] = np.log([0.5, 5.0])
    values = [log_evidence(kernel.flat, x, y, np.zeros(300))[0] for kernel in (short, long)]
    assert values[0] > values[1] + 5


def test_a_wave_that_a_shared_value_turns_upside_down_is_found() -> None:
    table, truth = drawn(2_000, 0)
    model = fitted(table, outcomes(truth, 1))
    assert (1, 0.0) in model.inputs.shared
    test, known = drawn(4_000, 2)
    told = outcomes(known, 3)
    assert roc_auc_score(told, model(test)) > roc_auc_score(told, known) - 0.02 > 0.8
    lengths = np.exp(model.kernel.lengths).min(axis=0)
    assert lengths[0] < lengths[[2, 3]].min() / 2


def test_the_rows_that_tell_most_are_apart() -> None:
    x = np.repeat(np.arange(5.0), 100)[:, None]
    assert sorted(x[telling(Kernel.first(1), x, 20), 0]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_customers_who_are_all_alike_have_the_share_of_those_who_left(value: float) -> None:
    outcome = np.arange(200) % 4 == 0
    model = fitted(np.full((200, 2), value), outcome.astype(np.int8))
    assert sigmoid(model(np.full((1, 2), value, np.float32)))[0] == pytest.approx(0.25, abs=0.03)


def test_of_many_customers_so_many_are_fitted_on() -> None:
    table, truth = drawn(3_000, 0)
    few = QUICK.model_copy(update={"most": 100, "points": 300, "steps": 0})
    model = fitted(table, outcomes(truth, 1), few)
    assert len(model.points) <= 100
    assert np.isfinite(model(np.full((1, 4), 1e6, np.float32))).all()


def test_inputs_are_standardised_and_a_flag_shares_nothing() -> None:
    table = np.array([[0, 1], [0, 0], [5, 1], [7, 0], [9, 1]], np.float32)
    inputs = Inputs.of(table)
    assert inputs.shared == ((0, 0.0),) + tuple((0, float(v)) for v in (5, 7, 9))
    assert inputs(table).mean(axis=0) == pytest.approx(0) and inputs(table).std(axis=0) == pytest.approx(1)


def test_what_is_served_has_the_covariance_that_held_out_rows_liked_best() -> None:
    table, truth = drawn(600, 0)
    outcome = outcomes(truth, 1)
    halves = np.arange(300), np.arange(300, 600)
    splits = [halves, halves[::-1]]

    def model(refit: bool) -> tuple[list[Fit], np.ndarray]:
        found, said = fit_gaussian_process(
            QUICK, table, outcome, splits, seed=0, threads=1, progress=lambda done, of, what: None, refit=refit
        )
        return found.fits, said

    folds, held_out = model(False)
    losses = [np.logaddexp(0, (1 - 2 * outcome[held]) * held_out[held]).mean() for _, held in splits]
    served, again = model(True)
    assert len(folds) == 2 and len(served) == 1 and (again == held_out).all()
    assert (served[0].kernel.flat == folds[int(np.argmin(losses))].kernel.flat).all()
    assert (held_out[halves[1]] == folds[0](table[halves[1]])).all()
