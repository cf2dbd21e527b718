"""Customers with an account, a known monthly hazard of closing it, and a bundle that tells survival."""

from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from recsys.features.adoption_examples import add_months
from recsys.lake.store import Attribute, Lake, LakeWriter
from training.config import Config, parse_config
from training.fit import train

UNTIL = date(2024, 1, 1)
CUSTOMERS = 4_000


def silent(done: int, total: int, what: str) -> None:
    pass


def hazard(risk: np.ndarray) -> np.ndarray:
    """Of a month: 1 % or 12 %."""
    return np.where(risk > 0.7, 0.12, 0.01)


def bank_tables() -> dict[str, pl.DataFrame]:
    rng = np.random.default_rng(0)
    ids = [f"C{i:05d}" for i in range(CUSTOMERS)]
    risk = rng.random(CUSTOMERS)
    opened = [date(2021, 6, 1) + timedelta(days=int(days)) for days in rng.integers(0, 700, CUSTOMERS)]
    months = rng.geometric(hazard(risk))
    closed = [add_months(day, int(count)) - timedelta(days=5) for day, count in zip(opened, months, strict=True)]
    gone = [day if day < UNTIL else None for day in closed]
    accounts = [f"A{i:05d}" for i in range(CUSTOMERS)]
    paid = [datetime(day.year, day.month, day.day) for day in opened]
    return {
        "customers": pl.DataFrame({"customer_id": ids, "risk": risk, "noise": rng.random(CUSTOMERS)}),
        "accounts": pl.DataFrame({"account_id": accounts, "opened": opened, "closed": gone}),
        "account_holders": pl.DataFrame({"account_id": accounts, "customer_id": ids}),
        "transactions": pl.DataFrame(
            {"event_id": accounts, "account_id": accounts, "at": paid, "amount": [1_000] * CUSTOMERS},
            schema_overrides={"at": pl.Datetime("us")},
        ),
    }


def write_bank(path: Path) -> Lake:
    """The lake, of two buckets."""
    attributes = [Attribute("risk", "feature", "number"), Attribute("noise", "feature", "number")]
    with LakeWriter(path, buckets=2, until=UNTIL - timedelta(days=1), attributes={"customers": attributes}) as writer:
        tables = bank_tables()
        for name in ("customers", "account_holders", "accounts", "transactions"):
            writer.append(name, tables[name])
    return Lake.open(path)


def staying_config(**survival: object) -> Config:
    """Churn by logistic regression, survival by a few trees."""
    churn = {
        "rule": {"accounts_closed": True},
        "models": {"candidates": ["logistic"]},
        "survival": {"trees": 80, "learning_rate": 0.1, "least_in_leaf": 30, "stayed": 5, **survival},
    }
    return parse_config({"name": "staying", "threads": 1, "recommender": False, "churn": churn}, "the test")


def made_bundle(folder: Path) -> Path:
    """The bundle, in `folder`/bundles, of the lake `folder`/lake."""
    return train(staying_config(), write_bank(folder / "lake"), folder / "bundles", silent)
