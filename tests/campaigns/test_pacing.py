"""Pacing by simulation: customers arrive who are worth more, or less, than those that the prices were made for."""

import numpy as np
import pytest

from recsys.campaigns.allocation import Actions, Limits, Part, Problem, choose, solve
from recsys.campaigns.pacing import Pacer
from recsys.errors import ConfigError

CUSTOMERS, STEPS = 2_000, 100
COST = np.array([4.0, 60.0])
ACTIONS = Actions(np.array([0, 1]), np.array([0, 1]))
LIMITS = Limits(("budget", "capacity of phone"), np.array([COST, [0.0, 1.0]]), np.array([20_000.0, 250.0]))


def _values(seed: int, worth: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (worth * rng.gamma(2.0, [[8.0], [45.0]], (2, CUSTOMERS)) - COST[:, None]).astype(np.float32)


@pytest.fixture(scope="module")
def dual_and_use() -> tuple[np.ndarray, np.ndarray]:
    solution = solve(Problem(ACTIONS, LIMITS, [Part(_values(0))]))
    return solution.dual, solution.used


def _live(pacer: Pacer, values: np.ndarray, paced: bool) -> np.ndarray:
    """What is used [2] when the customers come one after the other over the period."""
    used = np.zeros(2)
    for row in range(CUSTOMERS):
        prices = LIMITS.prices(pacer.dual, 1)
        (action,) = choose(Part(values[:, row : row + 1]), ACTIONS, prices)[0]
        if action >= 0 and (not paced or pacer.fits(LIMITS.use[:, action])):
            used += LIMITS.use[:, action]
            if paced:
                pacer.take(LIMITS.use[:, action])
        if paced and row % (CUSTOMERS // STEPS) == 0:
            pacer.settle((row + 1) / CUSTOMERS)
    return used


def _pacer(dual: np.ndarray, planned: np.ndarray) -> Pacer:
    return Pacer(dual, planned, LIMITS.limit, np.maximum(dual, 0.1))


@pytest.mark.parametrize("worth", [0.75, 1.0, 1.4])
def test_spend_stays_on_plan_whatever_the_customers_are_worth(
    dual_and_use: tuple[np.ndarray, np.ndarray], worth: float
) -> None:
    dual, planned = dual_and_use
    values = _values(1, worth)
    paced = _live(_pacer(dual, planned), values, paced=True)
    as_published = _live(_pacer(dual, planned), values, paced=False)
    assert (paced <= LIMITS.limit).all(), "a limit is a limit"
    assert abs(paced[0] / planned[0] - 1) < 0.05
    if worth != 1.0:
        assert abs(as_published[0] / planned[0] - 1) > 0.15, "the published prices alone leave the plan"


def test_prices_go_back_when_use_does() -> None:
    pacer = Pacer(np.array([1.0]), np.array([100.0]), np.array([120.0]), np.array([1.0]), rate=10)
    pacer.take(np.array([60.0]))
    pacer.settle(0.5)
    assert pacer.dual[0] == pytest.approx(1.0 + 10 * (60 - 50) / 100)
    pacer.settle(0.6)
    assert pacer.dual[0] == pytest.approx(1.0), "nothing was used in a tenth of the period that planned for 10"
    pacer.settle(0.4)
    assert pacer.dual[0] == pytest.approx(1.0), "time does not go back"
    pacer.settle(1.0)
    assert pacer.dual[0] == 0.0, "a price is never below 0"
    assert pacer.fits(np.array([60.0])) and not pacer.fits(np.array([61.0]))


def test_every_limit_needs_all_four() -> None:
    with pytest.raises(ConfigError, match="for every limit"):
        Pacer(np.zeros(2), np.zeros(2), np.zeros(1), np.zeros(2))
