"""The customers that an embedding is learned from, at rest on the disk, and some of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor


@dataclass(frozen=True)
class Customers:
    """Every customer of the sample as seen from one day, at rest on the disk."""

    rows: tuple[Path, ...]
    """Feature rows, a file per bucket."""
    arrays: dict[str, np.ndarray]
    """The encoder's customer arrays, memory-mapped, in the order of the files."""
    share: float
    """The share of the lake's customers that was read."""

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def frames(self) -> Iterator[pl.DataFrame]:
        """The feature rows of one bucket after another."""
        for path in self.rows:
            yield pl.read_parquet(path)

    def batch(self, rows: np.ndarray | slice) -> dict[str, Tensor]:
        """The arrays of these rows as tensors."""
        return {name: torch.from_numpy(np.array(values[rows])) for name, values in self.arrays.items()}


@dataclass(frozen=True)
class Chosen:
    """Some rows of the customers."""

    customers: Customers
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: np.ndarray | slice) -> dict[str, Tensor]:
        return self.customers.batch(self.rows[rows])
