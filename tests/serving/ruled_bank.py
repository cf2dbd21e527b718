"""The small bank with what rules read besides: consents, outcomes, a protected attribute, terms of the products."""

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from recsys.lake.store import Attribute, Lake, LakeWriter

RULES: dict[str, Any] = {
    "category": "family",
    "products": [
        {
            "name": "adults",
            "why": "the law asks for the age",
            "products": {"categories": ["loan", "card"]},
            "customer": {"born": {"years_at_least": {"product": "min_age"}}},
        },
        {"name": "residents", "products": {"ids": ["P02"]}, "customer": {"region": {"any_of": ["north", "south"]}}},
        {
            "name": "insured_apart",
            "protected": True,
            "products": {"ids": ["P05"]},
            "customer": {"sex": {"known": True}},
        },
        {"name": "card_first", "products": {"categories": ["loan"]}, "requires": {"categories": ["card"]}},
        {"name": "no_second", "products": {"ids": ["P08"]}, "excludes": {"ids": ["P02", "P11"]}},
        {"name": "sold_out", "stock": {"attribute": "left"}},
        {"name": "allowed", "products": {"ids": ["P00", "P03"]}, "consent": {"purpose": "marketing"}},
        {"name": "rest", "cooling_off": {"after": "acquisition", "days": 90, "about": "category"}},
        {"name": "refused", "cooling_off": {"after": "refusal", "days": 365}},
        {"name": "closed_list", "customer": {"income": {"at_least": 12_000}}, "unknown": "keep"},
    ],
}


def ruled_lake(small: Lake, path: Path) -> Lake:
    """A copy of the small bank's lake with more tables and attributes; the bundle of the small bank fits it."""
    rng = np.random.default_rng(11)
    ids = small.read("customers")["customer_id"]
    products = small.read("products")
    attributes = {table: list(small.attributes(table)) for table in ("customers", "products")}
    attributes["customers"].append(Attribute("sex", "protected", "category"))
    attributes["products"] += [Attribute("min_age", "feature", "number"), Attribute("left", "feature", "number")]
    sex = pl.Series("sex", [["f", "m", None][i] for i in rng.integers(0, 3, len(ids))], dtype=pl.String)
    terms = [
        pl.Series("min_age", [None if i % 4 == 3 else float(18 + 10 * (i % 4)) for i in range(products.height)]),
        pl.Series("left", [0.0 if i == 7 else None for i in range(products.height)]),
    ]
    with LakeWriter(
        path, buckets=small.buckets, currency="GBP", source="ruled", until=date(2025, 12, 31), attributes=attributes
    ) as lake:
        lake.append("customers", small.read("customers").with_columns(sex))
        lake.append("products", products.with_columns(terms))
        for table in (
            "account_holders",
            "accounts",
            "transactions",
            "balances",
            "interactions",
            "campaigns",
            "contacts",
        ):
            lake.append(table, small.read(table))
        lake.append("consents", _consents(rng, ids))
        lake.append("outcomes", _outcomes(rng, ids, products["product_id"]))
    return Lake.open(path)


def write_rules(path: Path, rules: dict[str, Any] = RULES) -> Path:
    path.write_text(yaml.safe_dump(rules, sort_keys=False))
    return path


def _days(rng: np.random.Generator, n: int) -> pl.Series:
    days = [datetime(2024, 6, 1) + timedelta(days=int(i)) for i in rng.integers(0, 380, n)]
    return pl.Series(days, dtype=pl.Datetime("us"))


def _consents(rng: np.random.Generator, ids: pl.Series) -> pl.DataFrame:
    n = 700
    frame = pl.DataFrame(
        {
            "customer_id": ids.gather(rng.integers(0, len(ids), n)),
            "purpose": "marketing",
            "channel": pl.Series([["mail", "app", None][i] for i in rng.integers(0, 3, n)], dtype=pl.String),
            "granted": rng.random(n) < 0.6,
            "at": _days(rng, n),
        }
    )
    return frame.unique(["customer_id", "channel", "at"], keep="first", maintain_order=True)


def _outcomes(rng: np.random.Generator, ids: pl.Series, products: pl.Series) -> pl.DataFrame:
    n = 300
    named = products.gather(rng.integers(0, len(products), n))
    return pl.DataFrame(
        {
            "outcome_id": [f"O{i:04d}" for i in range(n)],
            "customer_id": ids.gather(rng.integers(0, len(ids), n)),
            "product_id": pl.Series([None if i % 9 == 0 else name for i, name in enumerate(named)], dtype=pl.String),
            "kind": [["refused", "converted"][i] for i in rng.integers(0, 2, n)],
            "at": _days(rng, n),
        }
    )
