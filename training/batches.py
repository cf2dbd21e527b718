"""Training examples as arrays, and an epoch as one permutation of their rows instead of a per-row loader."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict

import numpy as np
import torch
from torch import Tensor

from recsys.features.encoder import FIRST


class Batch(TypedDict):
    """Some examples as tensors; products as columns of the catalogue, -1 where there is none."""

    arrays: dict[str, Tensor]
    targets: Tensor
    excluded: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Examples:
    """Examples at rest, in memory or memory-mapped: row i of each array is example i."""

    arrays: dict[str, np.ndarray]
    """The encoder's customer arrays."""
    targets: np.ndarray
    """int32 [N, T] product indices, 0 where there is none."""
    excluded: np.ndarray
    """int32 [N, H] indices of products that are no candidates, 0 where there is none."""
    weights: np.ndarray
    """float32 [N]."""

    def __len__(self) -> int:
        return len(self.weights)

    def batch(self, rows: np.ndarray | slice) -> Batch:
        """The given rows."""
        return Batch(
            arrays={name: torch.from_numpy(np.array(values[rows])) for name, values in self.arrays.items()},
            targets=columns(self.targets[rows]),
            excluded=columns(self.excluded[rows]),
            weights=torch.from_numpy(np.array(self.weights[rows])),
        )


class Batched(Protocol):
    """Examples of any kind that can be read by row."""

    def __len__(self) -> int: ...

    def batch(self, rows: np.ndarray | slice) -> Any:
        """The given rows as tensors."""
        ...


class Epochs:
    """The batches of the present epoch; its permutation depends on seed and epoch alone."""

    def __init__(self, examples: Batched, batch_size: int, seed: int) -> None:
        self.examples = examples
        self.batch_size = batch_size
        self.seed = seed
        self.epoch: Callable[[], int] = lambda: 0
        """The present epoch, from 0; the training loop says which it is."""

    def __len__(self) -> int:
        return -(-len(self.examples) // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        order = np.random.default_rng((self.seed, self.epoch())).permutation(len(self.examples))
        for start in range(0, len(order), self.batch_size):
            yield self.examples.batch(np.sort(order[start : start + self.batch_size]))


def columns(products: np.ndarray) -> Tensor:
    """Product indices [N, K] → columns of the catalogue int64 [N, K'], -1 for padding and unknown.

    Trailing columns without any product are cut; at least one column stays.
    """
    known = products >= FIRST
    width = max(1, int(np.flatnonzero(known.any(axis=0)).max(initial=0)) + 1)
    cut = np.where(known[:, :width], products[:, :width].astype(np.int64) - FIRST, -1)
    if not cut.shape[1]:
        cut = np.full((len(products), 1), -1, dtype=np.int64)
    return torch.from_numpy(cut)
