"""Training examples as arrays, and an epoch as permutations of their rows instead of a per-row loader."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict

import numpy as np
import torch
from torch import Tensor

from recsys.features.encoder import FIRST
from training.processes import Sent, part_of

SHARDS = 16
"""Shards that are in a window together."""


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

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which maps again what is memory-mapped."""
        arrays = {name: Sent(values) for name, values in self.arrays.items()}
        return {"arrays": arrays} | {name: Sent(getattr(self, name)) for name in ("targets", "excluded", "weights")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        arrays = {name: sent.received() for name, sent in state.pop("arrays").items()}
        self.__dict__.update(arrays=arrays, **{name: sent.received() for name, sent in state.items()})

    @property
    def row_bytes(self) -> int:
        """The size of one example."""
        arrays = (*self.arrays.values(), self.targets, self.excluded, self.weights)
        return sum(values[:1].nbytes for values in arrays)

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
    """The batches of the present epoch; their order depends on seed, epoch and window alone.

    Up to `window` examples are one permutation. More are cut into shards of neighbouring rows; shards come in random
    order, and so many as make a window are permuted together, so that an epoch over files larger than memory reads
    each of their pages about once.
    """

    def __init__(self, examples: Batched, batch_size: int, seed: int, window: int | None = None) -> None:
        self.examples = examples
        self.batch_size = batch_size
        self.seed = seed
        self.window = window
        self.epoch: Callable[[], int] = int
        """The present epoch, from 0; the training loop says which it is."""
        self.part: Callable[[], tuple[int, int]] = _whole
        """Which of how many processes this is; each gets its part of every batch."""

    def __len__(self) -> int:
        return -(-len(self.examples) // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        waiting = np.empty(0, dtype=np.int64)
        for rows in self._windows():
            waiting = np.concatenate([waiting, rows])
            whole = len(waiting) - len(waiting) % self.batch_size
            for start in range(0, whole, self.batch_size):
                yield self._batch(waiting[start : start + self.batch_size])
            waiting = waiting[whole:]
        if len(waiting):
            yield self._batch(waiting)

    def _batch(self, rows: np.ndarray) -> Any:
        return self.examples.batch(part_of(np.sort(rows), *self.part()))

    def _windows(self) -> Iterator[np.ndarray]:
        """Every row once, in the epoch's order, a window at a time."""
        rng, rows = np.random.default_rng((self.seed, self.epoch())), len(self.examples)
        if self.window is None or rows <= self.window:
            yield rng.permutation(rows)
            return
        shard = max(1, self.window // SHARDS)
        starts = rng.permutation(np.arange(0, rows, shard))
        for first in range(0, len(starts), SHARDS):
            shards = [np.arange(start, min(start + shard, rows)) for start in starts[first : first + SHARDS]]
            yield rng.permutation(np.concatenate(shards))


def _whole() -> tuple[int, int]:
    return 0, 1


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
