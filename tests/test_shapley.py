"""Shapley values against all orders written out, and what must hold of them whatever the score."""

from itertools import permutations

import numpy as np
import pytest

from recsys.errors import DataError
from recsys.shapley import Group, importance, shapley

GROUPS = [
    Group("a", {"numbers": (0, 3)}),
    Group("b", {"numbers": (1,)}),
    Group("c", {"numbers": (2,), "kinds": (0,)}),
    Group("d", {"kinds": (1,)}),
]


def _score(arrays: dict[str, np.ndarray]) -> np.ndarray:
    x, k = arrays["numbers"], arrays["kinds"]
    return (
        np.tanh(x[:, 0] * x[:, 1] + x[:, 2] * k[:, 1])
        + x[:, 2] * (k[:, 1] == 2)
        + 0.5 * x[:, 3] * k[:, 0]
        + x[:, 1] ** 2
    )


def _data(n: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"numbers": rng.normal(size=(n, 4)), "kinds": rng.integers(0, 3, (n, 2)).astype(np.int32)}


def _exact(arrays: dict[str, np.ndarray], background: dict[str, np.ndarray]) -> np.ndarray:
    """Every order of the groups from every background row."""
    n, found = len(arrays["numbers"]), []
    for b in range(len(background["numbers"])):
        for order in permutations(range(len(GROUPS))):
            now = {name: np.repeat(values[b : b + 1], n, axis=0) for name, values in background.items()}
            added = np.zeros((n, len(GROUPS)))
            for g in order:
                before = _score(now)
                for name, columns in GROUPS[g].columns.items():
                    now[name][:, list(columns)] = arrays[name][:, list(columns)]
                added[:, g] = _score(now) - before
            found.append(added)
    return np.mean(found, axis=0)


def test_values_come_to_those_over_all_orders() -> None:
    customers, background = _data(6, 0), _data(3, 1)
    found = shapley(_score, customers, background, GROUPS, rounds=400, seed=5)
    exact = _exact(customers, background)
    assert np.abs(found.values - exact).max() < 0.06
    assert (np.abs(found.values - exact) <= 5 * found.error + 1e-9).all()
    few = shapley(_score, customers, background, GROUPS, rounds=2, seed=5)
    assert np.abs(few.values - exact).max() > np.abs(found.values - exact).max()


@pytest.mark.parametrize("rounds", [1, 3])
def test_values_and_base_sum_to_the_score_however_few_the_orders(rounds: int) -> None:
    customers, background = _data(50, 2), _data(4, 3)
    found = shapley(_score, customers, background, GROUPS, rounds=rounds)
    assert found.base == pytest.approx(_score(background).mean())
    np.testing.assert_allclose(found.base + found.values.sum(axis=1), _score(customers), atol=1e-12)


def test_what_the_score_does_not_read_adds_nothing_and_an_additive_score_is_told_exactly() -> None:
    def additive(arrays: dict[str, np.ndarray]) -> np.ndarray:
        return 2 * arrays["numbers"][:, 0] - arrays["numbers"][:, 1]

    customers, background = _data(9, 4), _data(2, 5)
    found = shapley(additive, customers, background, GROUPS, rounds=1)
    centre = background["numbers"].mean(axis=0)
    np.testing.assert_allclose(found.values[:, 0], 2 * (customers["numbers"][:, 0] - centre[0]), atol=1e-12)
    np.testing.assert_allclose(found.values[:, 1], -(customers["numbers"][:, 1] - centre[1]), atol=1e-12)
    assert (found.values[:, 2:] == 0).all()


def test_a_customer_is_told_the_same_alone_and_among_others() -> None:
    customers, background = _data(3000, 6), _data(4, 7)
    together = shapley(_score, customers, background, GROUPS)
    alone = shapley(_score, {name: values[17:18] for name, values in customers.items()}, background, GROUPS)
    assert (together.values[17] == alone.values[0]).all()
    again = shapley(_score, customers, background, GROUPS, seed=1)
    assert (again.values != together.values).any()


def test_importance_has_intervals_and_stable_ranks() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(400, 3)) * np.array([1.0, 3.0, 1.02])
    found = importance(values, ["small", "great", "middling"], samples=400)
    assert found[0]["group"] == "great"
    assert (found[0]["rank_low"], found[0]["rank_high"]) == (1, 1)
    assert {(entry["rank_low"], entry["rank_high"]) for entry in found[1:]} == {(2, 3)}
    for entry in found:
        assert entry["low"] < entry["effect"] < entry["high"]
    assert found[0]["effect"] == pytest.approx(3 * np.sqrt(2 / np.pi), rel=0.1)


def test_a_column_in_no_group_or_in_two_is_refused() -> None:
    customers, background = _data(2, 0), _data(1, 1)
    with pytest.raises(DataError, match=r"columns \[1\] of kinds are in no group"):
        shapley(_score, customers, background, GROUPS[:3])
    with pytest.raises(DataError, match="a column of kinds is in e and in d"):
        shapley(_score, customers, background, [*GROUPS, Group("e", {"kinds": (1,)})])
