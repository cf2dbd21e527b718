"""Survival fitted on customers whose hazard is known by making it, and its part of a bundle."""

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.bundle import Bundle, Churn, Survival, verify
from recsys.churn.config import ChurnConfig
from recsys.churn.survival_examples import person_periods, survival_days, survival_examples
from recsys.errors import ConfigError
from recsys.features.adoption_examples import add_months
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.store import Lake
from recsys.survival import concordance
from tests.churn.staying import UNTIL, bank_tables, hazard, silent, staying_config
from tests.conftest import SmallBank
from training.churn_report import write_churn_report
from training.config import parse_config
from training.fit import train
from training.preflight import preflight
from training.survival_report import risk_groups


@pytest.fixture(scope="module")
def bundle(staying_bank: SmallBank) -> Bundle:
    return Bundle.load(staying_bank.bundle)


@pytest.fixture(scope="module")
def lake(staying_bank: SmallBank) -> Lake:
    return Lake.open(staying_bank.lake)


def test_a_bundle_tells_survival_and_verifies(bundle: Bundle, lake: Lake) -> None:
    checks = verify(bundle.path)
    assert all(check.ok for check in checks), [check for check in checks if not check.ok]
    assert {"survival parity at batch 1", "survival equal bits", "survival falls"} <= {check.name for check in checks}
    survival = Survival.of(bundle)
    assert survival is not None and survival.columns == ("survival_3m", "survival_6m", "survival_12m")
    about = survival.about
    assert about.validation["concordance"] > 0.65
    assert about.validation["integrated_brier"] < about.validation["integrated_brier_kaplan_meier"] - 0.02


def test_customers_never_seen_are_told_theirhazard(bundle: Bundle, lake: Lake) -> None:
    config = staying_config().churn
    assert config is not None
    days, ends = survival_days(config, UNTIL)
    assert days["test"] == (date(2023, 1, 1),) and ends["test"] == UNTIL
    survival, churn = Survival.of(bundle), Churn.of(bundle)
    assert survival is not None and churn is not None
    found, rows = [], []
    for bucket in range(lake.buckets):
        tables = lake.bucket(bucket)
        examples = survival_examples(tables, config, "test", days["test"], ends["test"])
        found.append(examples)
        rows.append(features(tables, examples, churn.definition))
    examples, asked = pl.concat(found), pl.concat(rows)
    told = survival.survival(asked)
    truth = (1 - hazard(asked["risk"].to_numpy()))[:, None] ** np.array([3, 6, 12])
    for group in (asked["risk"].to_numpy() > 0.7, asked["risk"].to_numpy() <= 0.7):
        np.testing.assert_allclose(told[group].mean(axis=0), truth[group].mean(axis=0), atol=0.06)
    time, event = examples["time"].to_numpy(), examples["event"].to_numpy()
    assert concordance(time, event, -told[:, 2].astype(np.float64)) > 0.68
    beside = survival.beside(churn.scored(asked), asked)
    assert beside.columns[-3:] == list(survival.columns)
    assert np.corrcoef(beside["probability"], 1 - beside["survival_3m"])[0, 1] > 0.8


def test_a_customer_is_told_the_same_at_any_place_in_a_batch(lake: Lake, tmp_path: Path) -> None:
    bundle = Bundle.load(train(staying_config(horizons_months=[3, 5]), lake, tmp_path, silent))
    survival, churn = Survival.of(bundle), Churn.of(bundle)
    assert survival is not None and churn is not None
    tables = lake.bucket(0)
    ids = tables["customers"]["customer_id"].unique().sort()
    rows = features(tables, scoring_examples(ids, lake.as_of), churn.definition)
    together = survival.survival(rows)
    assert together.shape == (len(ids), 2) and len(ids) > 100
    alone = np.concatenate([survival.survival(rows[i : i + 1]) for i in range(len(ids))])
    np.testing.assert_array_equal(alone, together)


def test_the_report_judges_survival_on_test_customers(staying_bank: SmallBank, tmp_path: Path) -> None:
    bundle, lake = Bundle.load(staying_bank.bundle), Lake.open(staying_bank.lake)
    data, html, content = write_churn_report(bundle, lake, tmp_path, silent)
    found = content["survival"]
    assert 0.65 < found["concordance"]["low"] < found["concordance"]["high"] < 0.9
    assert found["below_kaplan_meier"]["low"] > 0.01
    assert lake.as_of is not None
    assert found["left"] > 50 and found["days"] == [str(add_months(lake.as_of, -12))]
    shown = [entry for entries in found["calibration"].values() for entry in entries if "observed" in entry]
    assert len(shown) >= 2 and all(entry["customers"] >= 10 for entry in shown)
    assert np.mean([entry["low"] <= entry["predicted"] <= entry["high"] for entry in shown]) > 0.6
    page = html.read_text()
    assert "When they leave" in page and "after 12 months" in page and data.exists()


def test_groups_by_risk_have_enough_leavers_each() -> None:
    rng = np.random.default_rng(0)
    survival = rng.random(3000)
    event = rng.random(3000) > survival**0.2
    groups = risk_groups(event, survival)
    leavers = np.bincount(groups, weights=event)
    assert len(leavers) == 8 and leavers.min() >= leavers.max() - 2
    assert survival[groups == 0].max() <= survival[groups == 1].min()
    assert set(risk_groups(np.arange(100) < 15, np.arange(100.0))) == {0}


def test_examples_know_nothing_of_what_comes_after_the_end() -> None:
    config = staying_config().churn
    assert config is not None
    tables, day = bank_tables(), date(2023, 1, 1)
    whole = survival_examples(tables, config, "train", [day], UNTIL)
    early = survival_examples(tables, config, "train", [day], date(2023, 4, 1))
    both = whole.join(early, on="customer_id", suffix="_early")
    assert both.height == whole.height == early.height
    soon = pl.col("event") & (pl.col("time") <= 3)
    assert both.filter(soon).equals(both.filter(pl.col("event_early")))
    assert both.filter(soon)["time"].equals(both.filter(soon)["time_early"].alias("time"))
    assert set(both.filter(~soon)["time_early"]) == {3}
    assert whole["time"].max() == 12
    assert not whole.filter(~pl.col("event"))["time"].is_in(range(1, 12)).any()


def test_drawn_months_have_the_likelihood_of_all() -> None:
    time, event = np.array([3, 2, 12, 1]), np.array([True, False, False, True])
    row, month, left, weight = person_periods(time, event, stayed=10_000, seed=0)
    assert row.tolist() == [0] * 3 + [1] * 2 + [2] * 12 + [3]
    assert month.tolist() == [0, 1, 2, 0, 1, *range(12), 0]
    assert np.flatnonzero(left).tolist() == [2, 17]
    assert (weight == 1).all()
    rng = np.random.default_rng(1)
    many, seen = rng.integers(1, 13, 5_000), rng.random(5_000) < 0.1
    row, month, left, weight = person_periods(many, seen, stayed=3, seed=0)
    assert left.sum() == seen.sum() and (~left).sum() == 3 * seen.sum()
    assert weight.sum() == pytest.approx(many.sum())


def test_what_cannot_be_told_is_refused(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="snapshots must be 12 or more"):
        staying_config(snapshots=11)
    with pytest.raises(ConfigError, match="survival needs a rule"):
        parse_config({"name": "x", "recommender": False, "churn": {"survival": {}}}, "the test")
    with pytest.raises(ConfigError, match="first closed account is of 2021-06-2.*; take 18 fewer"):
        train(staying_config(horizons_months=[40], snapshots=40), lake, tmp_path, silent)
    with pytest.raises(ConfigError, match="first closed account"):
        preflight(staying_config(horizons_months=[40], snapshots=40), lake)
    assert any("survival by 3, 6, 12 months" in line for line in preflight(staying_config(), lake))
    with pytest.raises(ConfigError, match="needs churn.rule and a lake with dates"):
        survival_days(ChurnConfig(), None)
