"""Drift is found and named where it was planted, and told no more often than declared where there is none."""

import json

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from recsys.drift import DriftConfig, chance_level, difference_interval, drift, stability_index
from recsys.errors import DataError
from recsys.population import PopulationState

NUMBERS = [f"n{i}" for i in range(12)]
WORDS = [f"w{i}" for i in range(4)]


def people(n: int, rng: np.random.Generator) -> pl.DataFrame:
    columns: dict[str, object] = {}
    for i, name in enumerate(NUMBERS):
        drawn = [rng.normal(size=n), rng.lognormal(3, 2, n), rng.poisson(0.3, n).astype(float)][i % 3]
        columns[name] = pl.Series(np.where(rng.random(n) < 0.05 * (i % 4), np.nan, drawn)).fill_nan(None)
    for i, name in enumerate(WORDS):
        columns[name] = rng.choice([f"word{j}" for j in range(2 + 10 * i)], n)
    kinds = rng.random((n, 5)) < [0.9, 0.5, 0.2, 0.05, 0.01]
    columns["holdings"] = [[f"p{j}" for j in np.flatnonzero(row)] for row in kinds]
    return pl.DataFrame(columns)


def counted(rows: pl.DataFrame) -> PopulationState:
    state = PopulationState(NUMBERS, WORDS, ["holdings"])
    state.update(rows)
    return state


@pytest.mark.parametrize(("before", "now"), [(600, 600), (60, 2000), (150, 40)])
def test_without_a_change_any_flag_is_as_rare_as_declared(before: int, now: int) -> None:
    """The threshold is put at nothing, so that chance alone decides; 60 runs of level 5 % give more than 8 flags one
    time in 200."""
    rng = np.random.default_rng(before + now)
    config = DriftConfig(watch=1e-9, act=1e9, level=0.05)
    flagged = 0
    for _ in range(60):
        profile = counted(people(before, rng)).finish(config.bins)
        flagged += bool(drift(profile, counted(people(now, rng)), config).flagged)
    assert flagged <= 8, flagged


def test_a_resample_of_the_same_customers_is_not_flagged() -> None:
    rng = np.random.default_rng(5)
    rows = people(3000, rng)
    profile = counted(rows).finish()
    for _ in range(20):
        again = drift(profile, counted(rows[rng.integers(0, 3000, 3000).tolist()]), DriftConfig())
        assert not again.flagged and max(column.psi for column in again.columns) < 0.05


@pytest.mark.parametrize(
    ("name", "change", "cell"),
    [
        ("n0", pl.col("n0") + 1.5, "above"),
        ("n1", pl.col("n1") / 10, "up to"),
        ("n2", pl.lit(0.0), ""),
        ("n5", pl.col("n5") - 1, "up to"),
        ("n4", pl.when(pl.col("n0") < 0.5).then("n4"), "not known"),
        ("w0", pl.lit("word0"), ""),
        ("w2", pl.when(pl.col("n0") < 0).then("w2").otherwise(pl.lit("new")), "other"),
        ("holdings", pl.when(pl.col("n0") < 0).then("holdings").otherwise([]), "not known"),
    ],
)
def test_a_planted_change_is_found_and_named(name: str, change: pl.Expr, cell: str) -> None:
    profile = counted(people(3000, np.random.default_rng(0))).finish()
    now = people(2000, np.random.default_rng(1)).with_columns(change.alias(name))
    found = drift(profile, counted(now), DriftConfig())
    assert [column.column for column in found.flagged] == [name]
    first = found.columns[0]
    assert first.flag == "act" and first.cells[0].cell.startswith(cell)
    most = first.cells[0]
    assert most.low < most.now - most.before < most.high and not most.low < 0 < most.high
    assert json.loads(json.dumps(found.as_json()))["columns"][0]["column"] == name


def test_a_small_change_is_no_flag_and_a_middling_one_is_to_be_watched() -> None:
    profile = counted(people(20_000, np.random.default_rng(0))).finish()
    flags = []
    for shift in (0.1, 0.4, 1.0):
        now = people(20_000, np.random.default_rng(1)).with_columns(pl.col("n0") + shift)
        column = next(c for c in drift(profile, counted(now), DriftConfig()).columns if c.column == "n0")
        assert column.mean is not None and column.mean[0] is not None and column.mean[1] is not None
        assert column.mean[1] - column.mean[0] == pytest.approx(shift, abs=0.05)
        flags.append(column.flag)
    assert flags == ["", "watch", "act"]


def test_the_index_is_the_known_formula() -> None:
    p, q = np.array([100.0, 300.0, 600.0]), np.array([200.0, 300.0, 500.0])
    index, parts = stability_index(p, q)
    exact = float(((q - p) / 1000 * np.log(q / p)).sum())
    assert index == pytest.approx(exact, rel=0.01) and parts.sum() == pytest.approx(index)
    assert stability_index(p, p)[0] == 0 and stability_index(np.array([5.0]), np.array([9.0]))[0] == 0


def test_chance_follows_chi_square() -> None:
    from scipy.stats import chi2

    for cells in (2, 5, 11):
        counts = np.full(cells, 1000.0 / cells)
        for level in (0.05, 0.001):
            ours = chance_level(counts, counts, level, (1000, 1000))
            assert ours == pytest.approx(chi2.isf(level, cells - 1) * 2 / 1000, rel=0.05)


def test_the_interval_is_newcombes() -> None:
    low, high = difference_interval(48, 80, 56, 70)  # the worked example of the paper, (a) of table II, turned round
    assert (low, high) == (pytest.approx(0.0524, abs=2e-4), pytest.approx(0.3339, abs=2e-4))


def test_what_cannot_be_compared_is_refused() -> None:
    profile = counted(people(50, np.random.default_rng(0))).finish()
    with pytest.raises(DataError, match="holdings not counted now"):
        drift(profile, PopulationState(NUMBERS, WORDS), DriftConfig())
    with pytest.raises(DataError, match="nobody"):
        drift(profile, PopulationState(NUMBERS, WORDS, ["holdings"]), DriftConfig())
    with pytest.raises(ValidationError, match="must not be below watch"):
        DriftConfig(watch=0.5)
