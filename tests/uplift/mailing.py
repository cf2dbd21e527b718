"""Lakes of contacts with a known effect: letters help the young, annoy the old, and were sent to those who buy."""

from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.lake.contract import Attribute
from recsys.lake.store import Lake, LakeWriter
from training.config import Config, parse_config

UNTIL = date(2024, 12, 31)
QUICK = {
    "folds": 3,
    "bags": 4,
    "outcome_trees": {"trees": 24, "learning_rate": 0.15, "columns": 1.0},
    "effect_trees": {"trees": 24, "learning_rate": 0.15, "least_in_leaf": 60, "columns": 1.0, "l2": 2.0},
}
ATTRIBUTES = {
    "customers": (Attribute("age", "feature", "number", ""), Attribute("wealth", "feature", "number", "")),
    "campaigns": (Attribute("design", "feature", "category", ""),),
}


def effect(age: np.ndarray) -> np.ndarray:
    """What a letter adds: 0.35 for the young, nothing in between, -0.12 for the old."""
    return np.where(age < 40, 0.35, np.where(age > 65, -0.12, 0.0))


def people(size: int, seed: int) -> pl.DataFrame:
    draws = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "customer_id": [f"C{i:05d}" for i in range(size)],
            "age": draws.uniform(18, 90, size),
            "wealth": draws.normal(0, 1, size),
        }
    )


def contacts(known: pl.DataFrame, campaign: str, day: date, seed: int, targeted: bool) -> pl.DataFrame:
    """Everybody drawn into one campaign; where targeted, the wealthy, who buy anyway, more often."""
    draws = np.random.default_rng(seed)
    size, wealth = known.height, known["wealth"].to_numpy()
    chance = np.clip(1 / (1 + np.exp(-1.2 * wealth)), 0.1, 0.9) if targeted else np.full(size, 0.5)
    treated = draws.random(size) < chance
    base = 0.15 + 0.15 * (wealth > 0)
    converted = draws.random(size) < base + effect(known["age"].to_numpy()) * treated
    return pl.DataFrame(
        {
            "contact_id": [f"{campaign}-{i}" for i in range(size)],
            "customer_id": known["customer_id"],
            "campaign_id": campaign,
            "at": datetime(day.year, day.month, day.day, 9),
            "channel": "post",
            "arm": np.where(treated, "letter", "control"),
            "contacted": treated,
            "propensity": np.where(treated, chance, 1 - chance),
            "converted": converted,
        }
    )


def campaign(name: str, day: date, design: str) -> dict[str, Any]:
    return {"campaign_id": name, "starts": day, "design": design}


def write(path: Path, known: pl.DataFrame, made: pl.DataFrame, campaigns: list[dict[str, Any]]) -> Lake:
    with LakeWriter(path, buckets=2, currency="GBP", source="letters", until=UNTIL, attributes=ATTRIBUTES) as writer:
        for table, frame in {"customers": known, "campaigns": pl.DataFrame(campaigns), "contacts": made}.items():
            writer.append(table, frame)
    return Lake.open(path)


MONTHS = (date(2024, 3, 1), date(2024, 5, 1), date(2024, 7, 1))


def mailing(path: Path, size: int = 2_000, seed: int = 1, **changed: pl.Expr) -> Lake:
    """Three campaigns, the second targeted; `changed` replaces columns of the contacts."""
    known = people(size, seed)
    made = [contacts(known, f"K{i}", day, seed + 10 + i, i == 1) for i, day in enumerate(MONTHS)]
    about = [campaign(f"K{i}", day, "targeted" if i == 1 else "randomised") for i, day in enumerate(MONTHS)]
    return write(path, known, pl.concat(made).with_columns(**changed), about)


def mailing_config(**uplift: Any) -> Config:
    content = {"name": "letters", "threads": 1, "recommender": False, "uplift": QUICK | uplift}
    return parse_config(content, "letters")


def drawn(path: Path, size: int = 2_000, seed: int = 2, email: pl.Expr | None = None) -> Lake:
    """No dates: an attribute says who got one of two e-mails or none; the second does what letters do, the first a
    little for all."""
    known = people(size, seed)
    draws = np.random.default_rng(seed + 1)
    arm = draws.integers(0, 3, size)
    added = np.where(arm == 1, 0.05, np.where(arm == 2, effect(known["age"].to_numpy()), 0.0))
    told = known.with_columns(
        email=pl.Series(np.array(["none", "plain", "bright"])[arm]), visited=pl.Series(draws.random(size) < 0.2 + added)
    )
    if email is not None:
        told = told.with_columns(email=email)
    roles = (
        *ATTRIBUTES["customers"],
        Attribute("email", "group", "category", ""),
        Attribute("visited", "outcome", "flag", ""),
    )
    with LakeWriter(
        path, buckets=2, currency=None, source="e-mails", until=UNTIL, attributes={"customers": roles}
    ) as writer:
        writer.append("customers", told)
    return Lake.open(path)
