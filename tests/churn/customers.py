"""A lake of customers alone of whom some have left, for reasons that are planted, and a configuration for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.lake.store import Attribute, Lake, LakeWriter
from training.config import Config, parse_config

ATTRIBUTES = (
    Attribute("balance", "feature", "number"),
    Attribute("age", "feature", "number"),
    Attribute("active", "feature", "flag"),
    Attribute("country", "feature", "category"),
    Attribute("sex", "protected", "category"),
    Attribute("market", "group", "category"),
    Attribute("complained", "outcome", "flag"),
    Attribute("left", "label", "flag"),
)


def customers(rows: int = 900, seed: int = 0) -> pl.DataFrame:
    """Leaving rises with age, falls with activity; balances go below zero; who complained is who left."""
    rng = np.random.default_rng(seed)
    age, active = rng.uniform(20, 80, rows), rng.random(rows) < 0.5
    country = np.array(["FR", "DE", "ES"])[rng.integers(0, 3, rows)]
    score = -1.2 + 0.08 * (age - 50) - 1.5 * active + 0.8 * (country == "DE")
    left = rng.random(rows) < 1 / (1 + np.exp(-score))
    return pl.DataFrame(
        {
            "customer_id": [f"C{i:05d}" for i in range(rows)],
            "balance": [None if i % 11 == 0 else float(v) for i, v in enumerate(rng.normal(500, 2000, rows))],
            "age": age,
            "active": active,
            "country": country,
            "sex": [["f", "m"][i % 2] for i in range(rows)],
            "market": country,
            "complained": left,
            "left": left,
        }
    )


def write_lake(path: Path, rows: pl.DataFrame, attributes: Sequence[Attribute] = ATTRIBUTES) -> Lake:
    """The customers as a lake of two buckets."""
    with LakeWriter(path, buckets=2, attributes={"customers": list(attributes)}) as writer:
        writer.append("customers", rows)
    return Lake.open(path)


def role(name: str, wanted: str) -> tuple[Attribute, ...]:
    """The attributes with another role for one of them."""
    return tuple(Attribute(a.name, wanted, a.kind) if a.name == name else a for a in ATTRIBUTES)


def leaving_config(**churn: Any) -> Config:
    """A logistic regression alone."""
    section = {"models": {"candidates": ["logistic"]}, **churn}
    return parse_config({"name": "leaving", "threads": 1, "recommender": False, "churn": section}, "the test")
