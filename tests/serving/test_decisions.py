"""Contacts that were decided count as made until they have a row of their own."""

from datetime import datetime
from typing import Any

import polars as pl

from serving.decisions import with_decided


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
