"""What comes next as a linear map: a relation of low rank is found again, and only what customers did is a target."""

import numpy as np
import pytest
import torch

from recsys.ahead import RIDGES, Ahead, Moments, bent, directions, evened, floors_of, leading, targets_of, told
from recsys.autoencoder import Inputs

WIDTH, TARGETS, RANK = 12, 7, 2


def planted(rows: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x [N, W], y [N, T], of which all but the noise follows from two sums of x, and the map [W, 2] to these sums."""
    drawn, fixed = np.random.default_rng(seed), np.random.default_rng(99)
    sums, back = fixed.normal(size=(WIDTH, RANK)), fixed.normal(size=(RANK, TARGETS))
    x = drawn.normal(size=(rows, WIDTH)) * np.linspace(0.5, 3, WIDTH) + 5
    return x, x @ sums @ back + noise * drawn.normal(size=(rows, TARGETS)), sums


def moments(x: np.ndarray, y: np.ndarray | None = None, size: int = 100) -> Moments:
    found = Moments(x.shape[1], 0 if y is None else y.shape[1])
    for start in range(0, len(x), size):
        found.add(x[start : start + size], None if y is None else y[start : start + size])
    return found


def test_moments_of_batches_are_those_of_all_rows() -> None:
    x, y, _ = planted(250, 1.0)
    means, covariance = moments(x, y).settled()
    whole = np.concatenate([x, y], axis=1)
    np.testing.assert_allclose(means, whole.mean(axis=0))
    np.testing.assert_allclose(covariance, np.cov(whole.T, bias=True), atol=1e-9)
    np.testing.assert_allclose(moments(x).covariance, np.cov(x.T, bias=True), atol=1e-9)


def test_a_relation_of_low_rank_is_found_again() -> None:
    x, y, sums = planted(3000, 0.5)
    found, back = directions(moments(x, y), WIDTH, RANK, RIDGES[0])
    assert found.shape == (WIDTH, RANK) and back.shape == (RANK, TARGETS)
    cosines = np.linalg.svd(np.linalg.qr(sums)[0].T @ np.linalg.qr(found)[0], compute_uv=False)
    assert cosines.min() > 0.999, "the two planes in which the sums of x lie"
    others, after, _ = planted(3000, 0.5, seed=1)
    judged = moments(others, after)
    share = told(found @ back, moments(x, y), judged)
    predicted = y.mean(axis=0) + (others - x.mean(axis=0)) @ found @ back
    by_hand = 1 - ((after - predicted) ** 2).sum() / ((after - y.mean(axis=0)) ** 2).sum()
    assert share == pytest.approx(by_hand, abs=1e-9) and share > 0.95
    first, way = directions(moments(x, y), WIDTH, 1, RIDGES[0])
    assert 0 < told(first @ way, moments(x, y), judged) < share
    np.testing.assert_allclose(first, found[:, :1])


def test_targets_that_never_vary_give_no_direction() -> None:
    x, _, _ = planted(200, 1.0)
    still = moments(x, np.ones((200, 3)))
    found, back = directions(still, WIDTH, 5, RIDGES[0])
    assert found.shape == (WIDTH, 0) and back.shape == (0, 3)
    assert told(found @ back, still, still) == 0.0


def test_each_dimension_varies_alike_and_constant_ones_are_left_out() -> None:
    x, _, _ = planted(500, 1.0)
    x[:, 3] = 4.0
    covariance = moments(x).covariance
    weight = evened(np.concatenate([leading(covariance, WIDTH), np.eye(WIDTH)[:, 3:4]], axis=1), covariance)
    assert weight.shape == (WIDTH, WIDTH - 1)
    np.testing.assert_allclose((x @ weight).var(axis=0), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(np.abs(weight).argmax(axis=0), weight.argmax(axis=0), err_msg="the sign is settled")


def test_the_map_bends_at_the_floors() -> None:
    numbers = np.arange(100, dtype=np.float32)[:, None]
    floors = floors_of(numbers, 2)
    assert floors[2:].tolist() == [9.0, 29.0, 59.0] and floors[:2].tolist() == [np.finfo(np.float32).min] * 2
    scaled = torch.tensor([[-7.0, 1.0], [3.0, -1e30]])
    row = bent(scaled, torch.tensor([[20.0], [-5.0]]), torch.from_numpy(floors))
    assert row.tolist() == [[-7.0, 1.0, 20.0, 29.0, 59.0], [3.0, pytest.approx(-1e30), 9.0, 29.0, 59.0]]
    model = Ahead(torch.from_numpy(floors), torch.ones(5, 1))
    assert model.dim == 1 and model(scaled[:1], torch.tensor([[20.0]])).tolist() == [[102.0]]
    lines = torch.tensor([[1.0, 1.0], [0, 0], [0, 0], [0, 0], [0, 0]])
    bending = Ahead(torch.from_numpy(floors), torch.ones(5, 1), lines, torch.tensor([-9.0, -2.0]), torch.ones(2, 1))
    assert bending(scaled[:1], torch.tensor([[20.0]])).tolist() == [[102.0 - 7 - 2]]


def test_only_what_customers_did_in_the_horizon_is_a_target() -> None:
    """Not attributes, contacts, products that came and went, other windows, or what may not be read."""
    names = (
        "age",
        "transactions.count.90d",
        "transactions.count.30d",
        "transactions.category.food.out.90d",
        "transactions.recency",
        "interactions.login.count.90d",
        "interactions.acquired.count.90d",
        "interactions.closed.count.90d",
        "interactions.holds.count.90d",
        "contacts.count.90d",
        "balances.trend",
    )
    inputs = Inputs(names, (), tuple(range(len(names))), (), (), 0, 0)
    assert targets_of(inputs, 90) == (names[1], names[3], names[5])
    assert targets_of(inputs, 30) == ("transactions.count.30d",) and targets_of(inputs, 7) == ()
    read = tuple(name for name in names if name != "interactions.login.count.90d")
    assert targets_of(Inputs(read, (), tuple(range(len(read))), (), (), 0, 0), 90) == (names[1], names[3])
