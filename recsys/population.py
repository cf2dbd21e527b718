"""What a population looks like, column by column: shares of cells, counted bucket by bucket and kept as aggregates.

A cell of fewer than `FEWEST` customers is joined with its neighbour, or with other rare words, or left out.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from recsys.errors import DataError
from recsys.features.definition import FeatureDefinition
from recsys.features.sketch import GROWTH, Sketch, quantile
from recsys.segment_cards.suppression import FEWEST

MOST_WORDS = 50
"""Most words of a column that have a cell of their own; the rest are one cell."""


class Cells(BaseModel):
    """One column cut into cells: a number at edges, or words, and in both how many customers each cell holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    edges: tuple[float, ...] | None = None
    """Of a number, ascending: the first cell is up to the first edge, the last above the last. None for words."""
    words: tuple[str, ...] | None = None
    """Words with a cell each; all others share one after them. None for a number."""
    counts: tuple[int, ...]
    """Customers in each cell, then those of whom the value is not known; of lists, mentions, then empty lists."""
    mean: float | None = None
    """Of a number that is known of somebody."""
    median: float | None = None
    """Of a number that is known of somebody."""

    def names(self) -> list[str]:
        """How each cell is called, in the order of `counts`."""
        if self.words is not None:
            return [*self.words, "other", "not known"]
        edges = [f"{edge:,.6g}" for edge in self.edges or ()]
        if not edges:
            return ["any", "not known"]
        inner = [f"{low} to {high}" for low, high in zip(edges, edges[1:], strict=False)]
        return [f"up to {edges[0]}", *inner, f"above {edges[-1]}", "not known"]


class Population(BaseModel):
    """Every column's cells; nothing in it is about fewer than `FEWEST` customers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    customers: int
    columns: dict[str, Cells]


class ColumnCounts:
    """What has been seen of one column: values, or words; None or NaN where it is not known."""

    def __init__(self) -> None:
        self.sketch = Sketch()
        self.words: Counter[str] = Counter()
        self.missing = 0

    def merge(self, other: "ColumnCounts") -> None:
        """Add what another has seen."""
        self.sketch.merge(other.sketch)
        self.words.update(other.words)
        self.missing += other.missing

    def values(self) -> tuple[np.ndarray, np.ndarray]:
        """The numbers met, ascending and to 1 %, and how often each was."""
        return self.sketch.bins()


class PopulationState:
    """Counts over buckets, in any order and grouping."""

    def __init__(self, numbers: Iterable[str], words: Iterable[str] = (), lists: Iterable[str] = ()) -> None:
        self.numbers, self.words, self.lists = tuple(numbers), tuple(words), tuple(lists)
        self.columns = {name: ColumnCounts() for name in (*self.numbers, *self.words, *self.lists)}
        if len(self.columns) < len(self.numbers) + len(self.words) + len(self.lists):
            raise DataError("a population's columns are numbers, words or lists, and each is named once")
        self.customers = 0

    @classmethod
    def of_features(
        cls, definition: FeatureDefinition, numbers: Sequence[str] = (), words: Sequence[str] = ()
    ) -> "PopulationState":
        """For the feature rows of a definition, and columns that were put beside them."""
        lists = [*definition.tags, *(["holdings"] if definition.holdings else [])]
        return cls((*definition.numbers, *numbers), (*definition.categories, *words), lists)

    def update(self, rows: pl.DataFrame) -> None:
        """Add a row for each customer."""
        self.customers += rows.height
        for name in self.numbers:
            values = rows[name].cast(pl.Float64).to_numpy()
            seen = self.columns[name]
            seen.sketch.update(values)
            seen.missing += int(np.isnan(values).sum())
        for name in self.words:
            self._count(name, rows[name].cast(pl.String), rows[name].null_count())
        for name in self.lists:
            empty = int((rows[name].list.len().fill_null(0) == 0).sum())
            self._count(name, rows[name].explode(empty_as_null=True), empty)

    def _count(self, name: str, words: pl.Series, missing: int) -> None:
        seen = self.columns[name]
        seen.words.update(dict(words.drop_nulls().rename("word").value_counts().iter_rows()))
        seen.missing += missing

    def merge(self, other: "PopulationState") -> None:
        """Add what another state of the same columns has seen."""
        self.customers += other.customers
        for name, seen in self.columns.items():
            seen.merge(other.columns[name])

    def finish(self, bins: int = 10) -> Population:
        """The population's cells: of a number about `bins` equally full, as far as its values can be told apart."""
        cells = {name: _number_cells(self.columns[name], bins) for name in self.numbers}
        cells |= {name: _word_cells(self.columns[name]) for name in (*self.words, *self.lists)}
        return Population(customers=self.customers, columns={name: cells[name] for name in self.columns})


def counts_in(cells: Cells, seen: ColumnCounts) -> np.ndarray:
    """float64 [C] what was seen, counted in the cells of another population."""
    if cells.words is None:
        values, counts = seen.values()
        place = np.searchsorted(np.array(cells.edges, dtype=np.float64), values)
        held = np.bincount(place, weights=counts, minlength=len(cells.counts) - 1)
    else:
        known = [seen.words[word] for word in cells.words]
        held = np.array([*known, seen.words.total() - sum(known)], dtype=np.float64)
    return np.append(held, float(seen.missing))


def _number_cells(seen: ColumnCounts, bins: int) -> Cells:
    values, counts = seen.values()
    if not len(values):
        return Cells(edges=(), counts=(0, _shown(seen.missing)))
    edges = _edges(values, counts, bins)
    held = counts_in(Cells(edges=edges, counts=(0,) * (len(edges) + 2)), seen)
    edges, inside = _joined(edges, held[:-1])
    return Cells(
        edges=edges,
        counts=(*(_shown(count) for count in inside), _shown(seen.missing)),
        mean=float(np.average(values, weights=counts)) if counts.sum() >= FEWEST else None,
        median=quantile(values, counts, 0.5) if counts.sum() >= FEWEST else None,
    )


def _edges(values: np.ndarray, counts: np.ndarray, bins: int) -> tuple[float, ...]:
    """Edges at quantiles, and around a smallest or largest value that many share: beyond it is then a cell of its own.

    An edge is a bound of the sketch's bins, so that what the sketch cannot tell apart is never cut.
    """
    cumulative = np.cumsum(counts) / counts.sum()
    places = np.searchsorted(cumulative, np.arange(1, bins) / bins - 1e-12)
    found = {_above(values[place]) for place in places if place < len(values) - 1}
    if counts[0] >= max(FEWEST, counts.sum() / bins):
        found.add(_below(values[0]))
    if counts[-1] >= max(FEWEST, counts.sum() / bins):
        found.add(_above(values[-1]))
    return tuple(sorted(found))


def _above(value: float) -> float:
    """Just above everything that the sketch shows as `value`."""
    return value * (1 + GROWTH) / 2 if value > 0 else value * (1 + GROWTH) / (2 * GROWTH)


def _below(value: float) -> float:
    """Just below everything that the sketch shows as `value`; below zero is anything that is negative."""
    return -1e-10 if value == 0 else -_above(-value)


def _joined(edges: tuple[float, ...], counts: np.ndarray) -> tuple[tuple[float, ...], list[float]]:
    """Without the edges beside cells of some customers, but fewer than `FEWEST`; empty cells tell of nobody."""
    kept, held = list(edges), [float(count) for count in counts]
    while len(held) > 1 and (small := [i for i, count in enumerate(held) if 0 < count < FEWEST]):
        i = small[0]
        other = i + 1 if i == 0 or (i + 1 < len(held) and held[i + 1] < held[i - 1]) else i - 1
        held[max(i, other)] += held[min(i, other)]
        del held[min(i, other)], kept[min(i, other)]
    return tuple(kept), held


def _word_cells(seen: ColumnCounts) -> Cells:
    often = sorted((-count, word) for word, count in seen.words.items() if count >= FEWEST)[:MOST_WORDS]
    words = tuple(word for _, word in often)
    known = [-count for count, _ in often]
    return Cells(words=words, counts=(*known, _shown(seen.words.total() - sum(known)), _shown(seen.missing)))


def _shown(count: float) -> int:
    return int(count) if count >= FEWEST else 0
