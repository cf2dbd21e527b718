"""Contacts that were decided count as made until they have a row of their own."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from serving.decisions import with_all_decided, with_decided


def decided(at: str, *channels: str) -> dict[str, Any]:
    return {"at": at, "actions": [{"channel": channel} for channel in channels]}


def made(*rows: tuple[str, str, datetime, bool]) -> pl.DataFrame:
    names = ["contact_id", "channel", "at", "contacted"]
    return pl.DataFrame([(*row, "C1") for row in rows], schema=[*names, "customer_id"], orient="row")


def counted(found: pl.DataFrame | None) -> list[tuple[str, str]]:
    if found is None:
        return []
    return sorted((row["channel"], f"{row['at']:%m-%d}") for row in found.to_dicts() if row["contacted"])


def test_a_decision_counts_until_its_contact_is_known() -> None:
    decisions = [decided("2025-01-02T10:00:00", "email", "phone"), decided("2025-01-09T10:00:00", "email")]
    assert counted(with_decided(None, decisions, "C1")) == [
        ("email", "01-02"),
        ("email", "01-09"),
        ("phone", "01-02"),
    ]
    one = made(("N1", "email", datetime(2025, 1, 2, 0, 0), True))
    assert counted(with_decided(one, decisions, "C1")) == [("email", "01-02"), ("email", "01-09"), ("phone", "01-02")]
    both = made(
        ("N1", "email", datetime(2025, 1, 3), True),
        ("N2", "email", datetime(2025, 1, 10), True),
        ("N3", "phone", datetime(2025, 1, 1), True),
        ("N4", "phone", datetime(2025, 1, 5), False),
    )
    assert counted(with_decided(both, decisions, "C1")) == [
        ("email", "01-03"),
        ("email", "01-10"),
        ("phone", "01-01"),
        ("phone", "01-02"),
    ]


def test_without_decisions_nothing_changes() -> None:
    there = made(("N1", "email", datetime(2025, 1, 3), True))
    assert with_decided(there, [decided("2025-01-02T10:00:00")], "C1") is there
    assert with_decided(None, [], "C1") is None


def test_many_customers_together_are_as_each_alone() -> None:
    draws, first = np.random.default_rng(0), datetime(2025, 1, 1, 12)

    def days(count: int) -> list[datetime]:
        return [first + timedelta(days=int(day)) for day in draws.integers(0, 9, count)]

    who, channels = [f"C{i}" for i in draws.integers(0, 8, 60)], draws.choice(["email", "phone"], 60).tolist()
    real = pl.DataFrame(
        {
            "contact_id": [f"N{i}" for i in range(60)],
            "customer_id": who,
            "at": days(60),
            "channel": channels,
            "contacted": draws.random(60) < 0.7,
        }
    )
    wanted = [(f"C{i % 10}", at, channel) for i, at, channel in zip(range(60), days(60), channels[::-1], strict=True)]
    together = with_all_decided(real, wanted)
    assert together is not None and real.height < together.height < real.height + len(wanted)
    for customer_id in {name for name, _, _ in wanted}:
        own = [{"at": at.isoformat(), "actions": [{"channel": c}]} for name, at, c in wanted if name == customer_id]
        mine = pl.col("customer_id") == customer_id
        assert counted(together.filter(mine)) == counted(with_decided(real.filter(mine), own, customer_id))
    assert with_all_decided(real, []) is real and with_all_decided(None, []) is None
    assert counted(with_all_decided(None, wanted[:1])) == [(wanted[0][2], f"{wanted[0][1]:%m-%d}")]
