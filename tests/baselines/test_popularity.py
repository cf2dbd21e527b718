"""Popularity, over all and within groups."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.baselines import Popularity, PopularityByGroup, PopularityByGroupConfig
from recsys.errors import DataError
from tests.baselines.contract import BaselineContract

HELD = sp.csr_matrix(np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [0, 1, 1]], dtype=np.float32))


class TestPopularity(BaselineContract):
    name = "popularity"
    learns = False

    def test_scores_are_customers_not_weights(self):
        assert Popularity().fit(HELD * 9).scores(HELD[:1]).tolist() == [[2, 3, 1]]


class TestPopularityByGroup(BaselineContract):
    """The group is the colour on the checkerboard, told by the row number; few customers, so little smoothing."""

    name = "popularity_by_group"

    def fitted(self, interactions, config=None):
        colours = [str(row % 2) for row in range(np.shape(interactions)[0])]
        return PopularityByGroup(config or PopularityByGroupConfig(smoothing=1)).fit(interactions, colours)

    def scores(self, baseline, history):
        return baseline.scores(history, [str(row % 2) for row in range(history.shape[0])])


def test_shares_are_smoothed_toward_all_customers():
    baseline = PopularityByGroup(PopularityByGroupConfig(smoothing=2)).fit(HELD, np.array(["a", "a", "b", "b"]))
    expected = [[(2 + 2 * 0.5) / 4, (1 + 2 * 0.75) / 4, (0 + 2 * 0.25) / 4]]
    np.testing.assert_allclose(baseline.scores(HELD[:1], ["a"]), expected)


def test_unseen_and_missing_groups_get_the_shares_of_all():
    baseline = PopularityByGroup().fit(HELD, ["a", "a", None, "b"])
    np.testing.assert_allclose(baseline.scores(HELD[:2], ["new", None]), [[0.5, 0.75, 0.25]] * 2)


def test_a_large_group_is_trusted_and_a_small_one_is_not():
    """One customer of a group of one has the rare product; a thousand of another group have it too."""
    held = sp.csr_matrix(np.repeat(np.eye(2, dtype=np.float32), [3_000, 1_001], axis=0))
    groups = ["rest"] * 3_000 + ["large"] * 1_000 + ["small"]
    baseline = PopularityByGroup().fit(held, groups)
    large, small = baseline.scores(held[:2], ["large", "small"])
    assert large.argmax() == 1
    assert small.argmax() == 0


def test_one_group_for_each_customer():
    with pytest.raises(DataError, match="groups: expected one for each of 4 customers, got 3"):
        PopularityByGroup().fit(HELD, ["a", "b", "c"])
    with pytest.raises(DataError, match="groups: expected one for each of 1 customers, got 0"):
        PopularityByGroup().fit(HELD, ["a"] * 4).scores(HELD[:1], [])
