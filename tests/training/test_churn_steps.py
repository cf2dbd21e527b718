"""Steps: where bounds are counted they are found, with the shares that nothing tells apart."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from recsys.churn.models_config import BoostingConfig, StepsConfig
from training.churn_boosting import fit_boosting
from training.churn_steps import fit_steps

BOUNDS = (0.2, -0.4, 0.0, 0.6, -0.1)


def counted(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Who is above three of five bounds acts with .9, others with .05; three more columns say nothing."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(rows, 8)).astype(np.float32)
    many = (table[:, :5] > BOUNDS).sum(axis=1) >= 3
    return table, (rng.random(rows) < np.where(many, 0.9, 0.05)).astype(np.int8)


def halves(rows: int) -> list[tuple[np.ndarray, np.ndarray]]:
    order = np.arange(rows)
    return [(order[::2], order[1::2]), (order[1::2], order[::2])]


def test_bounds_and_asymptotes_are_found_and_beat_stumps() -> None:
    table, outcome = counted(6000, 0)
    model, held_out = fit_steps(StepsConfig(), table, outcome, halves(6000), 0, True)
    (fit,) = model.folds
    for column, bound in enumerate(BOUNDS):
        assert np.abs(fit.thresholds[fit.columns == column] - bound).min() < 0.06
    assert fit.low == pytest.approx(0.05, abs=0.05) and fit.high == pytest.approx(0.9, abs=0.05)
    stumps = BoostingConfig(leaves=2, learning_rate=0.1, columns=1.0)
    _, other = fit_boosting("additive", stumps, table, outcome, halves(6000), 0, 1, 1)
    for rows in (slice(None, None, 2), slice(1, None, 2)):
        ours, theirs = (np.logaddexp(0.0, (1 - 2 * outcome[rows]) * said[rows]).mean() for said in (held_out, other))
        assert ours < theirs - 0.01
    fresh, truth = counted(6000, 1)
    assert roc_auc_score(truth, model.log_odds(fresh)) > 0.92


def test_a_table_that_never_varies_gets_the_share_of_all() -> None:
    outcome = (np.arange(400) % 5 == 0).astype(np.int8)
    model, held_out = fit_steps(StepsConfig(), np.ones((400, 3), np.float32), outcome, halves(400), 0, True)
    assert held_out == pytest.approx(np.log(0.2 / 0.8))
    assert model.log_odds(np.zeros((2, 3), np.float32)) == pytest.approx(np.log(0.2 / 0.8))


def test_the_same_seed_gives_the_same_model() -> None:
    table, outcome = counted(2000, 3)
    first, second = (fit_steps(StepsConfig(), table, outcome, halves(2000), 5, True)[0] for _ in range(2))
    assert (first.log_odds(table) == second.log_odds(table)).all()
