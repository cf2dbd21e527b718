"""What a file of rules may say: frozen models that refuse what they do not know."""

import hashlib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from recsys.strict_yaml import read_yaml, validate

RESERVED = ("held", "excluded", "not_a_candidate")
"""Names under which an answer tells of removals that are no rule's."""
Value = bool | int | float | date | str
Name = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class OfProduct(_Model):
    """A bound that every product brings itself, such as its least age."""

    product: str = Field(min_length=1)
    """The attribute of the product; a product where it is not known has no such bound."""


Bound = float | date | OfProduct


class Selection(_Model):
    """Some products: those that are named, or of a category, or have an attribute's value."""

    ids: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    """Values of the attribute that the file names as `category`."""
    attributes: dict[str, tuple[Value, ...]] = {}
    """Attribute of products → values; a product must have one of them, for every attribute named here."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.ids or self.categories or self.attributes):
            raise ValueError("names no product; give ids, categories or attributes")
        if empty := sorted(name for name, values in self.attributes.items() if not values):
            raise ValueError(f"attributes.{empty[0]}: names no value")
        return self


class Test(_Model):
    """What an attribute of the customer must be; everything that is said must hold."""

    __test__ = False

    any_of: tuple[Value, ...] | None = Field(default=None, min_length=1)
    """It is one of these; of tags, one of them is."""
    none_of: tuple[Value, ...] | None = Field(default=None, min_length=1)
    """It is none of these; of tags, none of them is."""
    at_least: Bound | None = None
    """A number, or a day."""
    at_most: Bound | None = None
    years_at_least: float | OfProduct | None = None
    """Of a date: whole years that have passed by the day asked for, so the age of who was born then."""
    years_at_most: float | OfProduct | None = None
    known: Literal[True] | None = None
    """It is known."""

    @model_validator(mode="after")
    def _can_hold(self) -> Self:
        said = self.model_dump(exclude_none=True)
        if not said:
            raise ValueError(f"says nothing; give one of {', '.join(type(self).model_fields)}")
        for low, high in ((self.at_least, self.at_most), (self.years_at_least, self.years_at_most)):
            plain = isinstance(low, int | float | date) and type(low) is type(high)
            if plain and low > high:  # type: ignore[operator]
                raise ValueError(f"nothing is at least {low} and at most {high}")
        return self

    @property
    def bounds(self) -> Iterator[tuple[str, Bound]]:
        """Name and value of every bound."""
        for name in ("at_least", "at_most", "years_at_least", "years_at_most"):
            if (value := getattr(self, name)) is not None:
                yield name, value


class SegmentTest(_Model):
    """In which segment of the bundle the customer must be, by the segments' ids."""

    any_of: tuple[str, ...] = ()
    none_of: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.any_of or self.none_of):
            raise ValueError("names no segment; give any_of or none_of")
        return self


class Risk(_Model):
    """A product's class of risk must not be above the customer's."""

    customer: str = Field(min_length=1)
    """The customer's attribute."""
    product: str = Field(min_length=1)
    """The product's attribute; a product without a value has no risk."""
    order: tuple[str, ...] = Field(min_length=2)
    """The classes, the least risk first."""


class Stock(_Model):
    """How much of the product must be left."""

    attribute: str = Field(min_length=1)
    """The product's attribute with the number that is left; where it is not known, there is enough."""
    at_least: float = 1


class Consent(_Model):
    """What the customer must have allowed, as the table consents stands before the day."""

    purpose: str = Field(min_length=1)
    channels: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Through one of these at least; without it, through any."""


class ContactConsent(_Model):
    """What the customer must have allowed through the channel, as the table consents stands before the day."""

    purpose: str = Field(min_length=1)


class _Rest(_Model):
    after: Literal["contact", "acquisition", "refusal"]
    """contact: a row of contacts with contacted. acquisition: an interaction acquired. refusal: see `outcomes`."""
    days: int = Field(ge=1, le=36_500)
    """The rest ends after so many days: what happened on day 0 counts on days 1 to `days`."""
    outcomes: tuple[str, ...] = Field(default=("refused",), min_length=1)
    """Kinds in the table outcomes that are a refusal."""


class CoolingOff(_Rest):
    """Rest after something happened to the customer."""

    about: Literal["product", "category", "any"] = "product"
    """Whose event: the same product's, one's of its category, or any. An event that names no product counts for all."""


class ContactRest(_Rest):
    """Rest after something happened to the customer, whatever product it was about."""

    each_channel: bool = False
    """After a contact, rest for its own channel only; else for every channel of the rule."""


class Cap(_Model):
    """So many contacts at most."""

    contacts: int = Field(ge=1)
    days: int = Field(ge=1, le=36_500)
    """In so many days before the day asked for."""
    each_channel: bool = False
    """For each channel of the rule by itself; else for all channels together."""


class _Rule(_Model):
    name: str = Name
    """As an answer names the rule that removed a product."""
    why: str = ""
    """For whoever reads the file."""
    customer: dict[str, Test] = {}
    """Attribute of customers → what it must be."""
    unknown: Literal["remove", "keep"] = "remove"
    """What becomes of a customer of whom an attribute, or the segment, is not known."""
    segment: SegmentTest | None = None
    starts: date | OfProduct | None = None
    """First day on which what the rule governs may be offered."""
    ends: date | OfProduct | None = None
    """Last such day."""
    protected: bool = False
    """Says that the rule reads an attribute whose role is protected, and is meant to: the law asks for an age, say."""

    @model_validator(mode="after")
    def _days_in_order(self) -> Self:
        if self.name in RESERVED:
            raise ValueError(f"name: {self.name!r} stands in answers for what no rule removed; choose another")
        if isinstance(self.starts, date) and isinstance(self.ends, date) and self.ends < self.starts:
            raise ValueError(f"ends {self.ends} before it starts, {self.starts}: it would always remove")
        return self

    @property
    def conditions(self) -> dict[str, Any]:
        """What the rule asks for, by key."""
        plain = {"name", "why", "unknown", "protected", "products", "channels"}
        found = {name: getattr(self, name) for name in type(self).model_fields if name not in plain}
        return {name: value for name, value in found.items() if value}


class ProductRule(_Rule):
    """When products may be recommended: all that is said must hold, else the products it governs are removed."""

    products: Selection | None = None
    """The products it governs; all if not given."""
    requires: Selection | OfProduct | None = None
    """The customer must hold one of these; with `product`, all that the attribute (tags) of the product names."""
    excludes: Selection | OfProduct | None = None
    """The customer must hold none of these."""
    risk: Risk | None = None
    stock: Stock | None = None
    consent: Consent | None = None
    cooling_off: CoolingOff | None = None

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if not self.conditions:
            raise ValueError(f"rule {self.name}: asks for nothing; to forbid products always, end them (ends: a day)")
        return self


class ContactRule(_Rule):
    """When a customer may be contacted through a channel: all that is said must hold."""

    channels: tuple[str, ...] | None = Field(default=None, min_length=1)
    """The channels it governs; all if not given."""
    starts: date | None = None
    """First day on which the channels may be used."""
    ends: date | None = None
    """Last such day."""
    consent: ContactConsent | None = None
    cooling_off: ContactRest | None = None
    cap: Cap | None = None

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if not self.conditions:
            raise ValueError(f"rule {self.name}: asks for nothing; give customer, segment, consent, cooling_off or cap")
        loose = [name for name, test in self.customer.items() if any(isinstance(b, OfProduct) for _, b in test.bounds)]
        if loose:
            raise ValueError(f"rule {self.name}: customer.{loose[0]}: a contact has no product to take a bound from")
        return self


class Rules(_Model):
    """A file of rules. Order matters for one thing: the first rule that removes a product is the one that is named."""

    category: str | None = None
    """The attribute of products that `categories` and `about: category` mean."""
    products: tuple[ProductRule, ...] = ()
    """When products may be recommended."""
    contacts: tuple[ContactRule, ...] = ()
    """When customers may be contacted."""

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        names = [rule.name for rule in (*self.products, *self.contacts)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"the name {twice[0]} stands twice; a name says which rule removed something")
        if not names:
            raise ValueError("no rules; give products, contacts or both")
        return self

    @classmethod
    def read(cls, path: Path | str) -> "Rules":
        """The rules of a YAML file; ConfigError names every key that is wrong."""
        return validate(cls, read_yaml(Path(path)), str(path))

    @property
    def digest(self) -> str:
        """16 hex digits that name what the rules say, whatever comments the file has."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]
