"""Four customers and five products on which every kind of rule has something to say."""

from datetime import date, datetime
from typing import Any

import polars as pl

from recsys.lake.contract import Attribute
from recsys.rules import CompiledRules, Rules
from recsys.rules.catalogue import Known

DAY = date(2025, 6, 1)
TIME = pl.Datetime("us")
PRODUCTS = ["account", "card", "fund", "loan", "pension"]
IDS = pl.Series("customer_id", ["a", "b", "c", "d"])
CHANNELS = ("call", "email")


def day(month: int, number: int) -> datetime:
    return datetime(2025, month, number, 12)


def tables() -> dict[str, pl.DataFrame]:
    """`a` is 40 and at home, `b` turns 18 on the day, `c` is a day short of it and abroad, of `d` nothing is known."""
    return {
        "customers": pl.DataFrame(
            {
                "customer_id": IDS,
                "born": [date(1985, 3, 1), date(2007, 6, 1), date(2007, 6, 2), None],
                "country": ["GB", "GB", "US", None],
                "income": [50_000.0, 9_000.0, 20_000.0, None],
                "sex": ["f", "m", "f", None],
                "risk": ["high", "low", None, None],
                "tags": [["vip", "app"], [], ["app"], None],
                "churned": [False, True, False, None],
            },
            schema_overrides={"tags": pl.List(pl.String)},
        ),
        "products": pl.DataFrame(
            {
                "product_id": PRODUCTS,
                "category": ["accounts", "lending", "invest", "lending", "invest"],
                "min_age": [None, 18.0, 18.0, 21.0, None],
                "risk": [None, None, "high", None, "low"],
                "left": [None, 0.0, 5.0, 1.0, None],
                "launched": [None, None, date(2025, 6, 1), date(2025, 6, 2), None],
                "needs": [[], ["account"], ["account", "pension"], None, []],
            },
            schema_overrides={"needs": pl.List(pl.String)},
        ),
        "interactions": pl.DataFrame(
            [
                ("a", "account", "acquired", day(1, 1)),
                ("a", "pension", "acquired", day(5, 25)),
                ("b", "account", "acquired", day(5, 31)),
                ("b", "card", "acquired", day(1, 1)),
                ("b", "card", "closed", day(2, 1)),
                ("c", "loan", "acquired", day(6, 1)),
            ],
            schema={"customer_id": pl.String, "product_id": pl.String, "kind": pl.String, "at": TIME},
            orient="row",
        ),
        "campaigns": pl.DataFrame({"campaign_id": ["k1", "k2"], "product_id": ["loan", None]}),
        "contacts": pl.DataFrame(
            [
                ("1", "a", "k1", day(5, 22), "call", True),
                ("2", "a", "k1", day(5, 31), "email", True),
                ("3", "a", "k2", day(5, 30), "email", True),
                ("4", "b", "k2", day(5, 31), "call", False),
                ("5", "c", "k2", day(5, 12), None, True),
            ],
            schema=["contact_id", "customer_id", "campaign_id", "at", "channel", "contacted"],
            orient="row",
            schema_overrides={"at": TIME},
        ),
        "consents": pl.DataFrame(
            [
                ("a", "marketing", "email", True, day(1, 1)),
                ("b", "marketing", None, True, day(1, 1)),
                ("b", "marketing", "call", False, day(2, 1)),
                ("c", "profiling", None, True, day(1, 1)),
                ("d", "marketing", "call", True, day(6, 1)),
            ],
            schema=["customer_id", "purpose", "channel", "granted", "at"],
            orient="row",
            schema_overrides={"at": TIME},
        ),
        "outcomes": pl.DataFrame(
            [
                ("a", "card", "refused", day(5, 1)),
                ("b", None, "refused", day(5, 30)),
                ("c", "card", "seen", day(5, 30)),
            ],
            schema=["customer_id", "product_id", "kind", "at"],
            orient="row",
            schema_overrides={"at": TIME},
        ),
    }


def known(**other: Any) -> Known:
    customers = {
        "born": ("feature", "date"),
        "country": ("group", "category"),
        "income": ("feature", "number"),
        "sex": ("protected", "category"),
        "risk": ("feature", "category"),
        "tags": ("feature", "tags"),
        "churned": ("label", "flag"),
    }
    products = {
        "category": "category",
        "min_age": "number",
        "risk": "category",
        "left": "number",
        "launched": "date",
        "needs": "tags",
    }
    found = tables()
    given: dict[str, Any] = {
        "products": found["products"],
        "product_attributes": [Attribute(name, "feature", kind) for name, kind in products.items()],
        "customer_attributes": [Attribute(name, role, kind) for name, (role, kind) in customers.items()],
        "tables": tuple(found),
        "dated": True,
        "segments": ["S1", "S2"],
        "channels": CHANNELS,
    }
    return Known(**{**given, **other})


def compiled(rules: dict[str, Any], **other: Any) -> CompiledRules:
    products = other.pop("products_offered", PRODUCTS)
    return CompiledRules(Rules.model_validate(rules), known(**other), products, CHANNELS, where="rules.yaml")


def removed(rule: dict[str, Any], segments: pl.Series | None = None) -> dict[str, set[str]]:
    """Customer → products that one rule removes."""
    rules = compiled({"category": "category", "products": [{"name": "rule", **rule}]})
    mask = rules.eligible(tables(), IDS, DAY, segments=segments).mask
    return {
        who: {p for p, left in zip(PRODUCTS, row, strict=True) if not left} for who, row in zip(IDS, mask, strict=True)
    }


def silenced(rule: dict[str, Any]) -> dict[str, set[str]]:
    """Customer → channels that one rule removes."""
    mask = compiled({"contacts": [{"name": "rule", **rule}]}).contactable(tables(), IDS, DAY).mask
    return {
        who: {c for c, left in zip(CHANNELS, row, strict=True) if not left} for who, row in zip(IDS, mask, strict=True)
    }
