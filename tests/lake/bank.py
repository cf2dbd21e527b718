"""A small bank, written as a lake by tests that need one."""

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path

import polars as pl

from recsys.lake.store import Attribute, Lake, LakeWriter

CUSTOMERS = [f"C{i:03d}" for i in range(40)]
UNTIL = date(2024, 6, 30)
ATTRIBUTES = {
    "customers": [Attribute("age", "feature", "number"), Attribute("joined", "feature", "date")],
    "products": [Attribute("tags", "feature", "tags")],
}


def tables() -> dict[str, pl.DataFrame]:
    """Every customer holds P0 by an account; C000 and C001 share A000, and so do C002 and C003 their A002."""
    joint = pl.DataFrame({"account_id": ["A000", "A002"], "customer_id": ["C001", "C003"]})
    accounts = [f"A{c[1:]}" for c in CUSTOMERS]
    days = [datetime(2024, 1 + i % 6, 1 + i % 28, 12) for i in range(40)]
    return {
        "customers": pl.DataFrame({"customer_id": CUSTOMERS, "age": [20.0 + i for i in range(40)]}).with_columns(
            joined=pl.lit(date(2020, 1, 1))
        ),
        "products": pl.DataFrame({"product_id": ["P0", "P1"], "tags": [["a", "b"], []]}),
        "account_holders": pl.concat([pl.DataFrame({"account_id": accounts, "customer_id": CUSTOMERS}), joint]),
        "accounts": pl.DataFrame({"account_id": accounts, "product_id": ["P0"] * 40}),
        "interactions": pl.DataFrame(
            {"customer_id": CUSTOMERS, "product_id": ["P0"] * 40, "kind": ["acquired"] * 40, "at": days}
        ),
        "transactions": pl.DataFrame(
            {"event_id": [f"T{i:03d}" for i in range(80)], "account_id": accounts * 2, "at": days * 2}
        ).with_columns(amount=pl.lit(-1250)),
    }


def write(path: Path | str, frames: Mapping[str, pl.DataFrame], buckets: int = 4) -> Lake:
    """The frames as a lake, whatever they hold."""
    attributes = {
        table: [a for a in listed if a.name in frames[table].columns]
        for table, listed in ATTRIBUTES.items()
        if table in frames
    }
    with LakeWriter(path, buckets=buckets, currency="GBP", source="test", until=UNTIL, attributes=attributes) as writer:
        for table, frame in frames.items():
            writer.append(table, frame)
    return Lake.open(path)
