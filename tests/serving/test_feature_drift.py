"""Drift of the features of customers who are asked about, as `/metrics` tells it."""

from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from prometheus_client import REGISTRY

from recsys.bundle import Bundle, Segmentation
from recsys.features.everyone import everyone
from recsys.lake.parts import BucketReader
from recsys.lake.store import Lake
from serving.answers import Answers
from serving.feature_drift import EVERY, WINDOW, FeatureDrift
from serving.store import StoreDown
from tests.conftest import SmallBank


def told(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


@pytest.fixture
def rows(whole_bank: SmallBank) -> pl.DataFrame:
    bundle, lake = Bundle.load(whole_bank.bundle), Lake.open(whole_bank.lake)
    parts = everyone(BucketReader(lake), bundle.definition, lake.as_of, lambda *_: None, "")
    return pl.concat(parts).sample(WINDOW, shuffle=True, seed=1)


def drifted(whole_bank: SmallBank, rows: pl.DataFrame) -> FeatureDrift:
    found = FeatureDrift(Segmentation.of(Bundle.load(whole_bank.bundle)), every=1)
    for row in range(rows.height):
        customer: Any = SimpleNamespace(rows=rows[row])
        found.saw(customer)
    return found


def test_the_customers_of_training_have_not_drifted_and_richer_ones_have(
    whole_bank: SmallBank, rows: pl.DataFrame
) -> None:
    drifted(whole_bank, rows)
    assert (told("recsys_features_drifted", flag="act"), told("recsys_features_drifted", flag="watch")) == (0, 0)
    before = told("recsys_feature_drift_psi", feature="income")
    assert before is not None and before < 0.05
    drifted(whole_bank, rows.with_columns(pl.col("income") * 2, region=pl.lit("moon")))
    assert (told("recsys_features_drifted", flag="act") or 0) >= 2
    for feature in ("income", "region"):
        assert (told("recsys_feature_drift_psi", feature=feature) or 0) > 0.25


def test_the_service_looks_at_one_of_ten_customers_asked_about(whole_bank: SmallBank) -> None:
    answers = Answers.open(whole_bank.bundle, whole_bank.lake, None)
    for number in range(3 * EVERY):
        answers.segment(f'{{"customer_id": "C{number:04d}"}}'.encode())
    assert len(answers.customers.drift._rows) == 3


def test_a_store_that_is_away_costs_a_sample_and_no_answer(whole_bank: SmallBank) -> None:
    class Away:
        @property
        def rows(self) -> pl.DataFrame:
            raise StoreDown("away")

    found = FeatureDrift(Segmentation.of(Bundle.load(whole_bank.bundle)), every=1)
    customer: Any = Away()
    found.saw(customer)
    assert found._rows == []
    FeatureDrift(None).saw(customer)
