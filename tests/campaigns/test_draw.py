"""The draw of hold-out and explorers, and that the probabilities logged are those with which it decides."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import chisquare

from recsys.campaigns.allocation import Limits
from recsys.campaigns.draw import DRAWN, Expected, _uniform, decided, draw, propensity, set_aside
from recsys.errors import ConfigError

PLANNED = np.array([[0, 2, -1, 1, -1, 0], [1, -1, -1, -1, -1, 2]], np.int16)
ALLOWED = np.array(
    [[1, 0, 1, 0, 0, 1], [1, 1, 0, 1, 0, 1], [1, 1, 0, 0, 0, 1]],
    dtype=bool,
)
REDRAWS = 10_000


def test_logged_propensities_are_the_frequencies_over_redraws() -> None:
    count = PLANNED.shape[1]
    texts = [[f"campaign-{what}:{seed}:C{i}" for seed in range(REDRAWS) for i in range(count)] for what in DRAWN]
    numbers = np.array([[_uniform(one) for one in text] for text in texts])
    planned, allowed = np.tile(PLANNED, REDRAWS), np.tile(ALLOWED, REDRAWS)
    found = decided(numbers, planned, allowed, 0.1, 0.2)
    for i in range(count):
        chosen, logged = found.chosen[:, i::count], found.propensity[i::count]
        kinds, first, counts = np.unique(np.sort(chosen, axis=0), axis=1, return_index=True, return_counts=True)
        expected = logged[first]
        assert expected.sum() == pytest.approx(1.0), "the probabilities of all decisions add up to one"
        assert kinds.shape[1] == len(counts)
        if len(counts) > 1:
            assert chisquare(counts, expected * REDRAWS).pvalue > 1e-4


def test_a_draw_is_the_customers_own() -> None:
    ids = pl.Series([f"C{i}" for i in range(PLANNED.shape[1])])
    arms = set()
    for seed in range(30):
        whole = draw(ids, PLANNED, ALLOWED, 0.3, 0.3, seed)
        arms |= {*whole.arm.tolist()}
        for i in range(len(ids)):
            alone = draw(ids[i : i + 1], PLANNED[:, i : i + 1], ALLOWED[:, i : i + 1], 0.3, 0.3, seed)
            assert (alone.chosen[:, 0] == whole.chosen[:, i]).all()
            assert alone.chosen.dtype == whole.chosen.dtype
            assert alone.propensity[0] == whole.propensity[i]
            assert alone.arm[0] == whole.arm[i]
    assert arms == {0, 1, 2}
    whole = draw(ids, PLANNED, ALLOWED, 0.3, 0.3, 5)
    held = [_uniform(f"campaign-hold-out:5:C{i}") < 0.3 for i in range(len(ids))]
    assert held == (whole.arm == 1).tolist()


def test_without_a_draw_the_plan_is_certain() -> None:
    ids = pl.Series([f"C{i}" for i in range(PLANNED.shape[1])])
    found = draw(ids, PLANNED, ALLOWED, 0.0, 0.0, 0)
    assert (found.chosen == PLANNED).all()
    assert (found.propensity == 1).all()
    assert propensity(np.full_like(PLANNED, -1), PLANNED, ALLOWED, 0.25, 0.0).tolist() == [0.25, 0.25, 1, 0.25, 1, 0.25]


def test_limits_hold_after_the_draw_and_are_used_more_fully() -> None:
    limits = Limits(("calls",), np.ones((1, 2)), np.array([500.0]))
    allowed = np.ones((2, 4000), dtype=bool)
    expected = Expected.nothing(limits)
    expected.add(limits, allowed, None, None, 0.9 * 0.02)
    (usable,) = set_aside(limits, expected, 0.1, 0.02, 1)
    random = np.random.default_rng(0)
    used = []
    for _ in range(300):
        planned = np.full((1, 4000), -1, np.int16)
        planned[0, : int(usable)] = 0
        used.append((decided(random.random((3, 4000)), planned, allowed, 0.1, 0.02).chosen >= 0).sum())
    assert max(used) <= 500
    (alone,) = set_aside(limits, Expected.nothing(limits), 0.1, 0.0, 1)
    assert 500 < alone < 500 / 0.9


def test_exploring_more_than_there_is_is_refused() -> None:
    limits = Limits(("capacity of phone",), np.ones((1, 1)), np.array([5.0]))
    expected = Expected.nothing(limits)
    expected.add(limits, np.ones((1, 1000), dtype=bool), None, None, 0.2)
    with pytest.raises(ConfigError, match="capacity of phone"):
        set_aside(limits, expected, 0.0, 0.2, 1)
