"""The peers of the churn models: what they say of test rows, fitted on the same training rows."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import lightgbm
import numpy as np
import polars as pl

from benchmarks.churn_table import Table

Peer = Callable[[Table, np.ndarray, np.ndarray], np.ndarray]
"""Table, training rows and test rows → probability of each test row."""


def on(table: Table, peer: Peer) -> Peer:
    """The peer on a table of the same rows with other columns."""
    return lambda _, train, test: peer(table, train, test)


def catboost(table: Table, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    from catboost import CatBoostClassifier, Pool

    columns = [column.name for column in table.definition.profile]
    text = [i for i, name in enumerate(columns) if table.rows.schema[name] == pl.String]
    cells = table.rows.select(columns).to_numpy().astype(object)
    model = CatBoostClassifier(
        iterations=500,
        depth=5,
        learning_rate=0.04,
        l2_leaf_reg=6,
        random_seed=0,
        thread_count=1,
        verbose=0,
        allow_writing_files=False,
    )
    model.fit(Pool(cells[train], table.outcome[train], cat_features=text))
    return np.asarray(model.predict_proba(Pool(cells[test], cat_features=text))[:, 1])


def _codes(table: Table, without: tuple[str, ...] = ()) -> tuple[np.ndarray, list[int]]:
    """Numbers as they are, categories as codes, null as NaN; which columns are categories."""
    columns = [column.name for column in table.definition.profile if column.name not in without]
    text = [i for i, name in enumerate(columns) if table.rows.schema[name] == pl.String]
    coded = [
        table.rows[name].cast(pl.Categorical).to_physical() if i in text else table.rows[name]
        for i, name in enumerate(columns)
    ]
    return np.stack([one.cast(pl.Float64).fill_null(float("nan")).to_numpy() for one in coded], axis=1), text


def plain_lightgbm(table: Table, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """LightGBM as it comes, with native categories."""
    return _boosted(table, train, test, {}, 100)


def of_the_file(table: Table, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The same without the day of the year, and the month a category, as the file has them."""
    month = table.rows["contact_month_number"].cast(pl.Int8).cast(pl.String)
    as_filed = replace(table, rows=table.rows.with_columns(month.alias("contact_month_number")))
    return _boosted(as_filed, train, test, {}, 100, ("contact_day_of_year",))


def stumps(table: Table, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """400 trees of one split at a rate of .1: about the best number, by folds inside the first training part."""
    return _boosted(table, train, test, {"num_leaves": 2, "learning_rate": 0.1}, 400)


def _boosted(
    table: Table,
    train: np.ndarray,
    test: np.ndarray,
    settings: dict[str, Any],
    trees: int,
    without: tuple[str, ...] = (),
) -> np.ndarray:
    cells, text = _codes(table, without)
    fixed = {"objective": "binary", "verbose": -1, "num_threads": 1, "seed": 0}
    data = lightgbm.Dataset(cells[train], table.outcome[train], categorical_feature=text)
    return np.asarray(lightgbm.train({**fixed, **settings}, data, trees).predict(cells[test]))
