"""Feature rows to arrays: vocabularies, clipping bounds and scales, fitted once on training rows and kept as JSON."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from recsys.errors import DataError
from recsys.features.profile import text_tokens
from recsys.features.sketch import Sketch, quantile
from recsys.features.vocabulary import MISSING, Vocabulary, flatten

PADDING, UNKNOWN, FIRST = 0, 1, 2
"""Index 0 is padding, 1 is unknown, 2… the vocabulary. In a category column, "missing" is a word of its own."""
MAX_HOLDINGS = 4096
"""Catalogues above this size have no multi-hot holdings; the history says what was taken, or a list where there is
no history."""
AGE_BUCKETS = 14
"""Ages are padding, or 1 + floor(log2(days)), at most 13."""
LARGEST = 1e100
"""Numbers beyond this are refused where an encoder is fitted: they are no measure of anything."""
_CHUNK = 1 << 13
"""Rows whose numbers are scaled at a time."""


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
        return _scaled(values[:, None], _scales([self]))[:, 0]


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
            arrays[f"{prefix}categories"] = self._coded(rows)
        if self.numbers:
            arrays[f"{prefix}numbers"], arrays[f"{prefix}missing"] = self._scaled(rows)
        if self.tags:
            arrays[f"{prefix}tags"] = self._tags(rows)
        return arrays

    def _coded(self, rows: pl.DataFrame) -> np.ndarray:
        """int32 [N, C]; the first word of a category, None, stands for a missing value."""
        found = np.empty((rows.height, len(self.categories)), dtype=np.int32)
        for i, (name, words) in enumerate(self._words.items()):
            place = words.places(rows[name])
            found[:, i] = np.where(place >= 0, place + FIRST + 1, np.where(place == MISSING, FIRST, UNKNOWN))
        return found

    @cached_property
    def _words(self) -> dict[str, Vocabulary]:
        return {name: Vocabulary([w for w in words if w is not None]) for name, words in self.categories.items()}

    def _scaled(self, rows: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """float32 [N, M] numbers and flags of those that are missing."""
        table = rows[list(self.numbers)]
        if table.height == 1:  # Polars makes the array of a frame in its own threads, for which one customer would wait
            values = np.array([table.row(0)], dtype=np.float64)
            return _scaled(values, self._scales), np.isnan(values).astype(np.float32)
        if any(kind != pl.Float64 for kind in table.dtypes):
            table = table.cast(pl.Float64)
        numbers, missing = (np.empty(table.shape, dtype=np.float32) for _ in range(2))
        for start in range(0, table.height, _CHUNK):
            some = slice(start, start + _CHUNK)
            values = table[some].to_numpy()
            numbers[some], missing[some] = _scaled(values, self._scales), np.isnan(values)
        return numbers, missing

    @cached_property
    def _scales(self) -> np.ndarray:
        return _scales(self.numbers.values())

    def _tags(self, rows: pl.DataFrame) -> np.ndarray:
        """int32 [N, tag_width]: each row's known tags, most frequent first, then 0; one shared index over columns."""
        found, start, last = [], FIRST, self.tag_words
        for name, words in self._vocabularies.items():
            row, flat = flatten(rows[name])
            place = words.places(flat)
            found.append((row * (last + 1) + np.where(place >= 0, place + start, last))[place != MISSING])
            start += len(words)
        row, code = np.divmod(np.unique(np.concatenate(found)), last + 1)
        place = np.arange(len(row)) - np.searchsorted(row, row)
        kept = place < self.tag_width
        tags = np.zeros((rows.height, self.tag_width), dtype=np.int32)
        tags[row[kept], place[kept]] = np.where(code == last, UNKNOWN, code)[kept]
        return tags

    @cached_property
    def _vocabularies(self) -> dict[str, Vocabulary]:
        return {name: Vocabulary(words) for name, words in self.tags.items()}

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
        rows = text_as_tags(products, self.product.tags, self.product.numbers)
        return {"product": self.product_indices(products["product_id"]), **self.product.encode(rows, "product_")}

    def flat_products(self, lists: pl.Series) -> tuple[np.ndarray, np.ndarray]:
        """Lists of product ids [N] → flat (row, index)."""
        row, flat = flatten(lists)
        return row, self.product_indices(flat)

    def product_indices(self, products: pl.Series) -> np.ndarray:
        """int32 [N] product ids → indices, 1 for unknown."""
        return _index(self._catalogue.places(products))

    @cached_property
    def _catalogue(self) -> Vocabulary:
        return Vocabulary(self.products)

    def padded_products(self, lists: pl.Series, width: int | None = None) -> np.ndarray:
        """Lists of product ids [N] → int32 [N, width], left aligned, 0 after the end."""
        row, codes = self.flat_products(lists)
        place = _places(row)
        width = width if width is not None else int(place.max(initial=0)) + 1
        padded = np.zeros((len(lists), width), dtype=np.int32)
        kept = place < width
        padded[row[kept], place[kept]] = codes[kept]
        return padded

    def _history(self, rows: pl.DataFrame) -> dict[str, np.ndarray]:
        row, product = flatten(rows["history"])
        place = self.history - 1 - _places(row[::-1])[::-1]
        kept = place >= 0
        kind = flatten(rows["history_kind"])[1]
        arrays = {"history": self.product_indices(product), "history_kind": _index(self._kinds.places(kind))}
        if self.dated:
            days = flatten(rows["history_age"])[1].cast(pl.Float64).to_numpy()
            days = np.where(np.isnan(days), 1.0, days).clip(1)
            arrays["history_age"] = 1 + np.floor(np.log2(days)).clip(0, AGE_BUCKETS - 2).astype(np.int32)
        padded = {}
        for name, values in arrays.items():
            padded[name] = np.zeros((rows.height, self.history), dtype=np.int32)
            padded[name][row[kept], place[kept]] = values[kept]
        return padded

    @cached_property
    def _kinds(self) -> Vocabulary:
        return Vocabulary(self.kinds)


def text_as_tags(products: pl.DataFrame, tags: Collection[str], numbers: Collection[str]) -> pl.DataFrame:
    texts = [name for name in tags if products.schema[name] == pl.String]
    dates = [name for name in numbers if products.schema[name] == pl.Date]
    return products.with_columns(
        *[text_tokens(pl.col(name)).alias(name) for name in texts],
        *[pl.col(name).to_physical().cast(pl.Float64).alias(name) for name in dates],
    )


def _index(place: np.ndarray) -> np.ndarray:
    """Places → int32 indices, UNKNOWN for what has no place."""
    return np.where(place >= 0, place + FIRST, UNKNOWN).astype(np.int32)


def _places(row: np.ndarray) -> np.ndarray:
    """The place of each flat value in its list, from 0, by its row; rows are in order, up or down."""
    first = np.flatnonzero(np.concatenate([[True], row[1:] != row[:-1]])) if len(row) else row
    return np.arange(len(row)) - np.repeat(first, np.diff(np.append(first, len(row))))


def _scales(specs: Iterable[NumberEncoder]) -> np.ndarray:
    """float64 [6, M]: lower, median, upper, mean, std, and the scale of the logarithm, NaN for none."""
    found = [(s.lower, s.median, s.upper, s.mean, s.std, s.log_scale) for s in specs]
    return np.array(found, dtype=np.float64).T.copy()


def _scaled(values: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """float64 [N, M] with NaN for missing → float32 [N, M]."""
    lower, median, upper, mean, std, unit = scales
    known = np.where(np.isnan(values), median, values).clip(lower, upper)
    logged = np.flatnonzero(~np.isnan(unit))
    known[:, logged] = _signed_log(known[:, logged], unit[logged])
    return ((known - mean) / std).astype(np.float32)


def _signed_log(values: np.ndarray, scale: float | np.ndarray) -> np.ndarray:
    return np.sign(values) * np.log1p(np.abs(values) / scale)


def _moments(values: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Weighted mean and standard deviation; 1 instead of a deviation of zero."""
    mean = float(np.average(values, weights=counts))
    std = float(np.sqrt(np.average((values - mean) ** 2, weights=counts)))
    return mean, std if std > 1e-9 * max(1.0, abs(mean)) else 1.0
