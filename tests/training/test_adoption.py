"""From a lake to calibrated probabilities and their judgement; what is too short or too large is refused."""

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from recsys.__main__ import application
from recsys.bundle import Bundle
from recsys.errors import ConfigError, DataError
from recsys.lake.parts import BucketReader
from recsys.lake.store import Lake, LakeWriter
from tests.conftest import SmallBank
from tests.training.test_fit import QUICK, _copy_with_another_future
from training.adoption import base_hazards
from training.adoption_evaluation import AdoptionTest, adoption_report, adoption_test
from training.adoption_rows import HELD, AdoptionExamples, adoption_rows, first_acquired
from training.config import load_config, parse_config
from training.fit import train
from training.preflight import preflight


def silent(done: int, total: int, what: str) -> None:
    """No progress."""


def drawn(customers: int = 3000, products: int = 5, seed: int = 0) -> AdoptionTest:
    """Cells whose true probability is known and is the one that the bundle would say, for one horizon."""
    rng = np.random.default_rng(seed)
    customer = np.repeat(np.arange(customers), products)
    product = np.tile(np.arange(products), customers)
    truth = rng.beta(0.5, 5, len(customer))
    first = np.where(rng.random(len(customer)) < truth, 0, 1).astype(np.int8)
    names = np.array([f"c{i}" for i in range(customers)])
    rates = np.full((products, 1), truth.mean())
    return AdoptionTest((3,), names, customer, product, first, truth[:, None].astype(np.float32), rates)


def test_true_probabilities_are_calibrated_and_beat_the_base_rates() -> None:
    entry = adoption_report(drawn(), 200, 0)["horizons"]["3m"]
    assert entry["model"]["ece"]["value"] < 0.01 and entry["model"]["product_gap"]["value"] < 0.01
    assert entry["model"]["auc"]["low"] > entry["base_rate"]["auc"]["high"]
    assert entry["brier_skill"]["low"] > 0.05
    for figure in entry["model"].values():
        assert figure["low"] < figure["high"]
    assert entry["model"]["auc"]["low"] < entry["model"]["auc"]["value"] < entry["model"]["auc"]["high"]


def test_wrong_probabilities_are_found_out() -> None:
    honest = drawn()
    doubled = AdoptionTest(**{**vars(honest), "probabilities": np.minimum(2 * honest.probabilities, 1)})
    found, expected = (adoption_report(test, 100, 0)["horizons"]["3m"]["model"] for test in (doubled, honest))
    assert found["ece"]["low"] > 0.05 > expected["ece"]["high"]
    assert found["auc"]["value"] == pytest.approx(expected["auc"]["value"], abs=0.01)


def test_products_that_cancel_out_are_seen_in_the_gap_per_product() -> None:
    """One product too high, one too low, at the same probability: pooled calibration cannot tell."""
    customers = 2000
    cells = np.arange(2 * customers)
    product, happened = cells % 2, np.where(cells % 2 == 0, cells % 5 == 0, cells % 5 != 0)
    test = AdoptionTest(
        (1,),
        cells[::2].astype(str),
        cells // 2,
        product,
        np.where(happened, 0, 1).astype(np.int8),
        np.full((len(cells), 1), happened.mean(), dtype=np.float32),
        np.array([[0.2], [0.8]]),
    )
    entry = adoption_report(test, 100, 0)["horizons"]["1m"]
    assert entry["model"]["ece"]["value"] < 1e-6 and entry["model"]["product_gap"]["value"] > 0.25
    assert entry["base_rate"]["product_gap"]["value"] < 0.01


def test_base_hazards_count_only_who_could_and_what_is_over() -> None:
    first = np.array([[0, HELD], [1, 2], [2, 2], [2, 2]], dtype=np.int8)
    finished = np.array([2, 2, 2, 1], dtype=np.int8)
    found = base_hazards(AdoptionExamples({}, first, finished), 2)
    overall = [(1 + 0.5) / (7 + 1), (1 + 0.5) / (4 + 1)]
    np.testing.assert_allclose(found[0], [(1 + overall[0]) / 5, (1 + overall[1]) / 3])
    np.testing.assert_allclose(found[1], [overall[0] / 4, overall[1] / 3])


def test_the_test_cut_of_a_bundle_asks_about_what_is_not_held_and_what_came_true(small_bank: SmallBank) -> None:
    bundle, lake = Bundle.load(small_bank.bundle), Lake.open(small_bank.lake)
    test = adoption_test(bundle, lake, parse_config(bundle.config, "config.yaml"), silent)
    events = lake.read("interactions")
    cut = date(2024, 7, 1)
    acquired = events.filter(pl.col("kind") == "acquired", pl.col("at") >= cut).select("customer_id", "product_id")
    happened = test.first < 3
    found = {
        (str(test.customers[c]), bundle.encoder.products[p]) for c, p in zip(test.customer, test.product, strict=True)
    }
    came_true = {
        (str(test.customers[c]), bundle.encoder.products[p])
        for c, p in zip(test.customer[happened], test.product[happened], strict=True)
    }
    assert came_true and came_true <= set(acquired.rows())
    before = events.filter(pl.col("kind").is_in(["acquired", "closed"]), pl.col("at") < cut).sort("at", "event_id")
    last = before.group_by("customer_id", "product_id").agg(pl.col("kind").last())
    assert not found & set(last.filter(pl.col("kind") == "acquired").select("customer_id", "product_id").rows())
    assert test.base_rates.shape == (26, 3) and (np.diff(test.base_rates, axis=1) >= 0).all()


def test_what_happens_after_the_test_cut_does_not_reach_the_part(small_bank: SmallBank, tmp_path: Path) -> None:
    """Everything from the test cut on is shuffled; the recommender may notice, features and adoption may not."""
    _copy_with_another_future(Lake.open(small_bank.lake), tmp_path / "lake", date(2024, 7, 1))
    changed = Bundle.load(train(load_config("demo", QUICK), Lake.open(tmp_path / "lake"), tmp_path, silent))
    before = Bundle.load(small_bank.bundle)
    for part in ("features", "adoption"):
        assert changed.manifest["parts"][part]["hash"] == before.manifest["parts"][part]["hash"], part


def test_first_acquired_puts_holdings_before_targets(small_bank: SmallBank) -> None:
    bundle, lake = Bundle.load(small_bank.bundle), Lake.open(small_bank.lake)
    day = date(2024, 1, 1)
    for _, rows in adoption_rows(BucketReader(lake), bundle.definition, (1, 3, 6), [day], date(2024, 7, 1)):
        first = first_acquired(rows, bundle.encoder, 3)
        for row, values in zip(rows.iter_rows(named=True), first, strict=True):
            told = dict(zip(row["targets"], row["intervals"], strict=True))
            for product, value in zip(bundle.encoder.products, values, strict=True):
                assert value == (HELD if product in row["holdings"] else told.get(product, 3))


def test_evaluate_prints_and_reports_adoption(small_bank: SmallBank) -> None:
    words = ["evaluate", str(small_bank.bundle), "--lake", str(small_bank.lake)]
    said = json.loads(CliRunner().invoke(application(words), [*words, "--json"], catch_exceptions=False).stdout)
    assert list(said["adoption"]["horizons"]) == ["1m", "3m", "6m"]
    assert said["adoption"]["horizons"]["6m"]["acquired"] > said["adoption"]["horizons"]["1m"]["acquired"] > 0
    printed = CliRunner().invoke(application(words), words, catch_exceptions=False).stdout
    assert "Brier skill" in printed and "6m: " in printed


def test_check_says_what_adoption_learns_from(small_bank: SmallBank) -> None:
    lines = preflight(load_config("demo", ["churn=null"]), Lake.open(small_bank.lake))
    (said,) = [line for line in lines if line.startswith("adoption")]
    assert "8 cuts from 2023-05-01" in said and "2024-01-01 for calibration, 2024-07-01 for test" in said


def test_a_past_that_is_too_short_is_refused_with_what_would_help(small_bank: SmallBank, tmp_path: Path) -> None:
    """Interactions from September 2023 on: three horizons of 6 months before 2025 would begin in July."""
    lake, begin = Lake.open(small_bank.lake), date(2023, 9, 1)
    attributes = {name: lake.attributes(name) for name in ("customers", "products")}
    last = lake.as_of - timedelta(days=1) if lake.as_of else None
    with LakeWriter(tmp_path, buckets=2, currency=lake.currency, until=last, attributes=attributes) as writer:
        for name in ("customers", "products"):
            writer.append(name, lake.read(name))
        writer.append("interactions", lake.read("interactions").filter(pl.col("at") >= begin))
    with pytest.raises(DataError, match=r"before 2023-07-01, 18 months before the end.*--set adoption=null"):
        preflight(load_config("demo", ["churn=null"]), Lake.open(tmp_path))
    preflight(load_config("demo", ["churn=null", "adoption.horizons_months=[1, 3]"]), Lake.open(tmp_path))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["adoption.horizons_months=[6, 1]"], "ascending"),
        (["adoption.snapshots=3"], "snapshots must be 6 or more"),
        (["evaluation.protocol=hold_one_out"], "adoption needs evaluation.protocol: temporal"),
        (["adoption.horizon=3"], "horizon"),
    ],
)
def test_settings_that_cannot_work_are_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config("demo", overrides)


def test_a_step_beyond_the_declared_memory_is_refused(small_bank: SmallBank) -> None:
    with pytest.raises(ConfigError, match="lower adoption.batch_size or raise adoption.memory"):
        preflight(load_config("demo", ["adoption.memory=16KiB"]), Lake.open(small_bank.lake))


def test_without_the_section_nothing_of_it_is_built(small_bank: SmallBank) -> None:
    assert load_config("zimnat").adoption is None
    lines = preflight(load_config("demo", ["churn=null", "adoption=null"]), Lake.open(small_bank.lake))
    assert not [line for line in lines if "adoption" in line]


def test_the_report_of_the_bundle_says_how_it_was_fitted(small_bank: SmallBank, tmp_path: Path) -> None:
    report = Bundle.load(small_bank.bundle).json("report/metrics.json")["adoption"]
    assert report["best_epoch"] == 1 and report["train_examples"] > 500 and report["log_likelihood"] < 0
