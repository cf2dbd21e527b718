"""Layers of the towers: what a customer holds and did, pooled, and tables and linear maps that start small.

Outside training nothing sums over a history with a reduction operator (see `recsys.two_tower`).
"""

import math

import torch
from torch import Tensor, nn

from recsys.features.encoder import FIRST, ArrayShape


def small_table(rows: int, dim: int) -> nn.Embedding:
    """An embedding that starts small: Adam then turns directions in the first steps (measured)."""
    table = nn.Embedding(rows, dim)
    nn.init.normal_(table.weight, std=0.02)
    return table


def small_linear(inputs: int, dim: int, bias: bool = True) -> nn.Linear:
    """A linear map whose output starts as small as an embedding, so that no part drowns another in the first steps."""
    layer = nn.Linear(inputs, dim, bias=bias)
    nn.init.normal_(layer.weight, std=0.02 / math.sqrt(inputs))
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


class HoldingsPooling(nn.Module):
    """What a customer holds of a large catalogue, [N, dim]: a weighted mean of the products' rows, zeros for nothing.

    Each product has a learned weight that starts at 1 / √(its popularity), as in LightGCN (He et al., SIGIR 2020,
    equation 3): what few hold says more about who holds it.
    """

    def __init__(self, shape: ArrayShape, log_popularity: Tensor | None) -> None:
        super().__init__()
        self.log_weight = nn.Embedding(shape.products, 1)
        nn.init.zeros_(self.log_weight.weight)
        if log_popularity is not None:
            with torch.no_grad():
                self.log_weight.weight[FIRST:, 0] = -0.5 * (log_popularity - log_popularity.mean())

    def forward(self, held: Tensor, table: Tensor, row: Tensor | None = None) -> Tensor:
        """Product indices int32 [N, H], 0 for none, and the table of held products [P + 2, dim] → [N, dim].

        `row` [N, H] are the products' rows of `table` where it is a part of the whole.
        """
        row = held if row is None else row
        weight = self.log_weight(held)[:, :, 0].exp() * (held != 0)
        if self.training:  # the padding of a batch is far longer than what it holds
            total = weight.sum(dim=1, keepdim=True)
            mean = nn.functional.embedding_bag(row, table, mode="sum", per_sample_weights=weight, padding_idx=0)
            return mean / total.clamp(min=1e-9)
        weight = weight[:, None, :]
        total = weight @ torch.ones_like(weight).transpose(1, 2)
        return ((weight @ nn.functional.embedding(row, table)) / total.clamp(min=1e-9))[:, 0]


_RECENCY = 0.3
"""Fall of a log weight per step into the past (of position, or of log2 days), before anything is learned."""
_MOST_PAIRS = 1 << 16
"""Largest table of (kind, product) pairs."""


class HistoryPooling(nn.Module):
    """What the history says, [N, dim]: a mean over its products, and where events have kinds, a sum over its events.

    The mean's weights are learned for position, kind and age. The sum knows each pair of kind and product and lets
    every event count by a weight for kind and age: three views weigh more than one, which a mean cannot say.
    A customer without history gets zeros.
    """

    def __init__(self, dim: int, shape: ArrayShape) -> None:
        super().__init__()
        self.dim = dim
        self.position = nn.Parameter(-_RECENCY * torch.arange(shape.history - 1, -1, -1.0))
        several = shape.kinds > FIRST + 1
        self.kind = small_table(shape.kinds, dim) if several else None
        self.kind_weight = nn.Embedding(shape.kinds, 1) if several else None
        self.age = small_table(shape.ages, dim) if shape.ages else None
        self.age_weight = nn.Embedding(shape.ages, 1) if shape.ages else None
        for weight in (self.kind_weight, self.age_weight):
            if weight is not None:
                nn.init.zeros_(weight.weight)
        counted = several and shape.kinds * shape.products <= _MOST_PAIRS
        self.products = shape.products
        self.pairs = small_table(shape.kinds * shape.products, dim) if counted else None
        falling = -_RECENCY * torch.arange(float(max(shape.ages, 1))).repeat(max(shape.kinds, 1), 1)
        self.decay = nn.Parameter(falling) if counted else None

    def forward(self, arrays: dict[str, Tensor], table: Tensor) -> Tensor:
        """history, history_kind, history_age int32 [N, L] → [N, dim]."""
        mean = self._mean(arrays, table)
        if self.pairs is None or self.decay is None:
            return mean
        return mean + self._sum(arrays, self.pairs, self.decay)

    def _sum(self, arrays: dict[str, Tensor], pairs: nn.Embedding, decay: Tensor) -> Tensor:
        history, kind = arrays["history"], arrays["history_kind"]
        age = arrays["history_age"] if "history_age" in arrays else torch.zeros_like(kind)
        weight = nn.functional.embedding(kind * decay.shape[1] + age, decay.reshape(-1, 1))[:, :, 0].exp()
        weight = weight * (history != 0)
        return (weight[:, None, :] @ pairs(kind * self.products + history))[:, 0]

    def _mean(self, arrays: dict[str, Tensor], table: Tensor) -> Tensor:
        history = arrays["history"]
        events = nn.functional.embedding(history, table)
        logits = self.position
        for values, weights, name in (
            (self.kind, self.kind_weight, "history_kind"),
            (self.age, self.age_weight, "history_age"),
        ):
            if values is not None and weights is not None:
                events = events + values(arrays[name])
                logits = logits + weights(arrays[name])[:, :, 0]
        present = history != 0
        weight = torch.softmax(torch.where(present, logits, -1e9), dim=-1) * present
        return (weight[:, None, :] @ events)[:, 0]
