"""Survival fitted on customers whose hazard is known by making it, and its part of a bundle."""

from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.bundle import Bundle, Churn, Survival, verify
from recsys.churn.config import ChurnConfig
from recsys.churn.survival_examples import person_periods, survival_days, survival_examples
from recsys.errors import ConfigError, DataError
from recsys.features.adoption_examples import add_months
from recsys.features.features import features
from recsys.lake.store import Attribute, Lake, LakeWriter
from recsys.survival import concordance
from training.config import Config, parse_config
from training.fit import train

UNTIL = date(2024, 1, 1)
CUSTOMERS = 4_000


def silent(done: int, total: int, what: str) -> None:
    pass


def _hazard(risk: np.ndarray) -> np.ndarray:
    """Of a month: 1 % or 12 %."""
    return np.where(risk > 0.7, 0.12, 0.01)


def _tables() -> dict[str, pl.DataFrame]:
    rng = np.random.default_rng(0)
    ids = [f"C{i:05d}" for i in range(CUSTOMERS)]
    risk = rng.random(CUSTOMERS)
    opened = [date(2021, 6, 1) + timedelta(days=int(days)) for days in rng.integers(0, 700, CUSTOMERS)]
    months = rng.geometric(_hazard(risk))
    closed = [add_months(day, int(count)) - timedelta(days=5) for day, count in zip(opened, months, strict=True)]
    gone = [day if day < UNTIL else None for day in closed]
    accounts = [f"A{i:05d}" for i in range(CUSTOMERS)]
    paid = [datetime(day.year, day.month, day.day) for day in opened]
    return {
        "customers": pl.DataFrame({"customer_id": ids, "risk": risk, "noise": rng.random(CUSTOMERS)}),
        "accounts": pl.DataFrame({"account_id": accounts, "opened": opened, "closed": gone}),
        "account_holders": pl.DataFrame({"account_id": accounts, "customer_id": ids}),
        "transactions": pl.DataFrame(
            {"event_id": accounts, "account_id": accounts, "at": paid, "amount": [1_000] * CUSTOMERS},
            schema_overrides={"at": pl.Datetime("us")},
        ),
    }


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    path = tmp_path_factory.mktemp("staying") / "lake"
    attributes = [Attribute("risk", "feature", "number"), Attribute("noise", "feature", "number")]
    with LakeWriter(path, buckets=2, until=UNTIL - timedelta(days=1), attributes={"customers": attributes}) as writer:
        tables = _tables()
        for name in ("customers", "account_holders", "accounts", "transactions"):
            writer.append(name, tables[name])
    return Lake.open(path)


def _config(**survival: object) -> Config:
    churn = {
        "rule": {"accounts_closed": True},
        "models": {"candidates": ["logistic"]},
        "survival": {"trees": 80, "learning_rate": 0.1, "least_in_leaf": 30, "stayed": 5, **survival},
    }
    return parse_config({"name": "staying", "threads": 1, "recommender": False, "churn": churn}, "the test")


@pytest.fixture(scope="module")
def bundle(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(train(_config(), lake, tmp_path_factory.mktemp("runs"), silent))


def test_a_bundle_tells_survival_and_verifies(bundle: Bundle, lake: Lake) -> None:
    checks = verify(bundle.path)
    assert all(check.ok for check in checks), [check for check in checks if not check.ok]
    assert {"survival parity at batch 1", "survival equal bits", "survival falls"} <= {check.name for check in checks}
    survival = Survival.of(bundle)
    assert survival is not None and survival.columns == ("survival_3m", "survival_6m", "survival_12m")
    about = survival.about
    assert about.validation["concordance"] > 0.65
    assert about.validation["integrated_brier"] < about.validation["integrated_brier_kaplan_meier"] - 0.02


def test_customers_never_seen_are_told_their_hazard(bundle: Bundle, lake: Lake) -> None:
    config = _config().churn
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
    truth = (1 - _hazard(asked["risk"].to_numpy()))[:, None] ** np.array([3, 6, 12])
    for group in (asked["risk"].to_numpy() > 0.7, asked["risk"].to_numpy() <= 0.7):
        np.testing.assert_allclose(told[group].mean(axis=0), truth[group].mean(axis=0), atol=0.06)
    time, event = examples["time"].to_numpy(), examples["event"].to_numpy()
    assert concordance(time, event, -told[:, 2].astype(np.float64)) > 0.68
    beside = survival.beside(churn.scored(asked), asked)
    assert beside.columns[-3:] == list(survival.columns)
    assert np.corrcoef(beside["probability"], 1 - beside["survival_3m"])[0, 1] > 0.8


def test_examples_know_nothing_of_what_comes_after_the_end() -> None:
    config = _config().churn
    assert config is not None
    tables, day = _tables(), date(2023, 1, 1)
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
        _config(snapshots=11)
    with pytest.raises(ConfigError, match="survival needs a rule"):
        parse_config({"name": "x", "recommender": False, "churn": {"survival": {}}}, "the test")
    with pytest.raises(DataError, match="nobody of the train part is followed for 40 months"):
        train(_config(horizons_months=[40], snapshots=40), lake, tmp_path, silent)
    with pytest.raises(ConfigError, match="needs churn.rule and a lake with dates"):
        survival_days(ChurnConfig(), None)
