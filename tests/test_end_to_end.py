"""The main job on public data through the command line alone: source files in, figures and answers out."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from recsys.__main__ import application
from recsys.lake.store import Lake
from serving.answers import Answers

FOLDERS = {
    "zimnat_insurance_reco": "zimnat_insurance_reco",
    "s3rec_beauty": "s3rec_sequential",
    "s3rec_sports": "s3rec_sequential",
    "berka": "berka",
}
SIZES = {
    "zimnat_insurance_reco": {"customers": 29_132, "products": 21, "interactions": 66_353},
    "s3rec_beauty": {"customers": 22_363, "products": 12_101, "interactions": 198_502},
    "s3rec_sports": {"customers": 35_598, "products": 18_357, "interactions": 296_337},
    "berka": {
        "customers": 4500,
        "products": 8,
        "account_holders": 4500,
        "accounts": 4500,
        "interactions": 6943,
        "transactions": 49_102,
    },
}


def recsys(*words: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "recsys", *map(str, words)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert result.returncode == code, result.stderr
    return result


def within(*words: str | Path) -> str:
    """What the command prints, without a process of its own that would import everything once more."""
    said = [str(word) for word in words]
    result = CliRunner().invoke(application(said), said, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def zimnat(datasets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of the insurance set."""
    lake = tmp_path_factory.mktemp("zimnat") / "lake"
    recsys("data", "import", "zimnat_insurance_reco", lake, "--root", datasets / "zimnat_insurance_reco")
    return lake


@pytest.fixture(scope="module")
def zimnat_bundle(zimnat: Path) -> Path:
    """A bundle trained on it for one epoch; the last line that `train` prints is its path."""
    trained = recsys(
        "train", "zimnat", "--lake", zimnat, "--out", zimnat.parent, "--set", "training.epochs=1", "--set", "threads=1"
    )
    return Path(trained.stdout.splitlines()[-1])


@pytest.mark.parametrize("catalog", SIZES)
def test_a_shipped_catalog_brings_its_source_in_whole(catalog: str, datasets: Path, tmp_path: Path) -> None:
    recsys("data", "import", catalog, tmp_path / "lake", "--root", datasets / FOLDERS[catalog])
    lake = Lake.open(tmp_path / "lake")
    assert {table: info.rows for table, info in lake.tables.items()} == SIZES[catalog]
    within("data", "check", tmp_path / "lake")


def test_an_altered_copy_of_a_source_is_refused_and_leaves_nothing(datasets: Path, tmp_path: Path) -> None:
    shutil.copytree(datasets / "zimnat_insurance_reco", tmp_path / "copy", copy_function=shutil.copyfile)
    table = tmp_path / "copy" / "Train.csv"
    table.write_bytes(table.read_bytes().replace(b"1987", b"1978", 1))
    refused = recsys("data", "import", "zimnat_insurance_reco", tmp_path / "lake", "--root", tmp_path / "copy", code=1)
    assert refused.stderr.startswith("error: ")
    assert "Train.csv" in refused.stderr
    assert not (tmp_path / "lake").exists()


def test_a_configuration_that_the_source_cannot_support_is_refused_before_training(zimnat: Path) -> None:
    refused = recsys("check", "demo", "--lake", zimnat, code=1)
    assert "temporal needs dated events" in refused.stderr


def test_the_two_tower_beats_popularity_and_the_report_has_its_declared_shape(
    zimnat: Path, zimnat_bundle: Path
) -> None:
    report = json.loads(recsys("evaluate", zimnat_bundle, "--lake", zimnat, "--json").stdout)
    assert report["protocol"] == "hold_one_out"
    assert report["refused"] == {}
    assert {"two_tower", "popularity", "item_knn", "als", "ease"} <= set(report["models"])
    expected = {
        f"{metric}@{k}" for metric in ("ndcg", "recall", "precision", "f1", "hr", "map") for k in (1, 3, 5, 10, 20)
    }
    for model in report["models"].values():
        assert {*expected, "mrr"} <= set(model)
        assert all(set(metric) == {"value", "low", "high"} for metric in model.values())
    assert set(report["differences"]) == set(report["models"]) - {"two_tower"}
    assert set(report["seconds"]) == set(report["models"])
    assert report["differences"]["popularity"]["mrr"]["low"] > 0


def test_every_customer_gets_products_that_they_do_not_hold(zimnat: Path, zimnat_bundle: Path, tmp_path: Path) -> None:
    recsys("score", zimnat_bundle, zimnat, tmp_path / "scores", "--top", "3")
    scores = pl.read_parquet(tmp_path / "scores" / "bucket=*.parquet")
    assert scores.columns == ["customer_id", "rank", "product_id", "score", "bundle_id"]
    assert scores["customer_id"].n_unique() == SIZES["zimnat_insurance_reco"]["customers"]
    assert scores.group_by("customer_id").agg(pl.col("rank"))["rank"].to_list() == [[1, 2, 3]] * 29_132
    held = Lake.open(zimnat).read("interactions").select("customer_id", "product_id")
    assert scores.join(held, on=["customer_id", "product_id"]).is_empty()


def test_a_relational_bank_from_its_eight_tables_to_an_answer(datasets: Path, tmp_path: Path) -> None:
    lake, scores = tmp_path / "lake", tmp_path / "scores"
    within("data", "import", "berka", lake, "--root", datasets / "berka")
    said = within("check", "berka", "--lake", lake)
    assert "transactions end on 1994-03-31, 1,734 days before the lake's last event" in said
    assert "not used, nothing of them lies within the windows: transactions" in said
    people = Lake.open(lake).read("customers")
    assert dict(people["sex"].value_counts().iter_rows()) == {"male": 2292, "female": 2208}
    assert people["born"].dt.year().is_between(1918, 1982).all()
    money = Lake.open(lake).read("transactions")
    assert (money["amount"] > 0).sum() == 22_994 and money["amount"].abs().min() > 0
    trained = within("train", "berka", "--lake", lake, "--out", tmp_path, "--set", "threads=1")
    bundle = Path(trained.splitlines()[-1])
    judged = json.loads(within("evaluate", bundle, "--lake", lake, "--json"))
    assert judged["customers"] == 578
    assert all(differences["mrr"]["low"] > 0 for differences in judged["differences"].values())
    recsys("verify", bundle)
    recsys("score", bundle, lake, scores, "--top", "3")
    ranked = pl.read_parquet(scores / "bucket=*.parquet")
    assert ranked["customer_id"].n_unique() == 4500
    held = Lake.open(lake).read("interactions").select("customer_id", "product_id")
    assert ranked.join(held, on=["customer_id", "product_id"], how="semi").is_empty()
    note = "Note: transactions end on 1994-03-31"
    assert note in recsys("report", bundle, "--lake", lake, "--scores", scores).stdout
    answer = Answers.open(bundle, lake, None).recommend(b'{"customer_id": "1001", "k": 3}')
    expected = ranked.filter(pl.col("customer_id") == "1001")
    assert [item["product_id"] for item in answer["items"]] == expected["product_id"].to_list()
