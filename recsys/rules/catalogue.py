"""What rules may name: products with their attributes, columns of customers, tables, segments, channels."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from recsys.errors import ConfigError
from recsys.features.vocabulary import Vocabulary
from recsys.lake.contract import Attribute, nearest
from recsys.rules.config import Selection, Value

FORBIDDEN = ("label", "outcome")
"""Roles of columns that nobody knows when a decision is made."""
_SAYS = {
    "category": (str,),
    "text": (str,),
    "tags": (str,),
    "flag": (bool,),
    "number": (int, float),
    "date": (date,),
}


@dataclass(frozen=True)
class Known:
    """What a lake, and a bundle, know that rules are compiled against."""

    products: pl.DataFrame
    """The catalogue with its attributes; at least `product_id`."""
    product_attributes: Sequence[Attribute]
    customer_attributes: Sequence[Attribute]
    tables: Collection[str]
    """The tables that there are."""
    dated: bool
    """Whether customers are seen from a day."""
    segments: Sequence[str] | None = None
    """Ids of the bundle's segments; None without a bundle that has them."""
    channels: Collection[str] | None = None
    """Channels that consents and contacts name; None where nobody has looked."""


class Catalogue:
    """Products that rules may name, and those among them that are recommended, in the order of the mask's columns."""

    def __init__(self, known: Known, offered: Sequence[str], category: str | None, where: str) -> None:
        """`offered` are the products of the mask's columns; `where` names the file in errors."""
        self.where = where
        self.category = category
        self.attributes = {attribute.name: attribute for attribute in known.product_attributes}
        self.ids = sorted({*known.products["product_id"].to_list(), *offered})
        self.place = {product: i for i, product in enumerate(self.ids)}
        self.offered = np.array([self.place[product] for product in offered], dtype=np.int64)
        wanted = pl.DataFrame({"product_id": pl.Series(self.ids, dtype=pl.String)})
        self._frame = wanted.join(known.products, on="product_id", how="left", maintain_order="left")

    def selected(self, selection: Selection, where: str) -> np.ndarray:
        """bool [A]: the products that a selection names, of all that are known; ConfigError names what is unknown."""
        found = np.zeros(len(self.ids), dtype=bool)
        for product in selection.ids:
            if product not in self.place:
                raise ConfigError(
                    f"{where}.ids: {product!r} is no product of the catalogue{nearest(product, self.ids)}"
                )
            found[self.place[product]] = True
        if selection.categories:
            found |= self._with(self.category_of(f"{where}.categories"), selection.categories, f"{where}.categories")
        if selection.attributes:
            both = np.ones(len(self.ids), dtype=bool)
            for name, values in selection.attributes.items():
                both &= self._with(name, values, f"{where}.attributes.{name}")
            found |= both
        return found

    def category_of(self, where: str) -> str:
        """The attribute that is the category; ConfigError if the file names none."""
        if self.category is None:
            raise ConfigError(f"{where}: the file does not say which attribute is the category; give category: NAME")
        kind = self._attribute(self.category, f"{self.where}: category").kind
        if kind != "category":
            raise ConfigError(f"{self.where}: category: products.{self.category} has the kind {kind}, not category")
        return self.category

    def groups(self, where: str) -> np.ndarray:
        """int64 [A] the category of every product that is known, by a number of its own; -1 for none."""
        words = self._frame[self.category_of(where)]
        return Vocabulary.of(words).places(words).clip(min=-1)

    def column(self, name: str, kinds: Sequence[str], where: str) -> pl.Series:
        """[P] an attribute of the products offered; ConfigError unless it is there and of such a kind."""
        kind = self._attribute(name, where).kind
        if kind not in kinds:
            raise ConfigError(f"{where}: products.{name} has the kind {kind}; it must be {' or '.join(kinds)}")
        return self._frame[name].gather(pl.Series(self.offered))

    def _attribute(self, name: str, where: str) -> Attribute:
        return find_attribute("products", name, self.attributes, where)

    def _with(self, name: str, values: Sequence[Value], where: str) -> np.ndarray:
        """bool [A]: one of the values; a value that no product has is most likely a slip, and refused."""
        check_values(self._attribute(name, where), values, where)
        column = self._frame[name]
        flat = column.explode() if column.dtype == pl.List else column
        there = set(flat.drop_nulls().to_list())
        for value in values:
            if value not in there:
                hint = nearest(str(value), sorted(map(str, there)))
                raise ConfigError(f"{where}: no product has {value!r} in products.{name}{hint}")
        return has_any(column, values)


def find_attribute(table: str, name: str, known: Mapping[str, Attribute], where: str) -> Attribute:
    """The attribute of that name; ConfigError, with the nearest, where there is none."""
    if name not in known:
        there = f"; it has {', '.join(sorted(known))}" if known else ""
        raise ConfigError(f"{where}: the table {table} has no attribute {name!r}{nearest(name, known) or there}")
    return known[name]


def check_values(attribute: Attribute, values: Sequence[Value], where: str) -> None:
    """ConfigError unless the values are of the attribute's kind."""
    for value in values:
        fits = isinstance(value, _SAYS[attribute.kind])
        if attribute.kind == "number":
            fits = fits and not isinstance(value, bool)
        if not fits:
            right = " or ".join(kind.__name__ for kind in _SAYS[attribute.kind])
            raise ConfigError(
                f"{where}: {value!r} is a {type(value).__name__}, but {attribute.name} has the kind {attribute.kind}; "
                f"give a {right}"
            )


def has_any(column: pl.Series, values: Sequence[Value]) -> np.ndarray:
    """bool [N]: whether the value, or one of the tags, is among `values`; false where it is not known."""
    if column.dtype == pl.List:
        wanted = pl.Series(list(values), dtype=pl.String)
        found = column.to_frame("v").select(pl.col("v").list.set_intersection(wanted.implode()).list.len() > 0)
        return found.to_series().fill_null(False).to_numpy()
    return column.is_in(pl.Series(list(values), dtype=column.dtype).implode()).fill_null(False).to_numpy()
