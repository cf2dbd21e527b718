"""The churn part trained: what it learns, what it never sees, and lakes that it refuses to learn from."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.bundle import Bundle, Churn, verify
from recsys.churn.splits import part_of
from recsys.errors import ConfigError, DataError
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.store import Attribute, Lake, LakeWriter
from tests.churn.customers import ATTRIBUTES, customers, leaving_config, role, write_lake
from tests.conftest import SmallBank
from training.config import Config, load_config
from training.fit import train
from training.preflight import preflight


def silent(done: int, total: int, what: str) -> None:
    pass


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return write_lake(tmp_path_factory.mktemp("leaving") / "lake", customers())


@pytest.fixture(scope="module")
def config() -> Config:
    return leaving_config(costs={"false_alarm": 1, "missed": 4})


@pytest.fixture(scope="module")
def bundle(lake: Lake, config: Config, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(train(config, lake, tmp_path_factory.mktemp("runs"), silent))


def scored(bundle: Bundle, lake: Lake, changed: pl.DataFrame | None = None) -> pl.DataFrame:
    churn = Churn.of(bundle)
    assert churn is not None
    tables = {"customers": changed if changed is not None else lake.read("customers")}
    ids = tables["customers"]["customer_id"].sort()
    return churn.scored(features(tables, scoring_examples(ids, None), churn.definition))


def test_a_bundle_of_churn_alone_verifies_and_tells_leavers_apart(bundle: Bundle, lake: Lake, config: Config) -> None:
    assert set(bundle.contents.parts) == {"churn", "features", "parity", "report"}
    checks = verify(bundle.path)
    assert all(check.ok for check in checks), [check for check in checks if not check.ok]
    assert {"churn graphs", "churn parity at batch 1", "churn equal bits"} <= {check.name for check in checks}
    assert config.churn is not None
    truth = lake.read("customers").sort("customer_id")
    found = scored(bundle, lake).with_columns(truth["left"])
    test = found.filter(pl.Series(part_of(found["customer_id"], config.churn) == "test"))
    left, stayed = (test.filter(pl.col("left") == one)["probability"].to_numpy() for one in (True, False))
    assert (left[:, None] > stayed).mean() > 0.75
    assert abs(float(test["probability"].mean()) - float(test["left"].mean())) < 0.1  # type: ignore[arg-type]


def test_the_decision_follows_threshold_and_tiers(bundle: Bundle, lake: Lake) -> None:
    churn = Churn(bundle)
    found = scored(bundle, lake)
    assert churn.about.threshold.probability == 0.2
    assert found.filter(pl.col("act"))["probability"].min() >= 0.2 > found.filter(~pl.col("act"))["probability"].max()  # type: ignore[operator]
    shares = {row["tier"]: row["count"] / found.height for row in found["tier"].value_counts().to_dicts()}
    assert shares == pytest.approx({"high": 0.05, "medium": 0.15, "low": 0.8}, abs=0.05)
    order = ["low", "medium", "high"]
    ranks = found.sort("probability")["tier"].replace_strict(order, range(3), return_dtype=pl.Int8).to_list()
    assert ranks == sorted(ranks)


def test_the_test_customers_reach_nothing_of_the_bundle(
    lake: Lake, bundle: Bundle, config: Config, tmp_path: Path
) -> None:
    assert config.churn is not None
    rows = lake.read("customers")
    test = pl.Series(part_of(rows["customer_id"], config.churn) == "test")
    spoiled = rows.with_columns(
        pl.when(test).then(pl.lit(9e9)).otherwise("balance").alias("balance"),
        pl.when(test).then(pl.lit("XX")).otherwise("country").alias("country"),
        pl.when(test).then(~pl.col("left")).otherwise("left").alias("left"),
    )
    other = Bundle.load(train(config, write_lake(tmp_path / "lake", spoiled), tmp_path / "runs", silent))
    assert other.part("churn") == bundle.part("churn")
    assert other.read("encoder.json") == bundle.read("encoder.json")


def test_negative_balances_and_missing_values_are_answered(bundle: Bundle, lake: Lake) -> None:
    rows = lake.read("customers")
    for balance in (-1e12, -0.01, None):
        found = scored(bundle, lake, rows.with_columns(balance=pl.lit(balance, dtype=pl.Float64)))
        assert found["probability"].is_finite().all() and found["probability"].is_between(0, 1).all()


def test_what_is_known_only_afterwards_is_never_read(bundle: Bundle, lake: Lake, config: Config) -> None:
    assert Churn(bundle).about.known_afterwards == ("complained",)
    assert "complained" not in {column.name for column in bundle.definition.profile}
    assert any("never read (role outcome): complained" in line for line in preflight(config, lake))


def test_a_column_that_gives_the_answer_away_is_refused_with_its_auc(
    lake: Lake, config: Config, tmp_path: Path
) -> None:
    leaking = write_lake(tmp_path / "lake", lake.read("customers"), role("complained", "feature"))
    for refused in (preflight, lambda c, one: train(c, one, tmp_path / "runs", silent)):
        with pytest.raises(DataError, match=r"customers.complained: alone tells who leaves \(AUC 1.000") as error:
            refused(config, leaking)
        assert "features.exclude=[complained]" in str(error.value) and "role outcome" in str(error.value)
    assert not list((tmp_path / "runs").glob("leaving-*"))
    without = config.model_copy(update={"features": config.features.model_copy(update={"exclude": ("complained",)})})
    preflight(without, leaking)
    trusted = config.model_copy(update={"features": config.features.model_copy(update={"trusted": ("complained",)})})
    told = Churn(Bundle.load(train(trusted, leaking, tmp_path / "runs", silent))).about.trusted
    assert told == ("complained",)


@pytest.mark.parametrize(
    ("amount", "shown"), [("{:.2f}", "'.*\\..*'"), ("€{:,.2f}", "€"), ("{:.2f} GBP", "GBP"), ("({:.0f})", None)]
)
def test_money_as_text_is_refused(lake: Lake, config: Config, tmp_path: Path, amount: str, shown: str | None) -> None:
    rows = lake.read("customers")
    text = [None if value is None else amount.format(value) for value in rows["balance"].to_list()]
    kinds = [Attribute(a.name, a.role, "category") if a.name == "balance" else a for a in ATTRIBUTES]
    opened = write_lake(tmp_path / "lake", rows.with_columns(balance=pl.Series(text, dtype=pl.String)), kinds)
    if shown is None:  # no number that is written like one
        preflight(config, opened)
        return
    with pytest.raises(DataError, match=f"customers.balance: kind category, but all .* numbers as text .*{shown}"):
        preflight(config, opened)


@pytest.mark.parametrize(("settings", "which"), [({}, "train part"), ({"validation_share": 0.0012}, "validation part")])
def test_a_part_without_one_of_the_outcomes_is_refused(
    lake: Lake, tmp_path: Path, settings: dict[str, Any], which: str
) -> None:
    config = leaving_config(**settings)
    assert config.churn is not None
    rows = lake.read("customers")
    parts = pl.Series(part_of(rows["customer_id"], config.churn))
    one = rows.filter((parts != "train") | ~pl.col("left")) if "train" in which else rows.head(300)
    with pytest.raises(DataError, match=f"churn: the {which} .*(none of them left|all of them left|no customer)"):
        train(config, write_lake(tmp_path / "lake", one), tmp_path / "runs", silent)
    with pytest.raises(DataError, match="churn: the "):
        preflight(config, Lake.open(tmp_path / "lake"))


def test_a_third_value_of_the_label_is_refused_before_anything_is_read(lake: Lake, tmp_path: Path) -> None:
    status = pl.when(pl.col("left")).then(pl.lit("left")).otherwise(pl.lit("here"))
    rows = lake.read("customers").with_columns(left=pl.when(pl.col("age") > 79).then(pl.lit("dead")).otherwise(status))
    kinds = [Attribute("left", "label", "category") if a.name == "left" else a for a in ATTRIBUTES]
    with pytest.raises(DataError, match="customers.left: the label has 3 values"):
        preflight(leaving_config(positive="left"), write_lake(tmp_path / "lake", rows, kinds))


DATED = ["recommender=false", "adoption=null", "embedding=null", "segments=null", "threads=1"]
DATED += ["churn={rule: {accounts_closed: true}, snapshots: 3, models: {candidates: [logistic]}}"]


@pytest.fixture(scope="module")
def dated(segmented_bank: SmallBank, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("dated")
    return Bundle.load(train(load_config("demo", DATED), Lake.open(segmented_bank.lake), out, silent))


def test_a_bundle_of_a_dated_lake_says_from_which_days_it_learned(dated: Bundle) -> None:
    about = Churn(dated).about
    assert about.days == {
        "train": ("2024-02-01", "2024-03-01", "2024-04-01"),
        "validation": ("2024-07-01",),
        "test": ("2024-10-01",),
    }
    assert about.horizon_months == 3 and about.parts["train"].left > 5
    assert all(check.ok for check in verify(dated.path))


def test_nothing_after_the_validation_horizon_reaches_the_bundle(
    segmented_bank: SmallBank, dated: Bundle, tmp_path: Path
) -> None:
    """All that happened from October on taken away, but for one event that keeps the lake's last day."""
    lake, end = Lake.open(segmented_bank.lake), date(2024, 10, 1)
    attributes = {name: lake.attributes(name) for name in ("customers", "products", "campaigns")}
    settings: dict[str, Any] = {"currency": lake.currency, "until": lake.until, "attributes": attributes}
    with LakeWriter(tmp_path / "lake", buckets=2, source=lake.source, **settings) as writer:
        for name in lake.tables:
            rows = lake.read(name)
            if name == "accounts":
                rows = rows.with_columns(closed=pl.when(pl.col("closed") < end).then("closed"))
            elif "at" in rows.columns and name not in ("consents", "contacts"):
                last = pl.col("at") == pl.col("at").max() if name == "interactions" else pl.lit(False)
                rows = rows.filter(pl.col("at").is_null() | (pl.col("at") < end) | last)
            writer.append(name, rows.drop("bucket", strict=False))
    other = Lake.open(tmp_path / "lake")
    assert other.as_of == lake.as_of
    found = Bundle.load(train(load_config("demo", DATED), other, tmp_path / "runs", silent))
    assert found.part("churn") == dated.part("churn")


def test_a_past_that_is_too_short_is_refused(segmented_bank: SmallBank) -> None:
    """Accounts are known from long ago, but nobody who had closed all of theirs by 2023 was written down."""
    config = load_config("demo", [*DATED, "churn.horizon_months=12"])
    with pytest.raises(DataError, match="customers from 2021-11-01, and the lake tells of nothing before 2023-01-0"):
        preflight(config, Lake.open(segmented_bank.lake))
    preflight(load_config("demo", [*DATED, "churn.snapshots=12"]), Lake.open(segmented_bank.lake))


def test_a_dated_lake_without_a_label_needs_a_rule(segmented_bank: SmallBank) -> None:
    lake = Lake.open(segmented_bank.lake)
    with pytest.raises(ConfigError, match="churn.label: the lake has no such attribute.*or give churn.rule"):
        preflight(load_config("demo", [*DATED[:-1], "churn={}"]), lake)


def test_the_same_training_gives_the_same_part(lake: Lake, bundle: Bundle, config: Config, tmp_path: Path) -> None:
    again = Bundle.load(train(config, lake, tmp_path, silent))
    assert again.bundle_id == bundle.bundle_id
    batches = [scored(again, lake)["probability"].to_numpy(), scored(bundle, lake)["probability"].to_numpy()]
    assert np.array_equal(*batches)
