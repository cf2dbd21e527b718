"""Tests of a customer's attributes: prepared against the catalogue once, asked of many customers at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from recsys.errors import ConfigError
from recsys.lake.contract import KINDS, Attribute
from recsys.rules.catalogue import FORBIDDEN, Catalogue, check_values, find_attribute, has_any
from recsys.rules.config import Bound, OfProduct, Test
from recsys.rules.seen import Seen

Levels = tuple[np.ndarray, np.ndarray]
"""int64 [N] the level of each customer, and bool [L, P] what is removed at each."""


@dataclass(frozen=True)
class CompiledTest:
    """One attribute's test within a rule."""

    attribute: Attribute
    test: Test
    governed: np.ndarray
    """bool [P]."""
    bounds: Mapping[str, np.ndarray]
    """float64 [P] of each bound, NaN where a product has none; days since 1970 for a day."""
    remove_unknown: bool

    def removed(self, seen: Seen) -> Iterator[Levels]:
        """What the test removes from the customers."""
        values = seen.attribute(self.attribute.name, KINDS[self.attribute.kind])
        missing = values.is_null().to_numpy()
        fails = np.zeros(len(values), dtype=bool)
        if self.test.any_of is not None:
            fails |= ~has_any(values, self.test.any_of) & ~missing
        if self.test.none_of is not None:
            fails |= has_any(values, self.test.none_of)
        plain = self.test.any_of is not None or self.test.none_of is not None
        if self.test.known or (plain and self.remove_unknown):
            fails |= missing
        if plain or self.test.known:
            yield two_levels(fails, self.governed)
        for name, bound in self.bounds.items():
            number = _years(values, seen.as_of) if name.startswith("years") else _number(values)
            yield _by_bound(number, bound, name.endswith("least"), self.governed, self.remove_unknown)


def compile_test(
    name: str,
    test: Test,
    known: Mapping[str, Attribute],
    catalogue: Catalogue,
    governed: np.ndarray,
    *,
    remove_unknown: bool,
    protected: bool,
    where: str,
) -> CompiledTest:
    """The test against these columns; ConfigError for what is unknown, of the wrong kind, or not to be read."""
    attribute = find_attribute("customers", name, known, where)
    _check_role(attribute, protected, where)
    for key, values in (("any_of", test.any_of), ("none_of", test.none_of)):
        check_values(attribute, values or (), f"{where}.{key}")
    bounds = {key: _bound(attribute, key, value, catalogue, f"{where}.{key}") for key, value in test.bounds}
    return CompiledTest(attribute, test, governed, bounds, remove_unknown)


def two_levels(fails: np.ndarray, governed: np.ndarray) -> Levels:
    """Those who fail, bool [N], lose what is governed, bool [P]."""
    return fails.astype(np.int64), np.stack([np.zeros_like(governed), governed])


def _check_role(attribute: Attribute, protected: bool, where: str) -> None:
    if attribute.role in FORBIDDEN:
        raise ConfigError(
            f"{where}: customers.{attribute.name} has the role {attribute.role}, which nobody knows when a decision "
            "is made; a rule reads features, groups or protected attributes"
        )
    if attribute.role == "protected" and not protected:
        raise ConfigError(
            f"{where}: customers.{attribute.name} is protected; where the law asks for it, say so in the rule with "
            "protected: true, and why"
        )


def _bound(attribute: Attribute, key: str, value: Bound, catalogue: Catalogue, where: str) -> np.ndarray:
    """float64 [P]."""
    years = key.startswith("years")
    kinds: Sequence[str] = ("date",) if years else ("number", "date")
    if attribute.kind not in kinds:
        right = f"{' or '.join(kinds)}; use any_of or none_of" if not years else "date"
        raise ConfigError(f"{where}: customers.{attribute.name} has the kind {attribute.kind}; it must be a {right}")
    wanted = "number" if years else attribute.kind
    if isinstance(value, OfProduct):
        column = catalogue.column(value.product, (wanted,), f"{where}.product")
        return _number(column)
    plain = "date" if isinstance(value, date) else "number"
    if plain != wanted:
        raise ConfigError(f"{where}: {value!r} is a {plain}, but {attribute.name} is a {attribute.kind}")
    number = (value - date(1970, 1, 1)).days if isinstance(value, date) else float(value)
    return np.full(len(catalogue.offered), float(number))


def _by_bound(number: np.ndarray, bound: np.ndarray, least: bool, governed: np.ndarray, remove_unknown: bool) -> Levels:
    """Levels by the distinct bounds: how many of them a customer reaches; the last is for who is not known."""
    steps = np.unique(bound[~np.isnan(bound)])
    reached: Callable[[float], np.ndarray] = (lambda b: number >= b) if least else (lambda b: number <= b)
    order = steps if least else steps[::-1]
    level = np.zeros(len(number), dtype=np.int64)
    for step in order:
        level += reached(step)
    level[np.isnan(number)] = len(order) + 1
    place = np.full(len(bound), -1)
    for i, step in enumerate(order):
        place[bound == step] = i
    table = np.arange(len(order) + 1)[:, None] <= place[None, :]
    unknown = (place >= 0) & remove_unknown
    return level, np.vstack([table, unknown[None, :]]) & governed


def _number(values: pl.Series) -> np.ndarray:
    """float64 [N], NaN where not known; days since 1970-01-01 of a day."""
    whole = values.to_physical() if values.dtype == pl.Date else values
    number = whole.cast(pl.Float64).to_numpy()
    return np.where(np.isfinite(number), number, np.nan)


def _years(values: pl.Series, as_of: date | None) -> np.ndarray:
    """float64 [N]: birthdays that have passed by the day, counted from each date; NaN where not known or to come."""
    assert as_of is not None
    day = pl.col("d").dt
    before = (day.month() > as_of.month) | ((day.month() == as_of.month) & (day.day() > as_of.day))
    years = values.alias("d").to_frame().select(as_of.year - day.year() - before.cast(pl.Int32))
    number = years.to_series().cast(pl.Float64).to_numpy()
    return np.where(number >= 0, number, np.nan)
