"""What is like what: against all cosines by hand, and through the command."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from recsys.__main__ import application
from recsys.bundle import Bundle, Recommender
from recsys.errors import ConfigError, DataError
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.store import Lake


def run(*words: str) -> list[list[str]]:
    result = CliRunner().invoke(application(words), list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return [line.split("\t") for line in result.stdout.splitlines()]


def cosines(vectors: np.ndarray, one: int) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit[one]


def test_products_are_ranked_by_their_vectors_without_the_bias(small_bundle: Path) -> None:
    recommender = Recommender(Bundle.load(small_bundle))
    found = run("similar", str(small_bundle), "--product", recommender.products[4], "--top", "5")
    expected = cosines(recommender.product_vectors[:, :-1].astype(np.float64), 4)
    expected[4] = -2
    order = np.argsort(-expected)[:5]
    assert [row[1] for row in found] == [recommender.products[i] for i in order]
    assert [row[0] for row in found] == list("12345")
    assert [float(row[2]) for row in found] == pytest.approx(expected[order], abs=1e-4)


def test_customers_are_looked_for_in_every_bucket(small_bundle: Path, small_lake: Path) -> None:
    lake, recommender = Lake.open(small_lake), Recommender(Bundle.load(small_bundle))
    tables = {name: lake.read(name) for name in lake.tables}
    ids = tables["customers"]["customer_id"].sort()
    rows = features(tables, scoring_examples(ids, lake.as_of), recommender.definition)
    expected = cosines(recommender.vectors_from_rows(rows)[:, :-1].astype(np.float64), 17)
    expected[17] = -2
    order = np.argsort(-expected)[:6]
    found = run("similar", str(small_bundle), "--customer", ids[17], "--lake", str(small_lake), "--top", "6")
    assert [float(row[2]) for row in found] == pytest.approx(expected[order], abs=1e-4)
    assert [row[1] for row in found] == ids.gather(pl.Series(order)).to_list()


def test_what_cannot_be_asked_is_said(small_bundle: Path, small_lake: Path) -> None:
    with pytest.raises(ConfigError, match="exactly one of --product and --customer"):
        run("similar", str(small_bundle))
    with pytest.raises(ConfigError, match="--customer needs --lake"):
        run("similar", str(small_bundle), "--customer", "C1")
    with pytest.raises(DataError, match="NOTHING: no product of bundle"):
        run("similar", str(small_bundle), "--product", "NOTHING")
    with pytest.raises(DataError, match="NOBODY: no such customer"):
        run("similar", str(small_bundle), "--customer", "NOBODY", "--lake", str(small_lake))
