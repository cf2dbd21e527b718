"""ALS: folding customers in, seeds, threads, silence."""

import warnings

import numpy as np

from recsys.baselines import ALS, ALSConfig
from tests.baselines.contract import BaselineContract, checkerboard


class TestALS(BaselineContract):
    name = "als"


def test_scores_depend_on_the_history_passed_and_not_on_the_row():
    board = checkerboard()
    baseline = ALS().fit(board)
    np.testing.assert_allclose(baseline.scores(board)[[5, 8]], baseline.scores(board[[5, 8]]), rtol=1e-5, atol=1e-6)


def test_the_seed_is_used_and_threads_do_not_matter():
    board = checkerboard()
    scores = ALS().fit(board).scores(board)
    assert ALS(ALSConfig(threads=2)).fit(board).scores(board).tobytes() == scores.tobytes()
    assert ALS(ALSConfig(seed=1)).fit(board).scores(board).tobytes() != scores.tobytes()


def test_fitting_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ALS().fit(checkerboard()).scores(checkerboard())
