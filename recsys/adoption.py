"""When a customer will acquire a product: discrete-time hazards over intervals, from the recommender's two towers.

The hazard of interval i is the probability of acquiring a product in it, given that the customer had not before. A
horizon's probability is 1 - Π (1 - hazard) over its intervals, so a longer horizon is never less likely (Singer and
Willett, Journal of Educational Statistics 1993).
"""

import numpy as np
import torch
from torch import Tensor, nn

from recsys.features.encoder import FIRST, UNKNOWN, ArrayShape
from recsys.layers import small_linear
from recsys.two_tower import ModelConfig, TwoTower


class AdoptionModel(nn.Module):
    """Log-odds of the hazard = customer part of the interval · product vector + customer bias + product bias.

    `hazards` float [P, I] are the products' base rates, where the product biases start. A product outside the
    catalogue has the bias of the unknown one, trained by id dropout, and its attributes.
    """

    def __init__(self, config: ModelConfig, shape: ArrayShape, catalogue: dict[str, Tensor], hazards: Tensor) -> None:
        super().__init__()
        self.towers = TwoTower(config.model_copy(update={"item_bias": False}), shape, catalogue)
        self.dim, self.intervals = config.dim, hazards.shape[1]
        self.head = small_linear(self.dim, self.intervals * (self.dim + 1))
        self.bias = nn.Embedding(shape.products, self.intervals)
        with torch.no_grad():
            self.bias.weight[:FIRST] = torch.logit(hazards.mean(0).clamp(1e-6, 0.5))
            self.bias.weight[FIRST:] = torch.logit(hazards.clamp(1e-6, 0.5))

    def forward(self, arrays: dict[str, Tensor]) -> Tensor:
        """Customer arrays → log-odds of every product's hazards [N, P, I]."""
        customers, products = self.towers(arrays)
        index = self.towers.catalogue()["product"]
        if self.training and self.towers.product_tower.id_dropout:
            lost = torch.rand(index.shape, device=index.device) < self.towers.product_tower.id_dropout
            index = torch.where(lost, UNKNOWN, index)
        return self.log_odds(customers, torch.cat([products, self.bias(index)], dim=1))

    def log_odds(self, customers: Tensor, products: Tensor) -> Tensor:
        """Customer vectors [N, D] and product rows [P, D + I] → [N, P, I]."""
        parts = self.head(customers).reshape(len(customers), self.intervals, self.dim + 1)
        vectors, bias = products[:, : self.dim], products[:, self.dim :]
        found = parts[:, :, : self.dim] @ vectors.T + parts[:, :, self.dim :] + bias.T
        return found.transpose(1, 2)

    def held_table(self) -> Tensor:
        """[P + 2, dim] what each product index is worth in holdings and history."""
        return self.towers.held_table()

    def customer(self, arrays: dict[str, Tensor], table: Tensor) -> Tensor:
        """Customer arrays and `held_table()` → [N, D]."""
        return self.towers.customer(arrays, table)

    def product(self, arrays: dict[str, Tensor]) -> Tensor:
        """Product arrays → vector and bias of each interval, [P, D + I]."""
        return torch.cat([self.towers.product(arrays), self.bias(arrays["product"])], dim=1)


def by_horizon(log_odds: np.ndarray) -> np.ndarray:
    """Log-odds of hazards [..., I] → float64 P(acquired within horizon) [..., I]."""
    stays = 1 / (1 + np.exp(np.asarray(log_odds, dtype=np.float64)))
    return 1 - np.cumprod(stays, axis=-1)


def hazard_loss(log_odds: Tensor, first: Tensor, finished: Tensor) -> Tensor:
    """Mean binary cross-entropy over the cells that are known: not held, not acquired before, interval finished.

    log_odds [N, P, I]; first int [N, P] the interval of the acquisition, I or more for none, -1 for held; finished
    int [N] intervals that are over (the others are censored).
    """
    interval = torch.arange(log_odds.shape[2], device=log_odds.device)
    known = (first[:, :, None] >= interval) & (interval < finished[:, None, None])
    happened = (first[:, :, None] == interval).to(log_odds.dtype)
    loss = nn.functional.binary_cross_entropy_with_logits(log_odds, happened, reduction="none")
    return (loss * known).sum() / known.sum().clamp(min=1)
