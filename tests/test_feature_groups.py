"""Groups cover the encoder's arrays exactly once; typical customers are aggregates of bands."""

import numpy as np
import polars as pl
import pytest

from recsys.errors import DataError
from recsys.feature_groups import LEAST, PRODUCTS, background, feature_groups
from recsys.features.encoder_state import EncoderState
from recsys.features.features import features
from recsys.features.invent import invent
from recsys.shapley import shapley
from tests.test_customer_terms import DEFINITION


def _encoded(count: int = 400) -> tuple[object, dict[str, np.ndarray]]:
    products = pl.DataFrame({"product_id": ["P1", "P2", "P3"]})
    ids = [f"c{i:03d}" for i in range(40)]
    rng = np.random.default_rng(0)
    rows = pl.DataFrame(
        {"customer_id": ids, "occupation": ["clerk", "student"] * 20, "devices": [["ios"], ["ios", "web"]] * 20}
        | {name: rng.gamma(2.0, 30.0, 40) for name in DEFINITION.numbers}
    )
    state = EncoderState(DEFINITION, products)
    state.update(rows)
    encoder = state.finish()
    tables, examples = invent(DEFINITION, encoder, count, seed=1)
    return encoder, encoder.encode(features(tables, examples, DEFINITION))


def test_groups_are_all_columns_once_and_shapley_runs_on_them() -> None:
    encoder, arrays = _encoded()
    groups = feature_groups(encoder)
    for name, values in arrays.items():
        columns = [c for group in groups for c in group.columns.get(name, ())]
        assert sorted(columns) == list(range(values.shape[1])), name
    read = feature_groups(encoder, ("numbers", "categories"))
    assert {name for group in read for name in group.columns} == {"numbers", "categories"}

    def score(given: dict[str, np.ndarray]) -> np.ndarray:
        return given["numbers"].sum(axis=1) + given["holdings"] @ np.arange(given["holdings"].shape[1])

    typical = background(arrays, score(arrays)).arrays()
    found = shapley(score, arrays, typical, groups, rounds=1)
    np.testing.assert_allclose(found.base + found.values.sum(axis=1), score(arrays), rtol=1e-5, atol=1e-4)
    attributes = [g for g, group in enumerate(groups) if group.name in ("occupation", "devices")]
    assert (found.values[:, attributes] == 0).all()
    assert np.abs(found.values[:, [group.name for group in groups].index(PRODUCTS)]).max() > 0.5


def test_typical_customers_are_medians_of_bands_by_risk() -> None:
    n = 8 * LEAST
    risk = np.arange(n, dtype=np.float64)[::-1].copy()
    numbers = np.stack([risk, np.ones(n)], axis=1).astype(np.float32)
    arrays = {
        "numbers": numbers,
        "categories": np.where(risk > n / 2, 3, 2).astype(np.int32)[:, None],
        "holdings": np.stack([risk > n / 4, risk < 0], axis=1).astype(np.float32),
        "tags": np.stack([np.full(n, 4), np.where(risk > n / 2, 2, 0)], axis=1).astype(np.int32),
        "history": np.full((n, 3), 5, dtype=np.int32),
    }
    found = background(arrays, risk)
    assert found.customers == n
    typical = found.arrays()
    assert {name: values.dtype for name, values in typical.items()} == {n: v.dtype for n, v in arrays.items()}
    assert typical["numbers"][:, 0].tolist() == [24.5 + 50 * band for band in range(8)]
    assert typical["categories"][:, 0].tolist() == [2, 2, 2, 2, 3, 3, 3, 3]
    assert typical["holdings"].tolist() == [[0, 0]] * 2 + [[1, 0]] * 6
    assert typical["tags"].tolist() == [[4, 0]] * 4 + [[2, 4]] * 4
    assert not typical["history"].any()


def test_a_typical_customer_stands_for_many() -> None:
    few = {"numbers": np.zeros((LEAST - 1, 1), dtype=np.float32)}
    with pytest.raises(DataError, match="49 customers are too few"):
        background(few, np.zeros(LEAST - 1))
    two = {"numbers": np.zeros((2 * LEAST, 1), dtype=np.float32)}
    assert len(background(two, np.zeros(2 * LEAST)).rows["numbers"]) == 2
