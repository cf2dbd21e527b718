"""The protocol `given` from lake to report: real sets without order, a large catalogue, test rows that nobody sees."""

from pathlib import Path

import polars as pl
import pytest

from recsys.bundle import Bundle
from recsys.bundle.parity import verify
from recsys.errors import DataError
from recsys.features.encoder import MAX_HOLDINGS
from recsys.lake.catalog import import_catalog
from recsys.lake.store import Lake, LakeWriter
from recsys.shipped import shipped
from training.config import Config, load_config
from training.evaluate import evaluate
from training.fit import train
from training.preflight import preflight

PEOPLE = 600
SETTINGS = ["model.dim=24", "training.epochs=3", "training.batch_size=64", "training.learning_rate=0.02", "threads=1"]
SETTINGS += [
    "model.spectral_start=false",
    "evaluation.baselines=[popularity]",
    "evaluation.bootstrap=100",
    "loss.negatives=512",
]


def silent(done: int, total: int, what: str) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def gowalla(datasets: Path, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The public set, whole."""
    out = tmp_path_factory.mktemp("gowalla") / "lake"
    return import_catalog(shipped("catalog", "lightgcn_gowalla"), out, datasets / "lightgcn_gowalla")


def some_people(lake: Lake, out: Path, *, swap_tests: bool = False) -> Lake:
    """The lake of a few hundred of the people; with `swap_tests` their test rows name other places."""
    ids = lake.read("customers")["customer_id"].sort()[:PEOPLE]
    rows = lake.read("interactions").filter(pl.col("customer_id").is_in(ids.implode()))
    products = rows.select("product_id").unique().sort("product_id")
    if swap_tests:
        known = rows.filter(~pl.col("test"))
        free = known.select("customer_id").unique().join(products, how="cross")
        free = free.join(known, on=["customer_id", "product_id"], how="anti").sort("customer_id", "product_id")
        other = free.group_by("customer_id", maintain_order=True).head(5).with_columns(kind=pl.lit("holds"), test=True)
        rows = pl.concat([known, other.select(known.columns)])
    with LakeWriter(out, buckets=2, source="some people") as writer:
        writer.append("customers", ids.to_frame("customer_id"))
        writer.append("products", products)
        writer.append("interactions", rows)
    return Lake.open(out)


@pytest.fixture(scope="module")
def small(gowalla: Lake, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = some_people(gowalla, tmp_path_factory.mktemp("some") / "lake")
    assert lake.tables["products"].rows > MAX_HOLDINGS, "large enough for a list instead of columns"
    return lake


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config("gowalla", SETTINGS)


@pytest.fixture(scope="module")
def bundle(small: Lake, config: Config, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(train(config, small, tmp_path_factory.mktemp("bundles"), silent))


def test_the_catalog_names_the_published_test_rows(gowalla: Lake) -> None:
    rows = gowalla.read("interactions")
    assert rows.filter(pl.col("test")).height == 217_242 and rows.filter(~pl.col("test")).height == 810_128
    assert (gowalla.tables["customers"].rows, gowalla.tables["products"].rows) == (29_858, 40_981)


def test_the_check_counts_the_examples_of_each_part(small: Lake, config: Config) -> None:
    lines = preflight(config, small)
    assert "protocol: given; refit on training and validation" in lines
    assert f"test: about {PEOPLE} examples" in lines


def test_an_ordered_protocol_refuses_the_lake(small: Lake, config: Config) -> None:
    other = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"protocol": "hold_one_out"})})
    with pytest.raises(DataError, match="use given"):
        preflight(other, small)


def test_sets_are_learned_and_served_as_trained(small: Lake, bundle: Bundle) -> None:
    assert all(check.ok for check in verify(bundle.path))
    found = evaluate(bundle, small, silent)
    assert found["customers"] == PEOPLE
    chance = 20 / small.tables["products"].rows
    assert found["models"]["two_tower"]["recall@20"]["low"] > 2 * chance, "after three short epochs"


def test_the_refit_has_as_many_epochs_as_validation_chose(bundle: Bundle) -> None:
    report = bundle.json("report/metrics.json")
    assert len(report["refit"]) == report["best_epoch"]
    assert report["refit"][0]["loss"] != report["epochs"][0]["loss"]
    assert "recall@20" in report["epochs"][0] and "recall@20" not in report["refit"][0]


def test_test_rows_do_not_reach_the_bundle(gowalla: Lake, config: Config, bundle: Bundle, tmp_path: Path) -> None:
    other = Bundle.load(train(config, some_people(gowalla, tmp_path / "lake", swap_tests=True), tmp_path, silent))
    for part in ("features", "recommender", "parity", "report"):
        assert bundle.manifest["parts"][part]["hash"] == other.manifest["parts"][part]["hash"], part


class Killed(Exception):
    pass


def test_a_refit_that_was_stopped_goes_on_and_gives_the_undisturbed_bundle(
    small: Lake, config: Config, bundle: Bundle, tmp_path: Path
) -> None:
    def kill(done: int, total: int, what: str) -> None:
        if what.startswith("last fit, epoch 2"):
            raise Killed

    with pytest.raises(Killed):
        train(config, small, tmp_path, kill)
    assert list(tmp_path.glob(".work-*/checkpoints-refit/last.ckpt"))
    assert Bundle.load(train(config, small, tmp_path, silent)).bundle_id == bundle.bundle_id
