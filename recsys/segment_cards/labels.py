"""Column names of feature rows as a reader would say them, and their values with units."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

from recsys.features.definition import FeatureDefinition
from recsys.lake.store import Lake

Unit = Literal["plain", "count", "money", "days", "trend", "flag", "past"]
"""past: a date as days before the day from which customers are seen. trend: money, falling or rising."""

WHOLE_CURRENCIES = ("CLP", "ISK", "JPY", "KRW", "PYG", "UGX", "VND", "XAF", "XOF", "XPF")
"""Currencies without minor units (ISO 4217)."""
YEAR = 365.25
NAMES = ("name", "product_name", "title", "label", "description")
"""Product attributes that name a product to a person, the best first."""
LONGEST_NAME = 60
_WINDOW = re.compile(r"\.(\d+)d$")
_SHORT = {"trx": "transactions", "txn": "transactions", "prc": "share of", "pct": "share of", "oneoff": "one-off"}
_DID = {
    "acquired": "products taken",
    "closed": "products closed",
    "viewed": "product views",
    "clicked": "clicks",
    "login": "logins",
    "enquired": "enquiries",
    "social": "social media contacts",
}
_LAST = {
    "acquired": "product taken",
    "closed": "product closed",
    "viewed": "product view",
    "clicked": "click",
    "login": "login",
    "enquired": "enquiry",
    "social": "social media contact",
}

_WORDS = {
    "accounts.oldest": ("old accounts", "new accounts"),
    "holdings.count": ("many products held", "few products held"),
    "contacts.recency": ("long not contacted", "recently contacted"),
}
_CAPITALS = ("ATM", "ISA", "SMS", "POS", "CD", "VIP")


@dataclass(frozen=True)
class Label:
    """How a feature is spoken of."""

    text: str
    unit: Unit = "plain"
    family: str = ""
    """The feature without its window: several windows of one measure say one thing."""
    table: str = ""
    """The table of events that it was counted from; empty for an attribute."""
    window: int | None = None
    """Days."""
    more: str = ""
    """How a name says that a segment has more of it; made of `text` where empty."""
    less: str = ""

    @property
    def full(self) -> str:
        return f"{self.text}, last {self.window} days" if self.window else self.text


@dataclass(frozen=True)
class Labels:
    """Labels of the columns of a definition, of a lake's products, and of money in its currency."""

    kinds: Mapping[str, str]
    """Customer attribute → kind."""
    products: Mapping[str, str]
    """Product id → name; the id itself where it has none."""
    currency: str | None = None
    dated: bool = True
    texts: Mapping[str, str] | None = None
    """Attribute → text, where its name alone is not good enough."""

    @classmethod
    def of(cls, definition: FeatureDefinition, products: Mapping[str, str], currency: str | None = None) -> "Labels":
        kinds = {column.name: column.kind for column in definition.profile}
        return cls(kinds, products, currency, definition.dated)

    @classmethod
    def of_lake(cls, definition: FeatureDefinition, lake: Lake) -> "Labels":
        """With the names of the lake's products, and its currency."""
        return cls.of(definition, product_names(lake), lake.currency)

    def label(self, feature: str) -> Label:
        """`transactions.category.food.out.90d` → spending on food, money, of the last 90 days."""
        if feature in self.kinds or "." not in feature:
            kind = self.kinds.get(feature)
            units: dict[str, Unit] = {"flag": "flag", "date": "past"}
            text = (self.texts or {}).get(feature, spoken(feature))
            counts: Unit = "count" if text.endswith("transactions") else "plain"
            return Label(text, units.get(kind or "", counts), feature)
        window = _WINDOW.search(feature)
        family = _WINDOW.sub("", feature)
        text, unit = _activity(family)
        more, less = _WORDS.get(family, ("", ""))
        days = int(window.group(1)) if window else None
        return Label(text, unit, family, feature.split(".")[0], days, more, less)

    def product(self, product: str) -> str:
        return self.products.get(product, product)

    def value(self, feature: str, number: float) -> str:
        """A mean of this feature with its unit."""
        unit = self.label(feature).unit
        if unit in ("money", "trend"):
            return money(number, self.currency)
        if unit == "past" and self.dated:
            return f"{number / YEAR:,.1f} years before"
        if unit == "past":
            return f"day {number:,.0f} since 1970"
        if unit == "days":
            return f"{number:,.0f} days"
        if unit == "flag":
            return percent(number)
        return plain(number)


def product_names(lake: Lake) -> dict[str, str]:
    """Product id → the name that people know it by; none where the lake has no such attribute."""
    if "products" not in lake.tables:
        return {}
    columns = [name for name in NAMES if lake.schema("products").get(name) == pl.String]
    if not columns:
        return {}
    named = lake.read("products").select("product_id", columns[0]).drop_nulls()
    return {product: name[:LONGEST_NAME] for product, name in named.iter_rows()}


def spoken(name: str) -> str:
    """A column's name or a word of one, in lower case and without underscores: `credit_score` → credit score."""
    text = name.replace("_", " ").strip()
    text = text.lower() if text.isupper() or text.istitle() or text.islower() else _camel(text)
    words = (_SHORT.get(word, word) for word in text.split())
    return " ".join(word.upper() if word.upper() in _CAPITALS else word for word in words)


def worded(value: str) -> str:
    """A value of a category as it is read: without underscores, in its own case, `sms` as SMS."""
    return " ".join(word.upper() if word.upper() in _CAPITALS else word for word in value.replace("_", " ").split())


def _camel(text: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text).lower() if " " not in text else text


def plain(number: float) -> str:
    """Three significant digits, thousands apart."""
    size = abs(number)
    if size >= 100:
        return f"{number:,.0f}"
    return f"{number:.1f}" if size >= 10 else f"{number:.2f}"


def percent(share: float) -> str:
    """Whole per cent, one digit more near either end."""
    digits = 1 if 0 < share < 0.1 or 0.995 <= share < 1 else 0
    return f"{share:.{digits}%}"


def money(minor: float, currency: str | None) -> str:
    """Minor units as an amount of the currency; without one as they are."""
    if currency is None:
        return f"{minor:,.0f} (minor units)"
    return f"{minor if currency in WHOLE_CURRENCIES else minor / 100:,.0f} {currency}"


def _activity(family: str) -> tuple[str, Unit]:
    """What a computed column counts, without its window."""
    parts = family.split(".")
    table, measure, of = parts[0], parts[-1], ".".join(parts[1:-1])
    if table == "transactions":
        return _transactions(of, measure)
    if table == "interactions":
        if measure == "recency":
            return f"days since the last {_LAST.get(of, spoken(of))}", "days"
        return _DID.get(of, spoken(of)), "count"
    if table == "contacts":
        if measure == "recency":
            return "days since the bank's last contact", "days"
        return (f"{spoken(of)} contacts" if of else "contacts by the bank"), "count"
    fixed: dict[str, tuple[str, Unit]] = {
        "balances.latest": ("balance", "money"),
        "balances.trend": ("balance trend", "trend"),
        "accounts.open": ("open accounts", "count"),
        "accounts.oldest": ("age of the oldest account", "days"),
        "holdings.count": ("products held", "count"),
    }
    return fixed.get(family, (family.replace(".", " "), "plain"))


def _transactions(of: str, measure: str) -> tuple[str, Unit]:
    if measure == "recency":
        return "days since the last transaction", "days"
    if measure == "trend":
        return "spending trend", "trend"
    group, _, name = of.partition(".")
    if group == "category":
        return (f"{spoken(name)} spending", "money") if measure == "out" else (f"{spoken(name)} payments", "count")
    if group == "channel":
        return f"{spoken(name)} transactions", "count"
    return {"in": ("money received", "money"), "out": ("spending", "money")}.get(measure, ("transactions", "count"))  # type: ignore[return-value]
