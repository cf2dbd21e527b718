"""Feature rows to arrays: vocabularies, clipping bounds and scales, fitted once on training rows and kept as JSON."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from recsys.errors import DataError
from recsys.features.definition import Column, FeatureDefinition
from recsys.features.profile import text_tokens
from recsys.features.sketch import Sketch, quantile

PADDING, UNKNOWN, FIRST = 0, 1, 2
"""Index 0 is padding, 1 is unknown, 2… the vocabulary. In a category column, "missing" is a word of its own."""
MAX_HOLDINGS = 4096
"""Catalogues above this size have no multi-hot holdings; the history says what was taken, or a list where there is
no history."""
AGE_BUCKETS = 14
"""Ages are padding, or 1 + floor(log2(days)), at most 13."""
LARGEST = 1e100
"""Numbers beyond this are refused where an encoder is fitted: they are no measure of anything."""
_MIN_COUNT = 3
_MAX_WORDS = 10_000
_MAX_TAGS = 16


class NumberEncoder(BaseModel):
    """Clip at fitted quantiles, take the logarithm if skewed, standardise; missing becomes the median and a flag."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lower: float
    upper: float
    median: float
    log_scale: float | None
    """Scale s of sign(x)·log(1 + |x|/s), or None for no logarithm."""
    mean: float
    std: float

    @classmethod
    def fit(cls, sketch: Sketch, log_unit: float | None = None) -> "NumberEncoder":
        """From what a sketch has seen; a column that is never known encodes as 0 with its flag.

        With a `log_unit` the logarithm is taken whatever the skewness.
        """
        values, counts = sketch.bins()
        if not len(values):
            return cls(lower=0, upper=0, median=0, log_scale=None, mean=0, std=1)
        lower, median, upper = (quantile(values, counts, q) for q in (0.001, 0.5, 0.999))
        if lower == upper:
            lower, upper = float(values[0]), float(values[-1])
        clipped = values.clip(lower, upper)
        mean, std = _moments(clipped, counts)
        skewness = float(np.average(((clipped - mean) / std) ** 3, weights=counts))
        log_scale = log_unit
        if log_unit is None and abs(skewness) > 2:
            nonzero = values != 0
            size = np.abs(values[nonzero])
            order = np.argsort(size)
            log_scale = quantile(size[order], counts[nonzero][order], 0.5)
        if log_scale is not None:
            mean, std = _moments(_signed_log(clipped, log_scale), counts)
        return cls(lower=lower, upper=upper, median=median, log_scale=log_scale, mean=mean, std=std)

    def encode(self, values: np.ndarray) -> np.ndarray:
        """float64 [N] with NaN for missing → float32 [N]."""
        clipped = np.where(np.isnan(values), self.median, values).clip(self.lower, self.upper)
        if self.log_scale is not None:
            clipped = _signed_log(clipped, self.log_scale)
        return ((clipped - self.mean) / self.std).astype(np.float32)


@dataclass(frozen=True)
class ArrayShape:
    """What the arrays of an encoder look like: all that a model must know of them."""

    categories: tuple[int, ...]
    """Vocabulary size, with padding and unknown, of each category column of the customer."""
    numbers: int
    tags: int
    """Vocabulary size of the customer's tags, 0 if there are none."""
    holdings: bool
    """Whether holdings are a column for each product."""
    history: int
    """Length of the history, 0 if there is none."""
    kinds: int
    """Number of kind indices in the history, with padding and unknown; 0 without history."""
    ages: int
    """Number of age buckets with padding; 0 if events have no dates."""
    products: int
    """Catalogue size + 2."""
    product_categories: tuple[int, ...]
    product_numbers: int
    product_tags: int
    held: int = 0
    """Length of the list of held products where holdings are no columns, 0 if there is none."""


class SideEncoder(BaseModel):
    """The attribute columns of one side, customers or products."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    categories: dict[str, tuple[str | None, ...]]
    numbers: dict[str, NumberEncoder]
    tags: dict[str, tuple[str, ...]]
    tag_width: int

    def encode(self, rows: pl.DataFrame, prefix: str = "") -> dict[str, np.ndarray]:
        """Arrays `categories`, `numbers`, `missing`, `tags`; those with no column are absent."""
        arrays = {}
        if self.categories:
            columns = [_indices(rows[name], words) for name, words in self.categories.items()]
            arrays[f"{prefix}categories"] = np.stack(columns, axis=1)
        if self.numbers:
            raw = {name: rows[name].cast(pl.Float64).to_numpy() for name in self.numbers}
            known = [spec.encode(raw[name]) for name, spec in self.numbers.items()]
            arrays[f"{prefix}numbers"] = np.stack(known, axis=1)
            arrays[f"{prefix}missing"] = np.stack([np.isnan(v) for v in raw.values()], axis=1).astype(np.float32)
        if self.tags:
            arrays[f"{prefix}tags"] = self._tags(rows)
        return arrays

    def _tags(self, rows: pl.DataFrame) -> np.ndarray:
        """int32 [N, tag_width]: each row's known tags, most frequent first, then 0; one shared index over columns."""
        found, start = [], FIRST
        for name, words in self.tags.items():
            index = dict(zip(words, range(start, start + len(words)), strict=True))
            flat = rows.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"), name).explode(name).drop_nulls()
            code = pl.col(name).replace_strict(index, default=UNKNOWN, return_dtype=pl.Int32)
            found.append(flat.select("row", code.alias("code")))
            start += len(words)
        codes = pl.concat(found).unique().sort("row", pl.col("code") == UNKNOWN, "code")
        place = pl.int_range(pl.len()).over("row")
        codes = codes.with_columns(place.alias("place")).filter(pl.col("place") < self.tag_width)
        tags = np.zeros((rows.height, self.tag_width), dtype=np.int32)
        tags[codes["row"].to_numpy(), codes["place"].to_numpy()] = codes["code"].to_numpy()
        return tags

    @property
    def tag_words(self) -> int:
        """Number of tag indices with padding and unknown, 0 without tags."""
        return sum(map(len, self.tags.values())) + FIRST if self.tags else 0


class Encoder(BaseModel):
    """A fitted encoder; what it holds is aggregates and vocabularies, no row about any customer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    customer: SideEncoder
    product: SideEncoder
    products: tuple[str, ...]
    """The catalogue, sorted; product i has index i + 2."""
    holdings: bool
    held: int
    """Most held products that are read from a catalogue too large for a column each."""
    history: int
    kinds: tuple[str, ...]
    dated: bool

    @property
    def shape(self) -> ArrayShape:
        """The arrays' shape."""
        return ArrayShape(
            categories=tuple(len(words) + FIRST for words in self.customer.categories.values()),
            numbers=len(self.customer.numbers),
            tags=self.customer.tag_words,
            holdings=self.holdings and len(self.products) <= MAX_HOLDINGS,
            held=self.held if self.holdings and len(self.products) > MAX_HOLDINGS and not self.history else 0,
            history=self.history,
            kinds=len(self.kinds) + FIRST if self.history else 0,
            ages=AGE_BUCKETS if self.history and self.dated else 0,
            products=len(self.products) + FIRST,
            product_categories=tuple(len(words) + FIRST for words in self.product.categories.values()),
            product_numbers=len(self.product.numbers),
            product_tags=self.product.tag_words,
        )

    def encode(self, rows: pl.DataFrame) -> dict[str, np.ndarray]:
        """Feature rows [N] → the customer arrays; see `ArrayShape`. A part with nothing to read is absent."""
        arrays = self.customer.encode(rows)
        shape = self.shape
        if shape.holdings:
            row, codes = self.flat_products(rows["holdings"])
            held = np.zeros((rows.height, shape.products), dtype=np.float32)
            held[row, codes] = 1.0
            arrays["holdings"] = held
        if shape.held:
            arrays["held"] = self.padded_products(rows["holdings"], shape.held)
        if shape.history:
            arrays |= self._history(rows)
        if not arrays:
            raise DataError("features: the source has no profile, no holdings and no history, so nothing to learn from")
        return arrays

    def encode_products(self, products: pl.DataFrame) -> dict[str, np.ndarray]:
        """Rows of the products table [P] → the product arrays; a product outside the vocabulary has index 1."""
        rows = _text_as_tags(products, self.product)
        return {"product": self.product_indices(products["product_id"]), **self.product.encode(rows, "product_")}

    def flat_products(self, lists: pl.Series) -> tuple[np.ndarray, np.ndarray]:
        """Lists of product ids [N] → flat (row, index)."""
        row, flat = _flatten(lists)
        return row, self.product_indices(flat)

    def product_indices(self, products: pl.Series) -> np.ndarray:
        """int32 [N] product ids → indices, 1 for unknown; an enumeration is cast to twice as fast as a map is read."""
        codes = products.cast(self._catalogue, strict=False).to_physical().cast(pl.Int32)
        return (codes + FIRST).fill_null(UNKNOWN).to_numpy()

    @cached_property
    def _catalogue(self) -> pl.Enum:
        return pl.Enum(list(self.products))

    def padded_products(self, lists: pl.Series, width: int | None = None) -> np.ndarray:
        """Lists of product ids [N] → int32 [N, width], left aligned, 0 after the end."""
        row, codes = self.flat_products(lists)
        place = _places(lists)
        width = width if width is not None else int(place.max(initial=0)) + 1
        padded = np.zeros((len(lists), width), dtype=np.int32)
        kept = place < width
        padded[row[kept], place[kept]] = codes[kept]
        return padded

    def _history(self, rows: pl.DataFrame) -> dict[str, np.ndarray]:
        row, codes = self.flat_products(rows["history"])
        lengths = _lengths(rows["history"])
        place = _places(rows["history"]) + self.history - lengths[row]
        kept = place >= 0
        row, place = row[kept], place[kept]
        kinds = {kind: i for i, kind in enumerate(self.kinds, start=FIRST)}
        kind = _flatten(rows["history_kind"])[1].replace_strict(kinds, default=UNKNOWN, return_dtype=pl.Int32)
        arrays = {"history": codes[kept], "history_kind": kind.to_numpy()[kept]}
        if self.dated:
            days = _flatten(rows["history_age"])[1].cast(pl.Float64).fill_null(1.0).to_numpy()[kept]
            arrays["history_age"] = 1 + np.floor(np.log2(days.clip(1))).clip(0, AGE_BUCKETS - 2).astype(np.int32)
        padded = {}
        for name, values in arrays.items():
            padded[name] = np.zeros((rows.height, self.history), dtype=np.int32)
            padded[name][row, place] = values
        return padded


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
        side.update(_text_as_tags(self._products, side))
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


def _text_as_tags(products: pl.DataFrame, side: "SideEncoder | _SideState") -> pl.DataFrame:
    texts = [name for name in side.tags if products.schema[name] == pl.String]
    dates = [name for name in side.numbers if products.schema[name] == pl.Date]
    return products.with_columns(
        *[text_tokens(pl.col(name)).alias(name) for name in texts],
        *[pl.col(name).to_physical().cast(pl.Float64).alias(name) for name in dates],
    )


def _indices(values: pl.Series, words: tuple[str | None, ...]) -> np.ndarray:
    """String [N] → int32 [N]; words[0] is None, the word for a missing value."""
    index = {word: i for i, word in enumerate(words, start=FIRST) if word is not None}
    codes = values.replace_strict(index, default=UNKNOWN, return_dtype=pl.Int32)
    return pl.select(pl.when(values.is_null()).then(FIRST).otherwise(codes)).to_series().cast(pl.Int32).to_numpy()


def _flatten(lists: pl.Series) -> tuple[np.ndarray, pl.Series]:
    """Lists [N] → (row, value), flat; empty and null lists give nothing."""
    lengths = _lengths(lists)
    return np.repeat(np.arange(len(lists)), lengths), lists.filter(pl.Series(lengths > 0)).explode()


def _places(lists: pl.Series) -> np.ndarray:
    """The place of each flat value in its list, from 0."""
    lengths = _lengths(lists)
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def _lengths(lists: pl.Series) -> np.ndarray:
    return lists.list.len().fill_null(0).to_numpy().astype(np.int64)


def _signed_log(values: np.ndarray, scale: float) -> np.ndarray:
    return np.sign(values) * np.log1p(np.abs(values) / scale)


def _moments(values: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Weighted mean and standard deviation; 1 instead of a deviation of zero."""
    mean = float(np.average(values, weights=counts))
    std = float(np.sqrt(np.average((values - mean) ** 2, weights=counts)))
    return mean, std if std > 1e-9 * max(1.0, abs(mean)) else 1.0
