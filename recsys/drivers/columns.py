"""The columns that may drive an outcome, as numbers for models, and the two sides of each that are compared."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.drivers.outcome import CAMPAIGN, CONTEXT, LOOKED, LOOKS
from recsys.features.definition import FeatureDefinition
from recsys.segment_cards.labels import WHOLE_CURRENCIES, YEAR, Labels, worded
from recsys.segment_cards.suppression import FEWEST

PRODUCT = f"{CAMPAIGN}product_id"
HOLDS = "holds."
"""Begins the name of a column that says whether a product is held."""
MOST_PRODUCTS = 30
MOST_LEVELS = 5
"""Levels of a category that are compared with the rest, the most frequent."""
LEAST_SHARE = 0.02
"""Of the rows on either side of a comparison."""
MASS = 0.2
"""Share of rows at the smallest value from which on a number is compared as any against none."""
ALIKE = 0.8
"""Two columns whose ranks correlate more than this say one thing."""
CLIP = 4.0


@dataclass(frozen=True)
class Contrast:
    """Two sides of a column: rows where something is so, and rows where it is not."""

    column: str
    key: str
    text: str
    """The one side, in words: `more than 4`."""
    against: str
    level: str | None = None
    """The value, of a category."""
    above: float | None = None
    """The value that the one side exceeds, of a number."""

    def side(self, values: np.ndarray, words: Sequence[str]) -> np.ndarray:
        """float64 [N]: 1 on the one side, 0 on the other, NaN where the column is not known."""
        if self.level is not None:
            exposed = (values == list(words).index(self.level)).astype(float)
        else:
            exposed = (values > (0.5 if self.above is None else self.above)).astype(float)
        return np.where(np.isnan(values), np.nan, exposed)


@dataclass(frozen=True)
class Columns:
    """Everything that a model sees, [N, F]; categories as the place among their words."""

    names: tuple[str, ...]
    values: np.ndarray
    words: Mapping[str, tuple[str, ...]]
    """Category → its values by place."""
    flags: frozenset[str]
    labels: Labels

    @property
    def categories(self) -> list[int]:
        """Places of the category columns."""
        return [place for place, name in enumerate(self.names) if name in self.words]

    def text(self, name: str) -> str:
        """A column in words."""
        if name.startswith(HOLDS):
            return f"holds {self.labels.product(name.removeprefix(HOLDS))}"
        fixed = {
            "contacted": "being contacted",
            "channel": "channel of the contact",
            "hour": "hour of the contact",
            "weekday": "day of the week",
        }
        if name.startswith(CONTEXT) and name.removeprefix(CONTEXT) in fixed:
            return fixed[name.removeprefix(CONTEXT)]
        if name.startswith(CONTEXT):
            return self.labels.label(name.removeprefix(CONTEXT)).text
        if name in (PRODUCT, LOOKS):
            looks = f"looks at the campaign's product, last {LOOKED} days"
            return looks if name == LOOKS else "the campaign's product"
        if name.startswith(CAMPAIGN):
            return f"the campaign's {self.labels.label(name.removeprefix(CAMPAIGN)).text}"
        return self.labels.label(name).full

    def spoken_words(self, name: str) -> list[str]:
        """What the values of a category, or the two of a flag, are called, by place; empty for a number."""
        if name in self.flags:
            return ["no", "yes"]
        words = self.words.get(name, ())
        return [self.labels.product(word) if name == PRODUCT else worded(word) for word in words]

    def scale(self, name: str) -> float:
        """How many of a number's stored units make one that people speak of: pence a pound, days a year."""
        unit, currency = self.labels.label(name).unit, self.labels.currency
        if unit in ("money", "trend"):
            return 1.0 if currency is None or currency in WHOLE_CURRENCIES else 100.0
        return YEAR if unit == "past" and self.labels.dated else 1.0

    def some(self, rows: np.ndarray) -> "Columns":
        """The same columns of some rows."""
        return Columns(self.names, self.values[rows], self.words, self.flags, self.labels)

    def without(self, names: Sequence[str]) -> "Columns":
        """All but some columns."""
        kept = [place for place, name in enumerate(self.names) if name not in names]
        words = {name: found for name, found in self.words.items() if name not in names}
        left = tuple(self.names[place] for place in kept)
        return Columns(left, self.values[:, kept], words, self.flags - set(names), self.labels)

    def at(self, name: str) -> np.ndarray:
        """float64 [N], one column."""
        return self.values[:, self.names.index(name)]

    def alike(self, name: str) -> list[str]:
        """Other columns that say the same as this one: they are not held equal when it is compared."""
        ranks, own = self._ranks, self.names.index(name)
        near = np.abs(ranks.T @ ranks[:, own]) > ALIKE
        return [other for place, other in enumerate(self.names) if near[place] and place != own]

    @property
    def _ranks(self) -> np.ndarray:
        """[N, F] ranks with mean 0 and length 1, the mean where a value is not known."""
        if "_cached" not in self.__dict__:
            filled = [_ranked(column) for column in self.values.T]
            object.__setattr__(self, "_cached", np.stack(filled, axis=1))
        found: np.ndarray = self.__dict__["_cached"]
        return found

    def design(self) -> np.ndarray:
        """float64 [N, W] for linear models: numbers standardised and clipped, levels as columns of zeros and ones."""
        parts = []
        for name, values in zip(self.names, self.values.T, strict=True):
            if name in self.words:
                places = range(min(len(self.words[name]), MOST_LEVELS))
                parts += [_standardised((values == place).astype(float)) for place in places]
            else:
                skewed = name not in self.flags and np.nanmin(values, initial=0) >= 0
                parts.append(_standardised(np.log1p(values) if skewed else values))
        return np.stack(parts, axis=1) if parts else np.zeros((len(self.values), 0))


def make_columns(rows: pl.DataFrame, definition: FeatureDefinition, labels: Labels) -> Columns:
    """Feature rows, and what was known of the contact beside them, as columns; those that never vary are left out.

    Tags and texts are left out. Where products are few, each that is held often enough is a column.
    """
    flags = {column.name for column in definition.profile if column.kind == "flag"} | {f"{CONTEXT}contacted"}
    numbers = [name for name in definition.numbers if name != "holdings.count" or definition.holdings]
    contact = [name for name in rows.columns if name.startswith((CONTEXT, CAMPAIGN))]
    if f"{CONTEXT}channel" in contact:
        contact = [n for n in contact if not n.startswith(CAMPAIGN) or not _same(rows[n], rows[f"{CONTEXT}channel"])]
    values: dict[str, np.ndarray] = {}
    words: dict[str, tuple[str, ...]] = {}
    for name in [*definition.categories, *numbers, *contact]:
        if rows.schema[name] == pl.String:
            words[name], values[name] = _coded(rows[name])
        else:
            values[name] = rows[name].cast(pl.Float64).to_numpy()
    if definition.holdings:
        for product in _frequent_products(rows):
            values[f"{HOLDS}{product}"] = rows["holdings"].list.contains(product).cast(pl.Float64).to_numpy()
            flags.add(f"{HOLDS}{product}")
    kept = [name for name, column in values.items() if _varies(column)]
    matrix = np.stack([values[name] for name in kept], axis=1) if kept else np.zeros((rows.height, 0))
    return Columns(tuple(kept), matrix, {n: words[n] for n in kept if n in words}, frozenset(flags & set(kept)), labels)


def contrasts(columns: Columns, name: str) -> Iterator[Contrast]:
    """The comparisons that a column asks for, those with enough rows on both sides."""
    values = columns.at(name)
    for contrast in _possible(columns, name, values):
        side = contrast.side(values, columns.words.get(name, ()))
        counts = np.array([(side == 0).sum(), (side == 1).sum()])
        if counts.min() >= max(FEWEST, LEAST_SHARE * len(values)):
            yield contrast


def _possible(columns: Columns, name: str, values: np.ndarray) -> Iterator[Contrast]:
    if name in columns.words:
        words = columns.words[name]
        for level in words[: 1 if len(words) == 2 else MOST_LEVELS]:  # of two, the one is the other turned round
            told = columns.labels.product(level) if name == PRODUCT else worded(level)
            yield Contrast(name, f"{name}={level}", told, "any other", level=level)
        return
    if name in columns.flags:
        yield Contrast(name, name, "yes", "no")
        return
    known = values[~np.isnan(values)]
    least = float(known.min())
    share = float((known == least).mean())
    cut = least if MASS <= share <= 1 - MASS else float(np.median(known))
    if cut >= known.max():
        cut = float(np.max(known[known < known.max()], initial=least))
    told = f"{cut:,.0f}" if columns.labels.label(name).unit in ("plain", "count") and cut == int(cut) else ""
    told = told or columns.labels.value(name, cut)
    against = told if cut == least else f"{told} or less"
    yield Contrast(name, f"{name}>{cut:g}", f"more than {told}", against, above=cut)


def _coded(values: pl.Series) -> tuple[tuple[str, ...], np.ndarray]:
    """Values by frequency, then by name, and each row's place among them; NaN where it is not known."""
    counts = values.drop_nulls().value_counts().sort(["count", values.name], descending=[True, False])
    found = tuple(counts[values.name].to_list())
    if not found:
        return (), np.full(len(values), np.nan)
    places = values.replace_strict({word: float(i) for i, word in enumerate(found)}, return_dtype=pl.Float64)
    return found, places.to_numpy()


def _frequent_products(rows: pl.DataFrame) -> list[str]:
    held = rows["holdings"].explode().drop_nulls()
    counts = held.value_counts().sort(["count", "holdings"], descending=[True, False])
    often = counts.filter(pl.col("count").is_between(LEAST_SHARE * rows.height, (1 - LEAST_SHARE) * rows.height))
    return sorted(often["holdings"].head(MOST_PRODUCTS).to_list())


def _varies(values: np.ndarray) -> bool:
    known = values[~np.isnan(values)]
    return len(known) > 0 and bool((known != known[0]).any())


def _same(first: pl.Series, second: pl.Series) -> bool:
    """Whether the one says what the other says, where both are known."""
    pairs = pl.DataFrame({"a": first, "b": second}).drop_nulls().unique()
    return pairs["a"].n_unique() == pairs.height == pairs["b"].n_unique()


def _ranked(values: np.ndarray) -> np.ndarray:
    ranks = pl.Series(values).fill_nan(None).rank("average")
    filled = (ranks - ranks.mean()).fill_null(0.0).to_numpy()
    length = float(np.sqrt((filled**2).sum()))
    return filled / length if length > 0 else filled


def _standardised(values: np.ndarray) -> np.ndarray:
    known = ~np.isnan(values)
    mean = float(values[known].mean()) if known.any() else 0.0
    spread = float(values[known].std()) if known.any() else 0.0
    filled = np.where(known, values, mean) - mean
    return np.clip(filled / spread, -CLIP, CLIP) if spread > 0 else filled
