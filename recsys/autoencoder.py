"""A denoising autoencoder over the arrays of an encoder: a customer to a short vector, and back to what is known.

The way in is a network, the way back is linear. What the vector holds can therefore be read from it by a weighted sum,
and distances between vectors are distances between what is said of the customers. Each number is to be found twice, as
its value and as the bin it falls into, so that the vector also tells what does not rise or fall with the number.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from recsys.errors import DataError
from recsys.features.encoder import FIRST, Encoder
from recsys.layers import small_linear
from recsys.two_tower import Attributes, ModelConfig, ResidualBlock

_WINDOW = re.compile(r"\.\d+d$")
ONE_HOT = 64
"""Categories of more values are left out of the scaled features, where each value is a column."""
_TOLD = ("numbers", "categories", "holdings")
"""What errors are told of."""


class AutoencoderConfig(BaseModel):
    """Sizes, noise and training of the autoencoder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: int = Field(default=32, ge=1, le=1024)
    """Dimensions of the bottleneck."""
    hidden: int = Field(default=256, ge=1)
    """Width of the network before it."""
    layers: int = Field(default=1, ge=0)
    """Residual blocks in it."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of activations dropped in training."""
    swap: float = Field(default=0.15, ge=0, lt=1)
    """Share of single values that come from another customer in training (swap noise)."""
    swap_groups: float = Field(default=0.3, ge=0, lt=1)
    """Share of whole measures, all their windows at once, that come from another customer; else 30 days would be told
    from 90."""
    bins: int = Field(default=10, ge=2, le=100)
    """Bins, about equally filled, of each number that is to be found again."""
    epochs: int = Field(default=15, ge=1)
    """Passes over the customers at most; validation picks the one that is kept."""
    batch_size: int = Field(default=512, ge=1)
    """Customers in a step."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """Highest learning rate of AdamW."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decay of matrices."""


@dataclass(frozen=True)
class Inputs:
    """Which columns of an encoder's customer arrays are read; labels, outcomes and protected columns never are."""

    numbers: tuple[str, ...]
    categories: tuple[str, ...]
    number_places: tuple[int, ...]
    category_places: tuple[int, ...]
    category_sizes: tuple[int, ...]
    """Vocabulary sizes, with padding and unknown."""
    tags: int
    """Vocabulary size of the tags, 0 for none."""
    products: int
    """Columns of the holdings, 0 for none."""

    @classmethod
    def of(cls, encoder: Encoder, without: Sequence[str] = ()) -> "Inputs":
        """Everything the encoder gives but the columns named. Raises DataError if nothing is left."""
        numbers = [(i, n) for i, n in enumerate(encoder.customer.numbers) if n not in without]
        categories = [(i, n) for i, n in enumerate(encoder.customer.categories) if n not in without]
        shape = encoder.shape
        inputs = cls(
            numbers=tuple(name for _, name in numbers),
            categories=tuple(name for _, name in categories),
            number_places=tuple(i for i, _ in numbers),
            category_places=tuple(i for i, _ in categories),
            category_sizes=tuple(shape.categories[i] for i, _ in categories),
            tags=0 if any(name in without for name in encoder.customer.tags) else shape.tags,
            products=shape.products if shape.holdings else 0,
        )
        if not (numbers or categories or inputs.tags or inputs.products):
            raise DataError("embedding: no number, category, tag or holding of a customer is left to learn from")
        return inputs

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features whose reconstruction error is told: numbers, categories, then `holdings`."""
        return (*self.numbers, *self.categories, *(["holdings"] if self.products else []))

    @property
    def groups(self) -> tuple[int, ...]:
        """For each number the measure that it is a window of."""
        names = [_WINDOW.sub("", name) for name in self.numbers]
        order = {name: i for i, name in enumerate(dict.fromkeys(names))}
        return tuple(order[name] for name in names)

    def selected(self, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The arrays with the columns that are read, those alone."""
        found: dict[str, Tensor] = {}
        if self.numbers:
            for name in ("numbers", "missing"):
                found[name] = _columns(arrays[name], self.number_places)
        if self.categories:
            found["categories"] = _columns(arrays["categories"], self.category_places)
        if self.tags:
            found["tags"] = arrays["tags"]
        if self.products:
            found["holdings"] = arrays["holdings"]
        return found


def _columns(values: Tensor, places: tuple[int, ...]) -> Tensor:
    whole = places == tuple(range(values.shape[1]))
    return values if whole else values.index_select(1, torch.tensor(places, device=values.device))


def bin_edges(numbers: np.ndarray, missing: np.ndarray, bins: int) -> np.ndarray:
    """float32 [M, bins - 1] ascending quantiles of each column's known values, infinite where there are fewer.

    numbers, missing: float32 [N, M]. A value falls into bin b if it is above b of the edges.
    """
    edges = np.full((numbers.shape[1], bins - 1), np.inf, dtype=np.float32)
    for column in range(numbers.shape[1]):
        known = numbers[missing[:, column] == 0, column]
        if len(known):
            cuts = np.unique(np.quantile(known, np.arange(1, bins) / bins, method="lower").astype(np.float32))
            cuts = cuts[cuts < known.max()]
            edges[column, : len(cuts)] = cuts
    return edges


class Autoencoder(nn.Module):
    """Customer arrays → vector [N, dim] → what is known of the customer.

    `edges` are `bin_edges` of the training customers; `gaps` float [M] the share of them of whom a number is missing:
    only where it varies is it to be found again.
    """

    def __init__(self, config: AutoencoderConfig, inputs: Inputs, edges: Tensor, gaps: Tensor) -> None:
        super().__init__()
        self.config, self.inputs = config, inputs
        inner = ModelConfig(dim=config.hidden, hidden=config.hidden, dropout=config.dropout)
        self.attributes = Attributes(inner, inputs.category_sizes, len(inputs.numbers), inputs.tags)
        self.holdings = small_linear(inputs.products, config.hidden, bias=False) if inputs.products else None
        self.blocks = nn.Sequential(*(ResidualBlock(inner) for _ in range(config.layers)))
        self.narrow = nn.Linear(config.hidden, config.dim)
        self.back = nn.Linear(config.dim, sum(self._sizes.values()))
        self.register_buffer("edges", edges)
        self.varying = tuple(i for i, gap in enumerate(gaps.tolist()) if 0 < gap < 1)
        self.register_buffer("binned", torch.isfinite(edges[:, 0]) if len(edges) else torch.zeros(0, dtype=torch.bool))
        groups = torch.tensor(inputs.groups, dtype=torch.int64)
        self.register_buffer("groups", groups, persistent=False)
        self.measures = int(groups.max()) + 1 if len(groups) else 0

    def forward(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """Customer arrays (see `ArrayShape`) → [N, dim]."""
        return self.vector(self.inputs.selected(arrays))

    def vector(self, known: dict[str, Tensor]) -> Tensor:
        """Selected arrays → [N, dim]."""
        parts = []
        if self.attributes.any:
            parts.append(self.attributes(known))
        if self.holdings is not None:
            parts.append(self.holdings(known["holdings"]))
        return self.narrow(self.blocks(sum(parts[1:], start=parts[0])))

    def loss(self, arrays: Mapping[str, Tensor], noise: bool = True) -> Tensor:
        """What it costs to find the customers again, a scalar: the kinds' means added, each over its columns."""
        known = self.inputs.selected(arrays)
        back = self._split(self.back(self.vector(self.swapped(known) if noise else known)))
        losses: list[Tensor] = []
        if self.inputs.numbers:
            losses += self._number_losses(known, back)
        if self.inputs.categories:
            each = [
                nn.functional.cross_entropy(logits, known["categories"][:, i].long())
                for i, logits in enumerate(back["categories"].split(self.inputs.category_sizes, dim=1))
            ]
            losses.append(torch.stack(each).mean())
        if self.inputs.tags:
            losses.append(nn.functional.binary_cross_entropy_with_logits(back["tags"], self._tagged(known["tags"])))
        if self.inputs.products:
            losses.append(nn.functional.binary_cross_entropy_with_logits(back["holdings"], known["holdings"]))
        return torch.stack(losses).sum()

    def _number_losses(self, known: dict[str, Tensor], back: dict[str, Tensor]) -> list[Tensor]:
        numbers, missing = known["numbers"], known["missing"]
        there = 1 - missing
        found = [(((back["numbers"] - numbers) ** 2) * there).mean()]
        if self.varying:
            logits, flags = (_columns(values, self.varying) for values in (back["missing"], missing))
            found.append(nn.functional.binary_cross_entropy_with_logits(logits, flags))
        binned = self.get_buffer("binned")
        if bool(binned.any()):
            edges = self.get_buffer("edges")[binned]
            bins = (numbers[:, binned, None] > edges).sum(dim=2)
            logits = back["bins"].unflatten(1, (len(self.inputs.numbers), self.config.bins))[:, binned]
            each = nn.functional.cross_entropy(logits.flatten(0, 1), bins.flatten(), reduction="none")
            found.append((each * there[:, binned].flatten()).mean())
        return found

    def swapped(self, known: dict[str, Tensor]) -> dict[str, Tensor]:
        """The arrays with some values, and whole measures, of other customers of the batch (swap noise)."""
        config, noisy = self.config, dict(known)
        rows = len(next(iter(known.values())))
        if self.inputs.numbers:
            shape = known["numbers"].shape
            device = known["numbers"].device
            other = torch.randint(0, rows, shape, device=device)
            lost = torch.rand(shape, device=device) < config.swap
            if config.swap_groups:
                measures = torch.rand((rows, self.measures), device=device) < config.swap_groups
                lost = lost | measures[:, self.get_buffer("groups")]
            for name in ("numbers", "missing"):
                noisy[name] = torch.where(lost, known[name].gather(0, other), known[name])
        share = max(config.swap, config.swap_groups)
        for name in ("categories", "holdings"):
            if name in known:
                values = known[name]
                other = torch.randint(0, rows, values.shape, device=values.device)
                lost = torch.rand(values.shape, device=values.device) < share
                noisy[name] = torch.where(lost, values.gather(0, other), values)
        if "tags" in known:
            values = known["tags"]
            lost = torch.rand((rows, 1), device=values.device) < share
            noisy["tags"] = torch.where(lost, values[torch.randint(0, rows, (rows,), device=values.device)], values)
        return noisy

    def error(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """Customer arrays → `errors` [N, F] of their own vectors."""
        known = self.inputs.selected(arrays)
        return self.errors(known, self.vector(known))

    def errors(self, known: dict[str, Tensor], vector: Tensor) -> Tensor:
        """[N, F] how badly each of `Inputs.features` is found again: squared error, or minus log-likelihood.

        A number that is not known has none. Sums are matrix products, as everywhere in an exported graph.
        """
        told = self._told(vector)
        found = []
        if self.inputs.numbers:
            found.append((told["numbers"] - known["numbers"]) ** 2 * (1 - known["missing"]))
        if self.inputs.categories:
            for i, logits in enumerate(told["categories"].split(self.inputs.category_sizes, dim=1)):
                likelihood = nn.functional.log_softmax(logits, dim=1)
                found.append(-likelihood.gather(1, known["categories"][:, i : i + 1].long()))
        if self.inputs.products:
            logits, held = told["holdings"], known["holdings"]
            each = nn.functional.softplus(logits) - logits * held
            share = torch.full((self.inputs.products, 1), 1 / self.inputs.products, device=each.device)
            found.append(each @ share)
        return torch.cat(found, dim=1)

    def _told(self, vector: Tensor) -> dict[str, Tensor]:
        back = nn.functional.linear(vector, *self.told_weights())
        return dict(zip(_TOLD, back.split([self._sizes[name] for name in _TOLD], dim=1), strict=True))

    def told_weights(self) -> tuple[Tensor, Tensor]:
        """[T, dim] and [T], what `errors` needs of the way back: the logits or values of numbers, categories, holdings.

        Flags, bins and tags, which are most of its columns, are left out.
        """
        ends = dict(zip(self._sizes, np.cumsum(list(self._sizes.values())).tolist(), strict=True))
        parts = [slice(ends[name] - self._sizes[name], ends[name]) for name in _TOLD]
        weight, bias = (torch.cat([values[part] for part in parts]) for values in (self.back.weight, self.back.bias))
        return weight, bias

    def scaled(self, known: dict[str, Tensor]) -> Tensor:
        """[N, W] the scaled features: numbers, missing flags that vary, each value of a category, each product held."""
        found = []
        if self.inputs.numbers:
            found.append(known["numbers"])
        if self.inputs.numbers and self.varying:
            found.append(_columns(known["missing"], self.varying))
        for i, size in enumerate(self.inputs.category_sizes):
            if size <= ONE_HOT:
                found.append(nn.functional.embedding(known["categories"][:, i], torch.eye(size)))
        if self.inputs.products:
            found.append(known["holdings"])
        return torch.cat(found, dim=1) if found else torch.zeros(len(next(iter(known.values()))), 1)

    @property
    def scaled_width(self) -> int:
        """Columns of the scaled features."""
        values = sum(size for size in self.inputs.category_sizes if size <= ONE_HOT)
        return (len(self.inputs.numbers) + len(self.varying) + values + self.inputs.products) or 1

    def _split(self, back: Tensor) -> dict[str, Tensor]:
        return dict(zip(self._sizes, back.split(list(self._sizes.values()), dim=1), strict=True))

    @property
    def _sizes(self) -> dict[str, int]:
        """Columns of the way back, in order."""
        numbers = len(self.inputs.numbers)
        return {
            "numbers": numbers,
            "missing": numbers,
            "bins": numbers * self.config.bins,
            "categories": sum(self.inputs.category_sizes),
            "tags": self.inputs.tags,
            "holdings": self.inputs.products,
        }

    def _tagged(self, tags: Tensor) -> Tensor:
        """int32 [N, K], 0 for none → float32 [N, words], 1 for each tag."""
        found = torch.zeros(len(tags), self.inputs.tags, device=tags.device)
        found.scatter_(1, tags.long(), 1.0)
        found[:, :FIRST] = 0.0
        return found
