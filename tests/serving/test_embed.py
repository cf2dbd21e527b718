"""Vectors in batch are those that the service answers, and a run of them continues."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.bundle import Bundle
from recsys.errors import BundleError
from recsys.lake.store import Lake
from serving.answers import Answers
from serving.embed import embed
from tests.conftest import SmallBank, called

SOME = ["C0007", "C0099", "C0123", "C0400"]


@pytest.fixture(scope="module")
def whole(whole_bank: SmallBank, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("embedded") / "vectors"
    assert called("embed", str(whole_bank.bundle), str(whole_bank.lake), str(out))[-1] == str(out)
    return out


def rows(out: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted(out.glob("bucket=*.parquet"))])


def asked(answers: Answers, customer: str) -> tuple[str, np.ndarray]:
    told = answers.embed(json.dumps({"customer_id": customer}).encode())
    return told["of"], np.array(told["vector"], dtype=np.float32)


def vector(found: pl.DataFrame, customer: str) -> np.ndarray:
    return found.filter(customer_id=customer)["vector"].to_numpy()[0]


def test_everybody_has_the_vector_that_the_service_answers(whole: Path, whole_bank: SmallBank) -> None:
    found, lake = rows(whole), Lake.open(whole_bank.lake)
    assert found.columns == ["customer_id", "vector", "error", "unusual", "bundle_id"]
    assert sorted(found["customer_id"]) == sorted(lake.read("customers")["customer_id"].unique())
    answers = Answers.open(whole_bank.bundle, whole_bank.lake, None)
    for customer in SOME:
        of, expected = asked(answers, customer)
        assert of == "embedding" and np.array_equal(vector(found, customer), expected)
    assert 0 < found["unusual"].sum() < found.height / 4
    assert found.filter("unusual")["error"].min() > found.filter(~pl.col("unusual"))["error"].max()  # type: ignore
    manifest = json.loads((whole / "manifest.json").read_text())
    assert (manifest["answers"], manifest["of"], manifest["customers"]) == ("vectors", "embedding", found.height)


def test_without_an_embedding_the_recommender_places_customers(
    small_bundle: Path, small_lake: Path, tmp_path: Path
) -> None:
    embed(small_bundle, small_lake, tmp_path / "out")
    found, answers = rows(tmp_path / "out"), Answers.open(small_bundle, small_lake, None)
    assert found.columns == ["customer_id", "vector", "bundle_id"]
    for customer in SOME:
        of, expected = asked(answers, customer)
        assert of == "recommender" and np.array_equal(vector(found, customer), expected)


def test_a_run_that_was_cut_short_continues_to_the_same_bytes(
    whole: Path, whole_bank: SmallBank, tmp_path: Path
) -> None:
    class Cut(Exception):
        pass

    def cut(done: int, total: int, what: str) -> None:
        if done == 3:
            raise Cut

    out = tmp_path / "vectors"
    with pytest.raises(Cut):
        embed(whole_bank.bundle, whole_bank.lake, out, progress=cut)
    assert 0 < len(list(out.glob("bucket=*.parquet"))) < 8 and not (out / "manifest.json").exists()
    embed(whole_bank.bundle, whole_bank.lake, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        path.name: path.read_bytes() for path in whole.iterdir()
    }


def test_a_bundle_that_knows_no_vectors_is_refused(staying_bank: SmallBank, tmp_path: Path) -> None:
    assert not {"recommender", "embedding"} & set(Bundle.load(staying_bank.bundle).contents.parts)
    with pytest.raises(BundleError, match="neither an embedding nor a recommender"):
        embed(staying_bank.bundle, staying_bank.lake, tmp_path / "out")
    assert not (tmp_path / "out").exists()
