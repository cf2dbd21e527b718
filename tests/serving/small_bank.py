"""A small dated bank with every table that a request about a customer may hold, as a lake."""

from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from recsys.lake.store import Attribute, Lake, LakeWriter

CUSTOMERS = 600
PRODUCTS = 12
BUCKETS = 8
START = datetime(2024, 1, 1)
DAYS = 540
TIME = pl.Datetime("us")


def write_small_lake(path: Path) -> Lake:
    """A lake whose newest event is on 2025-06-23; some accounts are joint, some customers have nothing at all."""
    rng = np.random.default_rng(7)
    attributes = {
        "customers": [
            Attribute("region", "feature", "category"),
            Attribute("income", "feature", "number"),
            Attribute("born", "feature", "date"),
            Attribute("staff", "feature", "flag"),
            Attribute("interests", "feature", "tags"),
        ],
        "products": [Attribute("family", "feature", "category"), Attribute("name", "identifier", "category")],
    }
    with LakeWriter(
        path, buckets=BUCKETS, currency="GBP", source="small", until=date(2025, 12, 31), attributes=attributes
    ) as lake:
        lake.append("customers", _customers(rng))
        lake.append("products", _products())
        for name, frame in _accounts(rng).items():
            lake.append(name, frame)
        lake.append("interactions", _interactions(rng))
        for name, frame in _contacts(rng).items():
            lake.append(name, frame)
    return Lake.open(path)


def _ids(numbers: np.ndarray | range) -> list[str]:
    return [f"C{i:04d}" for i in numbers]


def _times(rng: np.random.Generator, n: int) -> pl.Series:
    minutes = rng.integers(0, DAYS * 24 * 60, n)
    return pl.Series([START + timedelta(minutes=int(m)) for m in minutes], dtype=TIME)


def _customers(rng: np.random.Generator) -> pl.DataFrame:
    n = CUSTOMERS
    income = [None if rng.random() < 0.2 else float(x) for x in np.exp(rng.normal(10, 0.6, n))]
    words = ["travel", "sport", "music", "garden"]
    return pl.DataFrame(
        {
            "customer_id": _ids(range(n)),
            "region": [["north", "south", "east", None][i] for i in rng.integers(0, 4, n)],
            "income": income,
            "born": [date(1940, 1, 1) + timedelta(days=int(d)) for d in rng.integers(0, 23_000, n)],
            "staff": rng.random(n) < 0.05,
            "interests": pl.Series(
                [sorted(rng.choice(words, size, False)) for size in rng.integers(0, 3, n)], dtype=pl.List(pl.String)
            ),
        }
    )


def _products() -> pl.DataFrame:
    ids = [f"P{i:02d}" for i in range(PRODUCTS)]
    return pl.DataFrame(
        {
            "product_id": ids,
            "family": [["card", "loan", "saving"][i % 3] for i in range(PRODUCTS)],
            "name": [f"Product number {i}" for i in range(PRODUCTS)],
        }
    )


def _accounts(rng: np.random.Generator) -> dict[str, pl.DataFrame]:
    owners = range(0, CUSTOMERS, 2)
    accounts = [f"A{i:04d}" for i in owners]
    holders = {"account_id": list(accounts), "customer_id": _ids(owners)}
    joint = range(0, len(accounts), 5)
    holders["account_id"] += [accounts[i] for i in joint]
    holders["customer_id"] += _ids([owners[i] + 1 for i in joint])
    n = 20 * len(accounts)
    account = [accounts[i] for i in rng.integers(0, len(accounts), n)]
    months = [START + timedelta(days=30 * m) for m in range(6)]
    own = _ids(rng.integers(0, CUSTOMERS, 500))
    return {
        "account_holders": pl.DataFrame(holders),
        "accounts": pl.DataFrame(
            {"account_id": accounts, "opened": [date(2023, 1 + i % 12, 1) for i in range(len(accounts))]}
        ),
        "transactions": pl.DataFrame(
            {
                "event_id": [f"T{i:06d}" for i in range(n + len(own))],
                "account_id": pl.Series(account + [None] * len(own), dtype=pl.String),
                "customer_id": pl.Series([None] * n + own, dtype=pl.String),
                "at": _times(rng, n + len(own)),
                "amount": rng.integers(-90_000, 120_000, n + len(own)),
                "category": [["food", "rent", "salary"][i] for i in rng.integers(0, 3, n + len(own))],
            }
        ),
        "balances": pl.DataFrame(
            {
                "account_id": [account for account in accounts for _ in months],
                "at": pl.Series([month for _ in accounts for month in months], dtype=TIME),
                "amount": rng.integers(0, 900_000, len(accounts) * len(months)),
            }
        ),
    }


def _interactions(rng: np.random.Generator) -> pl.DataFrame:
    """Six acquisitions each, of products that follow a taste; customers whose number ends in 99 have none."""
    rows = []
    for i in range(CUSTOMERS):
        if i % 100 == 99:
            continue
        taste = (i % 3 + 3 * rng.permutation(4)).tolist() + rng.integers(0, PRODUCTS, 2).tolist()
        for product in dict.fromkeys(taste):
            rows.append((f"C{i:04d}", f"P{product:02d}", "acquired"))
        for product in rng.integers(0, PRODUCTS, 2):
            rows.append((f"C{i:04d}", f"P{product:02d}", "viewed"))
        rows.append((f"C{i:04d}", None, "login"))
    frame = pl.DataFrame(rows, schema=["customer_id", "product_id", "kind"], orient="row")
    return frame.with_columns(
        _times(rng, frame.height).alias("at"), pl.Series("event_id", [f"E{i:06d}" for i in range(frame.height)])
    )


def _contacts(rng: np.random.Generator) -> dict[str, pl.DataFrame]:
    n = 400
    return {
        "campaigns": pl.DataFrame({"campaign_id": ["K1", "K2"], "product_id": ["P01", "P02"]}),
        "contacts": pl.DataFrame(
            {
                "contact_id": [f"N{i:04d}" for i in range(n)],
                "customer_id": _ids(rng.integers(0, CUSTOMERS, n)),
                "campaign_id": [["K1", "K2"][i] for i in rng.integers(0, 2, n)],
                "at": _times(rng, n),
                "channel": [["mail", "app"][i] for i in rng.integers(0, 2, n)],
                "contacted": rng.random(n) < 0.8,
            }
        ),
    }
