"""The encoder: fitted in one pass over rows in any order and grouping, kept as JSON, calm about what it never saw."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.features.definition import FeatureConfig, define
from recsys.features.encoder import Encoder
from recsys.features.encoder_state import EncoderState
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.features.invent import invent
from recsys.features.sketch import Sketch, quantile
from tests.features.test_features import PRODUCTS, bank, definition, everyone
from tests.lake.bank import tables, write

CATALOGUE = pl.DataFrame({"product_id": PRODUCTS})


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    return features(bank(), everyone(), definition())


@pytest.fixture(scope="module")
def encoder(rows: pl.DataFrame) -> Encoder:
    state = EncoderState(definition(), CATALOGUE)
    state.update(rows)
    return state.finish()


def test_merged_states_equal_one_pass(rows: pl.DataFrame, encoder: Encoder) -> None:
    states = [EncoderState(definition(), CATALOGUE) for _ in range(3)]
    for i, state in enumerate(states):
        state.update(rows[i::3])
    states[2].merge(states[0])
    states[2].merge(states[1])
    assert states[2].finish() == encoder


def test_json_round_trip_encodes_the_same(rows: pl.DataFrame, encoder: Encoder) -> None:
    again = Encoder.model_validate_json(encoder.model_dump_json())
    assert again == encoder
    for name, values in encoder.encode(rows).items():
        assert np.array_equal(values, again.encode(rows)[name]), name


def test_arrays_have_the_declared_shape_and_no_gap(rows: pl.DataFrame, encoder: Encoder) -> None:
    arrays, shape = encoder.encode(rows), encoder.shape
    n = rows.height
    assert arrays["categories"].shape == (n, len(shape.categories)) and arrays["categories"].dtype == np.int32
    assert arrays["numbers"].shape == arrays["missing"].shape == (n, shape.numbers)
    assert arrays["holdings"].shape == (n, shape.products)
    assert arrays["history"].shape == arrays["history_kind"].shape == arrays["history_age"].shape == (n, shape.history)
    assert all(np.isfinite(values).all() for values in arrays.values())
    assert arrays["history_kind"].max() < shape.kinds and arrays["history_age"].max() < shape.ages
    assert arrays["tags"].max() < shape.tags


def test_numbers_are_clipped_standardised_and_flagged(rows: pl.DataFrame, encoder: Encoder) -> None:
    arrays = encoder.encode(rows)
    income = list(encoder.customer.numbers).index("income")
    assert np.array_equal(arrays["missing"][:, income] == 1, rows["income"].is_null().to_numpy())
    known = arrays["numbers"][arrays["missing"][:, income] == 0, income]
    assert abs(known.mean()) < 0.05 and abs(known.std() - 1) < 0.05
    wild = encoder.encode(rows.with_columns(income=pl.lit(1e12)))["numbers"][:, income]
    assert wild.max() < 5
    lost = encoder.encode(rows.with_columns(income=pl.lit(None, dtype=pl.Float64)))["numbers"][:, income]
    assert np.abs(lost).max() < 0.2, "missing is the median"


def test_unknown_and_missing_are_different_words(rows: pl.DataFrame, encoder: Encoder) -> None:
    three = rows.head(3).with_columns(occupation=pl.Series(["astronaut", None, "nurse"]))
    codes = encoder.encode(three)["categories"][:, 0].tolist()
    assert codes[0] == 1 and codes[1] == 2 and codes[2] > 2


def test_history_ends_at_the_right_and_holdings_are_marked(encoder: Encoder, rows: pl.DataFrame) -> None:
    one = rows.head(1).with_columns(
        history=pl.Series([["P1", "P3"]]),
        history_kind=pl.Series([["viewed", "acquired"]]),
        history_age=pl.Series([[300, 1]], dtype=pl.List(pl.Int32)),
        holdings=pl.Series([["P7"]]),
    )
    arrays = encoder.encode(one)
    assert arrays["history"].tolist() == [[0, 0, 0, 3, 5]]
    assert arrays["history_age"].tolist() == [[0, 0, 0, 9, 1]]
    assert np.flatnonzero(arrays["holdings"][0]).tolist() == [9]


def test_a_new_product_has_index_one_and_its_attributes() -> None:
    from recsys.features.definition import Column

    catalogue = pl.DataFrame(
        {
            "product_id": ["a", "b", "c"],
            "family": ["loan", "loan", "card"],
            "rate": [0.1, 0.2, None],
            "about": ["A cheap loan", "Another loan!", None],
        }
    )
    kinds = (("about", "text"), ("family", "category"), ("rate", "number"))
    changed = definition(product_attributes=tuple(Column(name=n, kind=k) for n, k in kinds))
    state = EncoderState(changed, catalogue)
    state.update(features(bank(), everyone(), changed))
    encoder = state.finish()
    new = pl.DataFrame({"product_id": ["z"], "family": ["card"], "rate": [0.2], "about": ["loan"]})
    arrays = encoder.encode_products(new)
    assert arrays["product"].tolist() == [1]
    assert (
        arrays["product_categories"].tolist() == encoder.encode_products(catalogue)["product_categories"][2:].tolist()
    )
    assert arrays["product_tags"][0, 0] == 2, "loan is the most frequent word"


@pytest.mark.parametrize("q", [0.001, 0.25, 0.5, 0.75, 0.999])
def test_quantiles_are_within_one_per_cent(q: float) -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.lognormal(5, 3, 10_000), -rng.lognormal(1, 1, 5_000), np.zeros(500)])
    sketch = Sketch()
    sketch.update(np.concatenate([values, [np.nan] * 7]))
    exact = float(np.quantile(values, q, method="inverted_cdf"))
    assert quantile(*sketch.bins(), q) == pytest.approx(exact, rel=0.011)
    assert sketch.missing == 7


def test_a_lake_of_customers_alone_gives_features_and_arrays(tmp_path: Path) -> None:
    lake = write(tmp_path / "lake", {"customers": tables()["customers"]})
    alone = define(lake, FeatureConfig())
    assert alone.numbers == ("age", "joined") and not alone.dated and not alone.holdings and not alone.history_length
    state = EncoderState(alone, lake.read("products"))
    for b in range(lake.buckets):
        part = lake.bucket(b)
        state.update(features(part, scoring_examples(part["customers"]["customer_id"], lake.as_of), alone))
    fitted = Encoder.model_validate_json(state.finish().model_dump_json())
    assert fitted.products == () and not fitted.shape.holdings and not fitted.shape.history
    met, examples = invent(alone, fitted, 5, seed=0)
    arrays = fitted.encode(features(met, examples, alone))
    assert {name: values.shape for name, values in arrays.items()} == {"numbers": (5, 2), "missing": (5, 2)}
    assert fitted.encode_products(lake.read("products"))["product"].shape == (0,)
