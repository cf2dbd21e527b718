"""When: probabilities by horizon beside each recommendation, the same in a batch file and over the service."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from recsys.bundle import Bundle, write_bundle
from recsys.lake.store import Lake
from serving.answers import Answers
from serving.score import COLUMNS, score
from tests.conftest import SmallBank

HORIZONS = ["probability_1m", "probability_3m", "probability_6m"]


def scored(bundle: Path, lake: Path, out: Path, top: int = 10) -> pl.DataFrame:
    score(bundle, lake, out, top=top)
    return pl.read_parquet(sorted(out.glob("bucket=*.parquet")))


def ask(answers: Answers, **question: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = answers.recommend(json.dumps(question).encode())["items"]
    return items


def probabilities(item: dict[str, Any]) -> tuple[Any, ...]:
    found = item["probability"]
    return (None, None, None) if found is None else tuple(found.values())


@pytest.fixture(scope="module")
def batch(small_bank: SmallBank, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    return scored(small_bank.bundle, small_bank.lake, tmp_path_factory.mktemp("scores") / "out")


def test_files_end_with_one_column_a_horizon(batch: pl.DataFrame) -> None:
    assert batch.columns == [*COLUMNS, *HORIZONS]
    assert all(batch[name].dtype == pl.Float32 and batch[name].is_between(0, 1).all() for name in HORIZONS)
    assert (batch["probability_1m"] <= batch["probability_3m"]).all()
    assert (batch["probability_3m"] <= batch["probability_6m"]).all() and batch["probability_6m"].std() > 0.001


def test_the_service_answers_the_same_bits_whatever_is_asked_beside(small_bank: SmallBank, batch: pl.DataFrame) -> None:
    answers = Answers.open(small_bank.bundle, small_bank.lake, None)
    for customer_id in batch["customer_id"].unique().sort().gather_every(25):
        mine = batch.filter(pl.col("customer_id") == customer_id)
        for k in (1, 2, 10):
            items = ask(answers, customer_id=customer_id, k=k)
            assert [probabilities(item) for item in items] == mine.head(k).select(HORIZONS).rows(), customer_id
            assert list(items[0]["probability"]) == ["1m", "3m", "6m"]
        last = mine["product_id"][-1]
        (item,) = ask(answers, customer_id=customer_id, candidates=[last])
        assert probabilities(item) == mine.select(HORIZONS).row(-1)
    assert ask(answers, customer_id=customer_id, candidates=[last], exclude=[last]) == []


def test_a_product_that_is_held_has_none(small_bank: SmallBank, tmp_path: Path) -> None:
    bundle = Bundle.load(small_bank.bundle)
    parts = {name: bundle.part(name) for name in bundle.contents.parts}
    parts["features"]["config.yaml"] = yaml.safe_dump({**bundle.config, "serving": {"exclude_held": False}}).encode()
    about, hashed = bundle.manifest["lake"], bundle.contents.feature_hash
    holding = write_bundle(tmp_path, "holding", parts, lake=about, feature_hash=hashed, seconds={}).path
    rows = scored(holding, small_bank.lake, tmp_path / "out", top=26)
    events = Lake.open(small_bank.lake).read("interactions")
    kinds = events.filter(pl.col("kind").is_in(["acquired", "closed"])).sort("at", "event_id")
    held = kinds.group_by("customer_id", "product_id").agg(pl.col("kind").last()).filter(pl.col("kind") == "acquired")
    joined = rows.join(held, on=["customer_id", "product_id"], how="left")
    assert joined["kind"].null_count() < joined.height
    for name in HORIZONS:
        assert (joined[name].is_null() == joined["kind"].is_not_null()).all()
    first = rows.filter(pl.col("probability_1m").is_null()).row(0, named=True)
    answers = Answers.open(holding, small_bank.lake, None)
    (item,) = ask(answers, customer_id=first["customer_id"], candidates=[first["product_id"]])
    assert item["probability"] is None


def test_a_bundle_without_the_part_says_nothing_of_it(small_bundle: Path, small_lake: Path, tmp_path: Path) -> None:
    assert scored(small_bundle, small_lake, tmp_path / "out").columns == list(COLUMNS)
    items = ask(Answers.open(small_bundle, small_lake, None), customer_id="C0001")
    assert items and all(set(item) == {"rank", "product_id", "score"} for item in items)
