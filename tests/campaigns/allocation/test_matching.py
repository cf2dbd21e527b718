"""Sets of several actions are the best of all sets, with levels of one product and channel and fewer contacts too."""

import numpy as np
import pytest

from recsys.campaigns.allocation import Actions
from recsys.campaigns.allocation.matching import best_of_few, best_of_one, best_sets, sides_of
from recsys.errors import ConfigError
from tests.campaigns.allocation.instances import every_set

SHAPES = [(1, 4, 1, 2), (3, 3, 1, 3), (5, 4, 2, 3), (4, 6, 1, 4), (5, 4, 1, 4)]
"""Channels, products, levels of each, and contacts."""


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_set_is_the_best_of_all(shape: tuple[int, int, int, int], dtype: type) -> None:
    actions, most = _actions(shape), shape[3]
    random = np.random.default_rng(sum(shape))
    product = random.gamma(2, 1, (shape[1], 40))  # a product liked through every channel, so that channels clash
    worth = (product[actions.product] * random.uniform(0.5, 1, (len(actions), 40)) - 0.8).astype(dtype)
    worth[random.random(worth.shape) < 0.2] = -np.inf
    left = random.integers(0, most + 1, 40)
    sides = sides_of(actions.channel, actions.product)
    codes, total = best_sets(lambda k: worth[k], sides, left, most, dtype)
    few = best_of_few(worth, sides, left, most)
    assert (few[0] == codes).all()
    assert few[1].tobytes() == total.tobytes()
    alone = (
        [best_of_one(worth[:, i : i + 1], sides, int(left[i]), most) for i in range(40)] if dtype is np.float64 else []
    )
    for i, one in enumerate(alone):
        if one is not None:
            assert (one[0][:, 0] == codes[:, i]).all()
            assert one[1].tobytes() == total[i : i + 1].tobytes()
    assert sum(one is not None for one in alone) > 5 or dtype is np.float32
    sets = every_set(actions, most)
    for i in range(40):
        best = max(sum(float(worth[k, i]) for k in s) for s in sets if len(s) <= left[i])
        got = tuple(sorted(int(code) - 1 for code in codes[:, i] if code))
        assert got in sets
        assert len(got) <= left[i]
        near = 1e-9 if dtype is np.float64 else 1e-3
        assert sum(float(worth[k, i]) for k in got) == pytest.approx(best, abs=near)
        assert total[i] == pytest.approx(best, abs=near)


def test_contacts_come_most_valuable_first_and_the_first_of_equals_is_taken() -> None:
    actions = Actions(np.array([0, 1, 2, 2]), np.array([0, 1, 2, 2]))
    worth = np.array([[1.0], [3.0], [2.0], [2.0]])
    sides = sides_of(actions.channel, actions.product)
    codes, _ = best_sets(lambda k: worth[k], sides, np.array([3]), 3, np.float64)
    assert codes[:, 0].tolist() == [2, 3, 1]
    assert best_of_few(worth, sides, np.array([3]), 3)[0].tolist() == codes.tolist()
    assert (alone := best_of_one(worth, sides, 3, 3)) is not None
    assert alone[0].tolist() == codes.tolist()
    clashing = sides_of(actions.channel, np.array([0, 1, 1, 2]))
    assert best_of_one(worth, clashing, 3, 3) is None


def test_more_contacts_than_can_be_looked_through_are_refused() -> None:
    actions = _actions((9, 9, 1, 9))
    with pytest.raises(ConfigError, match="9 contacts each are more than 7"):
        best_sets(lambda k: np.ones(1), sides_of(actions.channel, actions.product), np.array([9]), 9, np.float64)


def _actions(shape: tuple[int, int, int, int]) -> Actions:
    channels, products, levels, _ = shape
    every = [(r, p) for p in range(products) for r in range(channels) for _ in range(levels)]
    return Actions(*(np.array(side) for side in zip(*every, strict=True)))
