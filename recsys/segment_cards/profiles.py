"""What columns of rows look like in each segment: counts, means and variances, gathered bucket by bucket and merged."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

Scale = Callable[[np.ndarray], np.ndarray]
"""float64 [N] values → [N] on the scale on which differences are judged."""


@dataclass
class Moments:
    """Count, mean and sum of squared deviations of F numbers in K segments, merged exactly.

    Chan, Golub, LeVeque: Updating Formulae and a Pairwise Algorithm for Computing Sample Variances, 1979.
    """

    count: np.ndarray
    """float64 [K, F], values that are known."""
    mean: np.ndarray
    m2: np.ndarray

    @classmethod
    def empty(cls, segments: int, columns: int) -> "Moments":
        return cls(*(np.zeros((segments, columns)) for _ in range(3)))

    @classmethod
    def of(cls, values: np.ndarray, index: np.ndarray, segments: int) -> "Moments":
        """From float64 [N, F] with NaN for not known, and each row's segment [N]."""
        found = cls.empty(segments, values.shape[1])
        for k in range(segments):
            here = values[index == k]
            known = ~np.isnan(here)
            count = known.sum(axis=0)
            mean = np.where(known, here, 0.0).sum(axis=0) / np.maximum(count, 1)
            found.count[k], found.mean[k] = count, mean
            found.m2[k] = (np.where(known, here - mean, 0.0) ** 2).sum(axis=0)
        return found

    def merge(self, other: "Moments") -> None:
        total = self.count + other.count
        share = other.count / np.maximum(total, 1)
        apart = other.mean - self.mean
        self.m2 += other.m2 + apart**2 * self.count * share
        self.mean += apart * share
        self.count = total

    def pooled(self, rows: np.ndarray) -> "Moments":
        """The segments marked in bool [K], as one."""
        found = Moments.empty(1, self.count.shape[1])
        for k in np.flatnonzero(rows):
            found.merge(Moments(self.count[k : k + 1], self.mean[k : k + 1], self.m2[k : k + 1]))
        return found

    @property
    def variance(self) -> np.ndarray:
        """Unbiased; NaN where fewer than two values are known."""
        return np.where(self.count > 1, self.m2 / np.maximum(self.count - 1, 1), np.nan)


@dataclass
class Profiles:
    """The columns of feature rows, or of attributes that are only reported, by segment. Nothing of a customer stays."""

    segments: int
    numbers: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    """Columns of lists: tags and holdings."""
    scales: Mapping[str, Scale] = field(default_factory=dict)
    """Number → the scale on which it is judged; as it is where none is given."""

    def __post_init__(self) -> None:
        self.sizes = np.zeros(self.segments)
        """float64 [K] customers."""
        self.raw = Moments.empty(self.segments, len(self.numbers))
        self.scaled = Moments.empty(self.segments, len(self.numbers))
        self.nonzero = np.zeros((self.segments, len(self.numbers)))
        self.lowest = np.full(len(self.numbers), np.inf)
        """The smallest value seen of each number: a ratio of means says something only where none is negative."""
        self.words: dict[str, dict[str | None, np.ndarray]] = {n: {} for n in (*self.categories, *self.sets)}
        """Column → value (None: not known) → float64 [K] customers."""

    def update(self, rows: pl.DataFrame, index: np.ndarray) -> None:
        """Add rows, one per customer, and the segment [N] of each."""
        if len(index) != rows.height:
            raise ValueError(f"index: {len(index)} segments for {rows.height} rows")
        self.sizes += np.bincount(index, minlength=self.segments)
        if self.numbers and rows.height:
            self._add_numbers(rows, index)
        place = pl.Series("segment", index, dtype=pl.Int64)
        for name in self.categories:
            self._add_words(name, rows.select(place, pl.col(name).cast(pl.String).alias("word")))
        for name in self.sets:
            lists = rows.select(place, pl.col(name).list.unique().alias("word"))
            self._add_words(name, lists.explode("word").drop_nulls("word"))

    def merge(self, other: "Profiles") -> None:
        """Add what another one has seen of the same columns."""
        self.sizes += other.sizes
        self.raw.merge(other.raw)
        self.scaled.merge(other.scaled)
        self.nonzero += other.nonzero
        self.lowest = np.minimum(self.lowest, other.lowest)
        for name, words in other.words.items():
            for word, counts in words.items():
                self._count(name, word)[:] += counts

    def _add_numbers(self, rows: pl.DataFrame, index: np.ndarray) -> None:
        values = rows.select(pl.col(name).cast(pl.Float64) for name in self.numbers).to_numpy()
        values = np.where(np.isfinite(values), values, np.nan)
        known = ~np.isnan(values)
        scaled = values.copy()
        for place, name in enumerate(self.numbers):
            if name in self.scales:
                scaled[:, place] = np.where(known[:, place], self.scales[name](values[:, place]), np.nan)
        self.raw.merge(Moments.of(values, index, self.segments))
        self.scaled.merge(Moments.of(scaled, index, self.segments))
        np.add.at(self.nonzero, index, known & (values != 0))
        self.lowest = np.minimum(self.lowest, np.where(known, values, np.inf).min(axis=0))

    def _add_words(self, name: str, found: pl.DataFrame) -> None:
        for word, segment, count in found.group_by("word", "segment").len().iter_rows():
            self._count(name, word)[segment] += count

    def _count(self, name: str, word: str | None) -> np.ndarray:
        return self.words[name].setdefault(word, np.zeros(self.segments))

    def table(self, name: str, order: Sequence[str | None] | None = None) -> tuple[list[str | None], np.ndarray]:
        """A column's values, the most frequent first, ties by name, and float64 [K, V] customers."""
        words = self.words[name]
        names = list(order) if order is not None else sorted(words, key=lambda w: (-words[w].sum(), w is None, w or ""))
        nothing = np.zeros(self.segments)
        return names, np.stack([words.get(w, nothing) for w in names], axis=1) if names else np.zeros((len(nothing), 0))
