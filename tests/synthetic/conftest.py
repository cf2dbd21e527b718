"""A synthetic bank in memory, large enough for its statistics to be tested."""

from dataclasses import dataclass

import polars as pl
import pytest

from recsys.synthetic.generate import bank


@dataclass(frozen=True)
class Bank:
    """All buckets of a bank together."""

    tables: dict[str, pl.DataFrame]
    truth: dict[str, pl.DataFrame]


@pytest.fixture(scope="session")
def synthetic() -> Bank:
    """8,000 customers in four buckets."""
    parts = list(bank(8_000, seed=11, buckets=4))
    tables = {table: pl.concat([part.tables[table] for part in parts]) for table in parts[0].tables}
    truth = {name: pl.concat([part.truth[name] for part in parts]) for name in parts[0].truth}
    return Bank(tables, truth)
