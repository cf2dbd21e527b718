"""Random streams of the synthetic bank: one generator per (seed, bucket, stream name), uniform doubles only.

The rule that keeps the bank frozen: a stream is opened once per bucket under a name, and whatever is drawn from it
depends on nothing that another stream drew later. An addition opens a stream with a new name and leaves the draws of
the existing ones, their order and their shapes, as they are. So a seed gives the same bank before and after it.

Every distribution is made here from `Generator.random` (a plain scaling of PCG64's raw output) by inversion or
Box-Muller, since NumPy promises the raw output of a bit generator for ever, but not its distributions.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Draws:
    """One stream of random numbers."""

    def __init__(self, generator: np.random.Generator):
        self._generator = generator

    def uniform(self, *shape: int) -> Floats:
        """Uniform on [0, 1)."""
        return self._generator.random(shape)

    def normal(self, *shape: int) -> Floats:
        """Standard normal (Box and Muller 1958, the cosine half)."""
        radius = np.sqrt(-2.0 * np.log1p(-self._generator.random(shape)))
        return radius * np.cos(2.0 * np.pi * self._generator.random(shape))

    def poisson(self, rate: Floats) -> Ints:
        """Poisson counts by inversion, one uniform each; meant for rates below about 50."""
        uniform = self._generator.random(rate.shape).ravel()
        flat = np.asarray(rate, dtype=np.float64).ravel()
        counts = np.zeros(flat.size, dtype=np.int64)
        term = np.exp(-flat)
        left = np.flatnonzero(uniform >= term)
        term, cumulative, k = term[left], term[left], 0
        while left.size and k < 500:
            k += 1
            counts[left] = k
            term = term * flat[left] / k
            cumulative = cumulative + term
            keep = uniform[left] >= cumulative
            left, term, cumulative = left[keep], term[keep], cumulative[keep]
        return counts.reshape(rate.shape)

    def pick(self, weights: Floats, rows: Ints) -> Ints:
        """For each entry of `rows` [n] a column drawn in proportion to that row of `weights` [R, K] -> [n]."""
        return pick(weights, rows, self._generator.random(rows.shape))

    def pick_each(self, weights: Floats) -> Ints:
        """One column per row of `weights` [R, K] -> [R]."""
        return self.pick(weights, np.arange(len(weights)))


def pick(weights: Floats, rows: Ints, uniform: Floats) -> Ints:
    """The column of `weights` [R, K] at which each row's cumulative share passes `uniform` [n]; rows [n] -> [n]."""
    cumulative = np.cumsum(weights, axis=1)
    cumulative /= cumulative[:, -1:]
    width = weights.shape[1]
    flat = (cumulative + np.arange(len(weights))[:, None]).ravel()
    found = np.searchsorted(flat, rows + uniform, side="right") - rows * width
    return np.clip(found, 0, width - 1)


class Streams:
    """The streams of one bucket of the bank that a seed names."""

    def __init__(self, seed: int, bucket: int):
        self._seed, self._bucket = seed, bucket

    def open(self, name: str) -> Draws:
        """A fresh generator at the start of the stream `name`; the same name always starts at the same place."""
        word = int.from_bytes(hashlib.md5(name.encode(), usedforsecurity=False).digest()[:8], "big")
        sequence = np.random.SeedSequence([self._seed, self._bucket, word])
        return Draws(np.random.Generator(np.random.PCG64(sequence)))
