"""A population's cells: counted in any grouping, exact where it matters, and silent about a handful of people."""

import numpy as np
import polars as pl
import pytest

from recsys.errors import DataError
from recsys.population import Population, PopulationState, counts_in
from recsys.segment_cards.suppression import FEWEST


def people(n: int, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    income = np.where(rng.random(n) < 0.1, np.nan, rng.lognormal(10, 1, n))
    return pl.DataFrame(
        {
            "income": pl.Series(income).fill_nan(None),
            "calls": rng.poisson(0.4, n).astype(float),
            "balance": rng.normal(0, 1000, n),
            "town": rng.choice(["Rome", "Bonn", "Ulm"], n, p=[0.6, 0.3, 0.1]),
            "holdings": [["card", "fund"][:k] for k in rng.integers(0, 3, n).tolist()],
        }
    )


def state(rows: pl.DataFrame) -> PopulationState:
    counted = PopulationState(["income", "calls", "balance"], ["town"], ["holdings"])
    counted.update(rows)
    return counted


def test_merged_states_are_one_pass() -> None:
    rows = people(3000)
    parts = [state(rows[i::3]) for i in range(3)]
    parts[1].merge(parts[2])
    parts[1].merge(parts[0])
    assert parts[1].finish() == state(rows).finish()


def test_cells_hold_what_a_reader_would_count() -> None:
    rows = people(5000)
    population = Population.model_validate_json(state(rows).finish().model_dump_json())
    assert population.customers == 5000
    calls = population.columns["calls"]
    assert calls.edges is not None and calls.edges[0] < 0 <= calls.edges[1] < 1 <= calls.edges[2]
    assert calls.counts[:2] == (0, (rows["calls"] == 0).sum()), "nobody is below the many zeros"
    income = population.columns["income"]
    assert income.counts[-1] == rows["income"].null_count() and sum(income.counts) == 5000
    assert income.edges is not None and len(income.counts) == 11
    exact = rows["income"].drop_nulls().to_numpy()
    assert list(income.counts[:-1]) == np.histogram(exact, [-np.inf, *income.edges, np.inf])[0].tolist()
    assert income.mean == pytest.approx(exact.mean(), rel=0.01)
    assert income.median == pytest.approx(np.median(exact), rel=0.01)
    town = population.columns["town"]
    assert town.words == ("Rome", "Bonn", "Ulm") and town.names()[3:] == ["other", "not known"]
    assert town.counts == (*[(rows["town"] == name).sum() for name in town.words], 0, 0)
    held = population.columns["holdings"]
    assert held.words == ("card", "fund") and held.counts[-1] == (rows["holdings"].list.len() == 0).sum()


@pytest.mark.parametrize("n", [1, 12, 25, 60, 200])
def test_no_cell_is_about_a_handful(n: int) -> None:
    rows = people(n, seed=n)
    for name, cells in state(rows).finish().columns.items():
        assert all(count == 0 or count >= FEWEST for count in cells.counts), name
        assert (cells.mean is None) == (rows[name].dtype != pl.Float64 or rows[name].count() < FEWEST)
        assert len(cells.names()) == len(cells.counts)


def test_a_population_is_counted_in_the_cells_of_another() -> None:
    before = state(people(5000)).finish()
    later = people(4000, seed=1).with_columns(pl.lit("Oslo").alias("town"), pl.col("balance") + 1e6)
    now = state(later)
    town = counts_in(before.columns["town"], now.columns["town"])
    assert town.tolist() == [0, 0, 0, 4000, 0], "a word that was never seen is another"
    balance = counts_in(before.columns["balance"], now.columns["balance"])
    assert balance[-2] == 4000 and balance.sum() == 4000


def test_constant_unknown_and_empty_columns() -> None:
    rows = pl.DataFrame({"one": [7.0] * 50, "none": [None] * 50}, schema={"one": pl.Float64, "none": pl.Float64})
    counted = PopulationState(["one", "none"])
    counted.update(rows)
    cells = counted.finish().columns
    assert cells["one"].counts == (0, 50, 0, 0) and cells["none"].counts == (0, 50)
    assert cells["none"].names() == ["any", "not known"] and cells["none"].mean is None
    negative = PopulationState(["x"])
    negative.update(pl.DataFrame({"x": [-5.0] * 30 + [0.0] * 30}))
    edges = negative.finish(2).columns["x"].edges
    assert edges is not None and edges[0] < -5 < edges[1] < 0 <= edges[2]


def test_a_column_has_one_kind() -> None:
    with pytest.raises(DataError, match="named once"):
        PopulationState(["a"], ["a"])
