"""A lake of customers alone, without products, events or dates, and a configuration that segments it in seconds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.lake.store import Attribute, Lake, LakeWriter
from training.config import Config, parse_config

ATTRIBUTES = (
    Attribute("balance", "feature", "number"),
    Attribute("spent", "feature", "number"),
    Attribute("turnover", "feature", "number"),
    Attribute("limit", "feature", "number"),
    Attribute("region", "feature", "category"),
    Attribute("left", "label", "flag"),
    Attribute("profit", "outcome", "number"),
    Attribute("sex", "protected", "category"),
    Attribute("branch", "group", "category"),
)


def customers(rows: int = 240, seed: int = 0) -> pl.DataFrame:
    """Three kinds of customers, apart in balance and spending, which turnover follows; a column of every role."""
    rng = np.random.default_rng(seed)
    kind = np.arange(rows) % 3
    spent = 10.0 * (kind == 1) + rng.normal(size=rows)
    return pl.DataFrame(
        {
            "customer_id": [f"C{i:04d}" for i in range(rows)],
            "balance": 10.0 * kind + rng.normal(size=rows),
            "spent": spent,
            "turnover": 2 * spent + 0.2 * rng.normal(size=rows),
            "limit": [None if i % 9 == 0 else 100.0 + float(i % 7) for i in range(rows)],
            "region": [["north", "south"][i % 2] for i in range(rows)],
            "left": kind == 2,
            "profit": 1000.0 * kind,
            "sex": [["f", "m"][i % 2] for i in range(rows)],
            "branch": [f"B{i % 5}" for i in range(rows)],
        }
    )


def write_lake(path: Path, rows: pl.DataFrame, attributes: Sequence[Attribute] = ATTRIBUTES) -> Lake:
    """The customers as a lake; of the attributes those that they have."""
    kept = [attribute for attribute in attributes if attribute.name in rows.columns]
    with LakeWriter(path, buckets=2, attributes={"customers": kept}) as writer:
        writer.append("customers", rows)
    return Lake.open(path)


def card_config(**sections: Any) -> Config:
    """No recommender; an embedding of three dimensions; k-means. `sections` take the place of these."""
    autoencoder = {"dim": 3, "hidden": 16, "epochs": 20, "batch_size": 64, "learning_rate": 0.01}
    embedding = {"autoencoder": autoencoder, "unusual_share": 0.02}
    segments = {"algorithms": ["k_means"], "fewest": 3, "most": 4, "bootstraps": 2}
    raw: dict[str, Any] = {"name": "cards", "threads": 1, "recommender": False}
    return parse_config(raw | {"embedding": embedding, "segments": segments} | sections, "card_config")
