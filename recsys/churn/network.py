"""A tabular network of a churn model: numbers by pieces, and an ensemble of networks that share their weights.

Each number is written as how far it has come through each of its bins (piecewise linear encoding: Gorishniy et al.,
On Embeddings for Numerical Features, NeurIPS 2022), and these go through a linear map of the number's own. The
ensemble is one network whose weights each member multiplies by signs and scales of its own (BatchEnsemble: Wen et
al., ICLR 2020; for tables TabM: Gorishniy et al., ICLR 2025). Members are fitted to the outcome each by itself, and
what is told is the mean of their log-odds.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from recsys.churn.models_config import NetworkConfig


def piece_edges(values: np.ndarray, bins: int) -> np.ndarray:
    """Ascending edges of about equally filled bins, both ends included; between few distinct values, one bin each.

    values: float [N]. One value alone gives two edges, so that there is a bin.
    """
    known = np.unique(values.astype(np.float64))
    if len(known) > bins + 1:
        known = np.unique(np.quantile(values.astype(np.float64), np.linspace(0, 1, bins + 1)))
    return known if len(known) > 1 else np.array([known[0], known[0] + 1.0])


class Pieces(nn.Module):
    """Numbers [N, M] → [N, M · dim]: a linear map of each number and of its pieces."""

    def __init__(self, edges: Sequence[np.ndarray], dim: int) -> None:
        super().__init__()
        width = max(len(one) for one in edges) - 1
        start = np.zeros((len(edges), 1, width), dtype=np.float32)
        scale = np.zeros((len(edges), 1, width), dtype=np.float32)
        for i, one in enumerate(edges):
            start[i, 0, : len(one) - 1] = one[:-1]
            scale[i, 0, : len(one) - 1] = 1 / np.maximum(np.diff(one), 1e-6)
        self.register_buffer("start", torch.from_numpy(start))
        self.register_buffer("scale", torch.from_numpy(scale))
        self.pieces = nn.Parameter(torch.zeros(len(edges), width, dim))
        self.slope = nn.Parameter(torch.randn(len(edges), 1, dim))
        self.level = nn.Parameter(torch.randn(len(edges), 1, dim) * 0.5)

    def forward(self, numbers: Tensor) -> Tensor:
        """float32 [N, M] → [N, M · dim]."""
        x = numbers.T[:, :, None]
        done = ((x - self.get_buffer("start")) * self.get_buffer("scale")).clamp(0.0, 1.0)
        return (done @ self.pieces + x * self.slope + self.level).permute(1, 0, 2).flatten(1)


class SharedLinear(nn.Module):
    """One linear map for all members, each of which scales what comes in and what goes out: [K, N, in] → [K, N, out].

    A first layer has random signs on its inputs, which set the members apart; later ones start alike.
    """

    def __init__(self, members: int, inputs: int, outputs: int, first: bool) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(inputs, outputs).uniform_(-bound, bound))
        signs = torch.randint(0, 2, (members, inputs, 1)) * 2.0 - 1.0
        self.inward = nn.Parameter(signs if first else torch.ones(members, inputs, 1))
        self.outward = nn.Parameter(torch.ones(members, 1, outputs))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """[N, in] or [K, N, in] → [K, N, out]."""
        each = self.each()
        if x.ndim == 2:  # one product for all members is twice as fast as one for each
            mapped = (x @ each.permute(1, 0, 2).flatten(1)).unflatten(1, (len(each), -1)).transpose(0, 1)
            return mapped + self.bias
        return torch.baddbmm(self.bias, x, each)

    def each(self) -> Tensor:
        """[K, in, out] the map of each member."""
        return self.inward * self.weight * self.outward


class ChurnNetwork(nn.Module):
    """The table of a customer → log-odds.

    edges: of the numbers, which are the first columns of the table; ranks: for each column that is an index of a
    category with many values, its place and the number of indices.
    """

    def __init__(
        self, config: NetworkConfig, width: int, edges: Sequence[np.ndarray], ranks: Sequence[tuple[int, int]] = ()
    ) -> None:
        super().__init__()
        self.numbers = len(edges)
        self.pieces = Pieces(edges, config.dim) if edges else None
        self.rank_places = tuple(place for place, _ in ranks)
        self.ranks = nn.ModuleList(nn.Embedding(size, config.dim) for _, size in ranks)
        apart = set(self.rank_places)
        self.plain = tuple(i for i in range(self.numbers, width) if i not in apart)
        inputs = (self.numbers + len(ranks)) * config.dim + len(self.plain)
        sizes = [inputs, *[config.hidden] * config.layers]
        self.layers = nn.ModuleList(
            SharedLinear(config.members, a, b, first=i == 0)
            for i, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False))
        )
        self.dropout = nn.Dropout(config.dropout)
        last = config.hidden**-0.5
        self.head = nn.Parameter(torch.empty(config.members, config.hidden, 1).uniform_(-last, last))
        self.bias = nn.Parameter(torch.zeros(config.members, 1, 1))

    def forward(self, table: Tensor) -> Tensor:
        """float32 [N, width] → [N, 1], the mean of the members' log-odds."""
        each = self.members(table)
        share = torch.full((each.shape[1], 1), 1.0 / each.shape[1], device=each.device)
        return each @ share

    def members(self, table: Tensor) -> Tensor:
        """float32 [N, width] → [N, K] log-odds by member."""
        x = self._inputs(table)
        for layer in self.layers:
            x = self.dropout(torch.relu(layer(x)))
        return (x @ self.head + self.bias)[:, :, 0].T

    def _inputs(self, table: Tensor) -> Tensor:
        parts = []
        if self.pieces is not None:
            parts.append(self.pieces(table[:, : self.numbers]))
        for place, embedding in zip(self.rank_places, self.ranks, strict=True):
            parts.append(embedding(table[:, place].long()))
        if self.plain:
            parts.append(table[:, torch.tensor(self.plain, device=table.device)])
        return torch.cat(parts, dim=1)
