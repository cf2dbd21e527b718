"""Hazards: what is known is learned, what is censored is not, and horizons rise."""

import numpy as np
import torch

from recsys.adoption import AdoptionModel, by_horizon, hazard_loss
from recsys.features.encoder import ArrayShape
from recsys.two_tower import ModelConfig

PRODUCTS = 6
SHAPE = ArrayShape((), 3, 0, False, 0, 0, 0, PRODUCTS + 2, (4,), 0, 0)


def catalogue() -> dict[str, torch.Tensor]:
    return {
        "product": torch.arange(2, PRODUCTS + 2, dtype=torch.int32),
        "product_categories": (2 + torch.arange(PRODUCTS, dtype=torch.int32) % 2)[:, None],
    }


def model(hazards: torch.Tensor) -> AdoptionModel:
    torch.manual_seed(0)
    return AdoptionModel(ModelConfig(dim=8, hidden=16, product_id_dropout=0.3), SHAPE, catalogue(), hazards)


def test_it_starts_at_the_base_rates() -> None:
    hazards = torch.linspace(0.01, 0.3, PRODUCTS * 3).reshape(PRODUCTS, 3)
    arrays = {"numbers": torch.randn(50, 3), "missing": torch.zeros(50, 3)}
    with torch.no_grad():
        found = torch.sigmoid(model(hazards).eval()(arrays))
    assert found.shape == (50, PRODUCTS, 3)
    assert float((found - hazards).abs().max()) < 0.08


def test_the_probability_of_a_horizon_is_one_minus_the_product_of_staying() -> None:
    odds = np.log(np.array([0.1, 0.2, 0.5]) / np.array([0.9, 0.8, 0.5]))
    np.testing.assert_allclose(by_horizon(odds[None])[0], [0.1, 1 - 0.9 * 0.8, 1 - 0.9 * 0.8 * 0.5])
    assert (np.diff(by_horizon(np.random.default_rng(0).normal(size=(100, 3))), axis=1) >= 0).all()


def test_only_known_cells_count() -> None:
    """Held, acquired before, not finished: their log-odds may be anything."""
    first = torch.tensor([[-1, 0, 3], [1, 3, 3]])
    finished = torch.tensor([3, 2])
    odds = torch.zeros(2, 3, 3, requires_grad=True)
    hazard_loss(odds, first, finished).backward()
    assert odds.grad is not None
    expected = torch.tensor([[[0, 0, 0], [-1, 0, 0], [1, 1, 1]], [[1, -1, 0], [1, 1, 0], [1, 1, 0]]])
    assert torch.equal(odds.grad.sign().int(), expected.int())


def test_a_new_product_answers_from_its_attributes() -> None:
    """Products of the first category are acquired by customers with a positive number, the others by the rest."""
    rng = np.random.default_rng(0)
    numbers = torch.from_numpy(rng.normal(size=(2000, 3))).float()
    likes = (numbers[:, :1] > 0) == (torch.arange(PRODUCTS) % 2 == 0)
    first = torch.where(likes & (torch.rand(2000, PRODUCTS) < 0.6), 0, 3)
    arrays = {"numbers": numbers, "missing": torch.zeros(2000, 3)}
    made = model(torch.full((PRODUCTS, 3), 0.2)).train()
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        hazard_loss(made(arrays), first, torch.full((2000,), 3)).backward()
        optimizer.step()
    made.eval()
    new = {"product": torch.tensor([1, 1]), "product_categories": torch.tensor([[2], [3]])}
    with torch.no_grad():
        vectors = made.customer(
            {"numbers": torch.tensor([[2.0, 0, 0]]), "missing": torch.zeros(1, 3)}, made.held_table()
        )
        found = by_horizon(made.log_odds(vectors, made.product(new)).numpy())[0, :, 0]
    assert found[0] > 0.35 > 0.15 > found[1]
