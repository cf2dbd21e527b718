"""A customer's history to a vector by contrast: two random slices of one customer's events are to be found alike.

CoLES (Babaev et al., SIGMOD 2022, arXiv 2002.08232), with the pooling of the customer tower in place of a recurrent
network and the loss of InfoNCE over the batch.
"""

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from recsys.features.encoder import ArrayShape
from recsys.layers import HistoryPooling, small_table
from recsys.two_tower import ModelConfig, ResidualBlock

SHORTEST, LONGEST = 0.3, 0.8
"""The share of a customer's events that a slice may have."""
HISTORY = ("history", "history_kind", "history_age")


class SequenceConfig(BaseModel):
    """Sizes and training of the encoder of histories."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: int = Field(default=32, ge=1, le=1024)
    """Dimensions that it adds to the embedding."""
    hidden: int = Field(default=64, ge=1)
    """Dimensions of an event."""
    temperature: float = Field(default=0.1, gt=0, le=10)
    """Divides the cosine of two slices: lower is sharper."""
    least_events: int = Field(default=4, ge=2)
    """Customers with fewer events are not learned from."""
    epochs: int = Field(default=10, ge=1)
    """Passes over the customers at most; validation picks the one that is kept."""
    batch_size: int = Field(default=512, ge=2)
    """Customers in a step: each slice is to be told from those of all the others."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """Highest learning rate of AdamW."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decay of tables and matrices."""


class SequenceEncoder(nn.Module):
    """The history arrays of a customer → a vector of length 1, [N, dim]; all alike for customers without events."""

    def __init__(self, config: SequenceConfig, shape: ArrayShape) -> None:
        super().__init__()
        self.config = config
        inner = ModelConfig(dim=config.hidden, hidden=2 * config.hidden, dropout=0.0)
        self.products = small_table(shape.products, config.hidden)
        self.pooling = HistoryPooling(config.hidden, shape)
        self.block = ResidualBlock(inner)
        self.out = nn.Linear(config.hidden, config.dim)

    def forward(self, arrays: dict[str, Tensor]) -> Tensor:
        """history, history_kind, history_age int32 [N, L] → [N, dim]."""
        vector = self.out(self.block(self.pooling(arrays, self.products.weight)))
        squares = (vector * vector) @ vector.new_ones(vector.shape[1], 1)
        return vector / (squares + 1e-12).sqrt()

    def loss(self, arrays: dict[str, Tensor], generator: torch.Generator | None = None) -> Tensor:
        """Mean cross-entropy of finding a slice's other half among those of the batch, both ways, a scalar."""
        first, second = (self(sliced(arrays, generator)) for _ in range(2))
        likeness = first @ second.T / self.config.temperature
        own = torch.arange(len(likeness), device=likeness.device)
        both = [nn.functional.cross_entropy(found, own) for found in (likeness, likeness.T)]
        return torch.stack(both).mean()


def sliced(arrays: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
    """A random run of each customer's events, one at least, in their places; what lies outside is padding.

    Histories are right aligned: the latest event is the last column.
    """
    history = arrays["history"]
    rows, length = history.shape
    count = (history != 0).sum(dim=1)

    def draw() -> Tensor:
        where = None if generator else history.device
        return torch.rand(rows, generator=generator, device=where).to(history.device)

    kept = (count * (SHORTEST + (LONGEST - SHORTEST) * draw())).ceil()
    start = length - count + ((count - kept + 1) * draw()).floor()
    place = torch.arange(length, device=history.device)
    inside = (place >= start[:, None]) & (place < (start + kept)[:, None])
    return {name: torch.where(inside, arrays[name], 0) for name in HISTORY if name in arrays}
