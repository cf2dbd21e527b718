"""Fitting an encoder: one streaming pass over feature rows, mergeable over buckets in any order."""

from collections import Counter

import numpy as np
import polars as pl

from recsys.errors import DataError
from recsys.features.definition import Column, FeatureDefinition
from recsys.features.encoder import LARGEST, Encoder, NumberEncoder, SideEncoder, text_as_tags
from recsys.features.sketch import Sketch

_MIN_COUNT = 3
_MAX_WORDS = 10_000
_MAX_TAGS = 16


class EncoderState:
    """What fitting has seen so far: one streaming pass, mergeable over buckets in any order."""

    def __init__(self, definition: FeatureDefinition, products: pl.DataFrame, log_unit: float | None = None) -> None:
        """`log_unit` is that of `FeatureConfig`."""
        self._definition = definition
        self._products = products
        profile = {column.name: column for column in definition.profile}
        names = [*definition.categories, *definition.tags, *definition.numbers]
        self._customer = _SideState(
            [profile.get(name, Column(name=name, kind="number")) for name in names], log_unit=log_unit
        )

    def update(self, rows: pl.DataFrame) -> None:
        """Add feature rows of training examples."""
        self._customer.update(rows)

    def merge(self, other: "EncoderState") -> None:
        """Add what another state has seen."""
        self._customer.merge(other._customer)

    def finish(self) -> Encoder:
        """The encoder. Raises DataError if no row was seen."""
        definition = self._definition
        side = _SideState(list(definition.product_attributes), min_count=1)
        side.update(text_as_tags(self._products, side.tags, side.numbers))
        return Encoder(
            customer=self._customer.finish(),
            product=side.finish(),
            products=tuple(self._products["product_id"].unique().sort().to_list()),
            holdings=definition.holdings,
            held=definition.holdings_length,
            history=definition.history_length,
            kinds=definition.history_kinds,
            dated=definition.dated,
        )


def _refuse_beyond(rows: pl.DataFrame, name: str, values: np.ndarray) -> None:
    """DataError for a value so large that a mean of squares would be infinite."""
    beyond = np.flatnonzero(np.abs(values) > LARGEST)
    if len(beyond):
        table, key = ("products", "product_id") if "product_id" in rows.columns else ("customers", "customer_id")
        first = int(beyond[0])
        raise DataError(
            f"{table}.{name}: {values[first]:g} of {rows[key][first]} is beyond {LARGEST:g}; "
            "write null where a value is not known"
        )


class _SideState:
    def __init__(self, columns: list[Column], min_count: int = _MIN_COUNT, log_unit: float | None = None) -> None:
        self.min_count = min_count
        self.log_units = {c.name: log_unit if c.kind == "number" else None for c in columns}
        self.categories: dict[str, Counter[str | None]] = {c.name: Counter() for c in columns if c.kind == "category"}
        self.tags: dict[str, Counter[str]] = {c.name: Counter() for c in columns if c.kind in ("tags", "text")}
        self.numbers = {c.name: Sketch() for c in columns if c.kind in ("number", "flag", "date")}
        self.tag_width = 1

    def update(self, rows: pl.DataFrame) -> None:
        for name, counter in self.categories.items():
            counter.update(dict(rows[name].value_counts().iter_rows()))
        for name, tags in self.tags.items():
            words = rows[name].explode().drop_nulls().rename("word")
            tags.update(dict(words.value_counts().iter_rows()))
        if self.tags:
            lengths = rows.select(pl.sum_horizontal(pl.col(name).list.len().fill_null(0) for name in self.tags).max())
            self.tag_width = max(self.tag_width, min(_MAX_TAGS, int(lengths.item() or 0)))
        for name, sketch in self.numbers.items():
            dtype = rows.schema[name]
            values = (rows[name].to_physical() if dtype == pl.Date else rows[name]).cast(pl.Float64).to_numpy()
            _refuse_beyond(rows, name, values)
            sketch.update(values)

    def merge(self, other: "_SideState") -> None:
        for name in self.categories:
            self.categories[name].update(other.categories[name])
        for name in self.tags:
            self.tags[name].update(other.tags[name])
        for name in self.numbers:
            self.numbers[name].merge(other.numbers[name])
        self.tag_width = max(self.tag_width, other.tag_width)

    def finish(self) -> SideEncoder:
        return SideEncoder(
            categories={name: (None, *self._words(counts)) for name, counts in self.categories.items()},
            numbers={name: NumberEncoder.fit(sketch, self.log_units[name]) for name, sketch in self.numbers.items()},
            tags={name: self._words(counts) for name, counts in self.tags.items()},
            tag_width=self.tag_width,
        )

    def _words(self, counts: "Counter[str | None] | Counter[str]") -> tuple[str, ...]:
        """Values seen often enough, most frequent first, ties by name; the rest is unknown."""
        often = [(-count, word) for word, count in counts.items() if word is not None and count >= self.min_count]
        return tuple(word for _, word in sorted(often)[:_MAX_WORDS])
