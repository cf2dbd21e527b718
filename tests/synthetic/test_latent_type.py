"""The latent type shows in behaviour as a whole and in no single column."""

import numpy as np
import polars as pl
import pytest

from tests.synthetic.conftest import Bank

sklearn_tree = pytest.importorskip("sklearn.tree")
linear_model = pytest.importorskip("sklearn.linear_model")


def _wide(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    counts = rows.drop_nulls(column).group_by("customer_id", column).len()
    wide = counts.pivot(column, index="customer_id", values="len")
    return wide.rename({name: f"{column}={name}" for name in wide.columns if name != "customer_id"})


def _behaviour(bank: Bank) -> pl.DataFrame:
    """One row per customer: recorded attributes as numbers, and simple counts over all events."""
    customers = bank.tables["customers"].with_columns(
        pl.col("born", "joined").cast(pl.Int32), pl.col("devices").list.len()
    )
    text = [name for name, dtype in customers.schema.items() if dtype == pl.String and name != "customer_id"]
    frame = customers.with_columns(pl.col(name).rank("dense").alias(name) for name in text)
    holders = bank.tables["account_holders"].select("account_id", "customer_id")
    transactions = bank.tables["transactions"].join(holders, on="account_id")
    balances = (
        bank.tables["balances"].join(holders, on="account_id").group_by("customer_id").agg(pl.col("amount").mean())
    )
    interactions = bank.tables["interactions"]
    held = interactions.filter(pl.col("kind") == "acquired").rename({"product_id": "held"})
    parts = [
        _wide(transactions, "category"),
        _wide(transactions, "channel"),
        transactions.group_by("customer_id").agg(pl.len().alias("payments"), pl.col("amount").sum().alias("net")),
        balances,
        _wide(interactions, "kind"),
        _wide(held, "held"),
        _wide(interactions.filter(pl.col("kind") == "social").rename({"channel": "network"}), "network"),
    ]
    for part in parts:
        renamed = part.rename({"customer_id": "id"})
        frame = frame.join(renamed, left_on="customer_id", right_on="id", how="left", suffix="_of_events")
    return frame.sort("customer_id")


def test_type_is_in_no_single_column_but_in_all_together(synthetic: Bank) -> None:
    rows = _behaviour(synthetic)
    kind = synthetic.truth["customers"].sort("customer_id")["type"].to_numpy()
    values = rows.drop("customer_id").cast(pl.Float64).fill_null(0.0).to_numpy()
    half = len(kind) // 2
    alone = []
    for column in range(values.shape[1]):
        tree = sklearn_tree.DecisionTreeClassifier(max_depth=6, min_samples_leaf=25, random_state=0)
        tree.fit(values[:half, [column]], kind[:half])
        alone.append(tree.score(values[half:, [column]], kind[half:]))
    assert max(alone) < 0.40
    scaled = np.log1p(np.abs(values)) * np.sign(values)
    scaled = (scaled - scaled.mean(axis=0)) / (scaled.std(axis=0) + 1e-9)
    together = linear_model.LogisticRegression(C=0.1, max_iter=300).fit(scaled[:half], kind[:half])
    assert together.score(scaled[half:], kind[half:]) > 0.65
