"""Invented customers for the parity record: each value drawn alone from what the encoder knows, never a real row."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from recsys.features.definition import Column, FeatureDefinition
from recsys.features.encoder import Encoder, SideEncoder
from recsys.features.examples import scoring_examples

DAY = date(2020, 6, 1)
"""The day from which invented customers are seen; nothing depends on which it is."""


def invent(
    definition: FeatureDefinition, encoder: Encoder, customers: int, seed: int
) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """Lake tables and examples of invented customers; about one value in ten is missing or unknown."""
    rng = np.random.default_rng(seed)
    ids = [f"invented-{i:04d}" for i in range(customers)]
    columns = {c.name: _attribute(rng, c, encoder.customer, customers) for c in definition.profile}
    tables = {
        "customers": pl.DataFrame({"customer_id": ids, **columns}),
        "products": pl.DataFrame({"product_id": encoder.products}, schema={"product_id": pl.String}),
    }
    kinds = sorted(
        {*definition.interaction_kinds, *definition.history_kinds} | ({"holds"} if definition.holdings else set())
    )
    if kinds:
        tables["interactions"] = _interactions(rng, ids, kinds, definition, encoder)
    if definition.dated:
        tables |= _money(rng, ids, definition)
    return tables, scoring_examples(ids, DAY if definition.dated else None)


def _attribute(rng: np.random.Generator, column: Column, side: SideEncoder, n: int) -> pl.Series:
    gone = rng.random(n) < 0.1
    values: list[Any]
    dtype: Any
    if column.kind == "category":
        words = [word for word in side.categories[column.name] if word is not None] + ["never seen before"]
        values, dtype = [words[i] for i in rng.integers(0, len(words), n).tolist()], pl.String
    elif column.kind in ("tags", "text"):
        words = [*side.tags[column.name], "never-seen-before"]
        chosen = [[words[i] for i in rng.integers(0, len(words), size).tolist()] for size in rng.integers(0, 6, n)]
        values = chosen if column.kind == "tags" else [" ".join(some) for some in chosen]
        dtype = pl.List(pl.String) if column.kind == "tags" else pl.String
    else:
        spec = side.numbers[column.name]
        drawn = rng.uniform(spec.lower, max(spec.upper, spec.lower), n)
        if column.kind == "flag":
            values, dtype = (drawn > 0.5).tolist(), pl.Boolean
        elif column.kind == "date":
            values, dtype = [DAY - timedelta(days=int(abs(days)) % 36_500) for days in drawn], pl.Date
        else:
            values, dtype = drawn.tolist(), pl.Float64
    kept = [None if lost else value for lost, value in zip(gone, values, strict=True)]
    return pl.Series(column.name, kept, dtype=dtype)


def _interactions(
    rng: np.random.Generator, ids: Sequence[str], kinds: Sequence[str], definition: FeatureDefinition, encoder: Encoder
) -> pl.DataFrame:
    owner = np.repeat(np.arange(len(ids)), rng.integers(0, 9, len(ids))).tolist()
    n = len(owner)
    kind = [kinds[i] for i in rng.integers(0, len(kinds), n).tolist()]
    products = encoder.products or (None,)
    columns = {
        "customer_id": [ids[i] for i in owner],
        "product_id": pl.Series([products[i] for i in rng.integers(0, len(products), n).tolist()], dtype=pl.String),
        "kind": kind,
        "event_id": [f"i{i:05d}" for i in range(n)],
        "position": pl.Series([None if k == "holds" else i for i, k in enumerate(kind, start=1)], dtype=pl.Int64),
    }
    if definition.dated:
        columns["at"] = pl.Series(_times(rng, n), dtype=pl.Datetime("us"))
    return pl.DataFrame(columns)


def _money(rng: np.random.Generator, ids: Sequence[str], definition: FeatureDefinition) -> dict[str, pl.DataFrame]:
    tables = {}
    account = [f"account-{i:04d}" for i in range(len(ids))]
    if definition.accounts or definition.balances or definition.transactions:
        tables["account_holders"] = pl.DataFrame({"account_id": account, "customer_id": ids})
    if definition.accounts:
        opened = [DAY - timedelta(days=int(days)) for days in rng.integers(0, 4_000, len(ids))]
        tables["accounts"] = pl.DataFrame({"account_id": account, "opened": opened})
    for name, wanted, most in (("transactions", definition.transactions, 30), ("balances", definition.balances, 6)):
        if wanted:
            owner = np.repeat(np.arange(len(ids)), rng.integers(0, most, len(ids)))
            amount = np.exp(rng.uniform(3, 14, len(owner))).astype(np.int64) * rng.choice([-1, 1], len(owner))
            columns = {"account_id": [account[i] for i in owner], "at": _times(rng, len(owner)), "amount": amount}
            if name == "transactions":
                columns["event_id"] = [f"t{i:05d}" for i in range(len(owner))]
                columns["category"] = _choice(rng, definition.transaction_categories, len(owner))
                columns["channel"] = _choice(rng, definition.transaction_channels, len(owner))
            tables[name] = pl.DataFrame(columns, schema_overrides={"at": pl.Datetime("us")})
    if definition.contacts:
        owner = rng.integers(0, len(ids), 2 * len(ids)).tolist()
        tables["contacts"] = pl.DataFrame(
            {
                "contact_id": [f"c{i:05d}" for i in range(len(owner))],
                "customer_id": [ids[i] for i in owner],
                "campaign_id": ["campaign"] * len(owner),
                "at": _times(rng, len(owner)),
                "channel": _choice(rng, definition.contact_channels, len(owner)),
                "contacted": rng.random(len(owner)) < 0.8,
            },
            schema_overrides={"at": pl.Datetime("us")},
        )
    return tables


def _choice(rng: np.random.Generator, words: Sequence[str], n: int) -> pl.Series:
    known = [*words, "never seen before", None]
    return pl.Series([known[i] for i in rng.integers(0, len(known), n).tolist()], dtype=pl.String)


def _times(rng: np.random.Generator, n: int) -> list[datetime]:
    """Up to 500 days before `DAY`, and some on or after it, so that the record also holds what must not be seen."""
    midnight = datetime(DAY.year, DAY.month, DAY.day)
    return [midnight - timedelta(minutes=int(m)) for m in rng.integers(-20_000, 720_000, n)]
