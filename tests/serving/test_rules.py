"""Rules in batch and online: the same lists, nothing removed ever listed, each removal with its rule."""

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest

from recsys.bundle import Bundle
from recsys.errors import ConfigError, DataError
from recsys.lake.store import Lake
from recsys.rules import Rules
from serving.answers import Answers
from serving.rules import RulesInForce
from serving.score import score
from tests.serving.conftest import serving
from tests.serving.ruled_bank import RULES, ruled_lake, write_rules

NAMES = {rule["name"] for rule in RULES["products"]}
NOBODY = {"products": [{"name": "nobody", "customer": {"income": {"at_least": 1e12}}}]}


@pytest.fixture(scope="module")
def lake(small_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return ruled_lake(Lake.open(small_lake), tmp_path_factory.mktemp("ruled") / "lake")


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rules(tmp_path_factory.mktemp("rules") / "rules.yaml")


@pytest.fixture(scope="module")
def batch(small_bundle: Path, lake: Lake, rules: Path, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    out = tmp_path_factory.mktemp("scores") / "out"
    done = score(small_bundle, lake.path, out, top=12, rules=rules)
    assert json.loads((out / "manifest.json").read_text())["rules"] == Rules.read(rules).digest
    assert done.customers == 600
    return pl.concat([pl.read_parquet(path) for path in sorted(out.glob("bucket=*.parquet"))])


@pytest.fixture(scope="module")
def answers(small_bundle: Path, lake: Lake, rules: Path) -> Answers:
    return Answers.open(small_bundle, lake.path, None, rules)


def asked(answers: Answers, **question: Any) -> dict[str, Any]:
    return answers.recommend(json.dumps({"k": 12, **question}).encode())


def test_every_customer_is_answered_as_in_the_batch_and_every_product_is_listed_or_removed(
    answers: Answers, batch: pl.DataFrame, lake: Lake
) -> None:
    scored = {str(key[0]): frame for key, frame in batch.partition_by("customer_id", as_dict=True).items()}
    told: set[str] = set()
    for customer in lake.read("customers")["customer_id"]:
        answer = asked(answers, customer_id=customer, removed=True)
        mine = scored.get(customer, batch.clear())
        assert [item["product_id"] for item in answer["items"]] == mine["product_id"].to_list()
        found = np.array([item["score"] for item in answer["items"]], dtype=np.float32)
        assert np.array_equal(found, mine["score"].to_numpy())
        listed, gone = {i["product_id"] for i in answer["items"]}, {r["product_id"] for r in answer["removed"]}
        assert listed | gone == set(answers.products) and not listed & gone
        told |= {removed["rule"] for removed in answer["removed"]}
    assert told == NAMES | {"held"}


def test_the_service_started_with_the_rules_answers_as_the_batch_for_everybody(
    small_bundle: Path, lake: Lake, rules: Path, batch: pl.DataFrame, tmp_path: Path
) -> None:
    scored = {str(key[0]): frame for key, frame in batch.partition_by("customer_id", as_dict=True).items()}
    with (
        serving(small_bundle, "--lake", lake.path, "--rules", str(rules), folder=tmp_path) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        for customer in lake.read("customers")["customer_id"]:
            answer = client.post("/recommend", json={"customer_id": customer, "k": 12, "removed": True}).json()
            listed = [item["product_id"] for item in answer["items"]]
            assert listed == scored.get(customer, batch.clear())["product_id"].to_list()
            assert len(listed) + len(answer["removed"]) == 12


def test_nothing_that_a_rule_forbids_is_in_the_files(batch: pl.DataFrame, lake: Lake) -> None:
    """Told again in plain joins, not by the code that compiled the rules."""
    products, customers = lake.read("products"), lake.read("customers")
    day = lake.as_of
    assert day is not None
    listed = batch.join(products, on="product_id").join(customers, on="customer_id")
    assert "P07" not in listed["product_id"]
    governed = listed.filter(pl.col("family").is_in(["loan", "card"]) & pl.col("min_age").is_not_null())
    born = governed["born"].to_list()
    ages = [day.year - b.year - ((day.month, day.day) < (b.month, b.day)) for b in born]
    assert all(age >= least for age, least in zip(ages, governed["min_age"], strict=True))
    assert set(listed.filter(pl.col("product_id") == "P02")["region"]) == {"north", "south"}
    assert listed.filter((pl.col("product_id") == "P05") & pl.col("sex").is_null()).is_empty()
    assert listed.filter(pl.col("income") < 12_000).is_empty()
    assert listed.filter(pl.col("income").is_null()).height > 0
    acquired = lake.read("interactions").filter(pl.col("kind") == "acquired")
    cards = acquired.join(products, on="product_id").filter(pl.col("family") == "card")
    loans = listed.filter(pl.col("family") == "loan")
    assert loans.height and loans.join(cards, on="customer_id", how="anti").is_empty()
    held = acquired.filter(pl.col("product_id").is_in(["P02", "P11"]))
    assert listed.filter(pl.col("product_id") == "P08").join(held, on="customer_id").is_empty()
    recent = acquired.filter((pl.lit(day) - pl.col("at").dt.date()).dt.total_days() <= 90)
    recent = recent.join(products, on="product_id").select("customer_id", "family")
    assert recent.height and listed.join(recent, on=["customer_id", "family"]).is_empty()
    refused = lake.read("outcomes").filter(pl.col("kind") == "refused")
    refused = refused.filter((pl.lit(day) - pl.col("at").dt.date()).dt.total_days() <= 365)
    assert listed.join(refused, on=["customer_id", "product_id"]).is_empty()
    assert listed.join(refused.filter(pl.col("product_id").is_null()), on="customer_id").is_empty()
    said = lake.read("consents").filter(pl.col("granted"))["customer_id"]
    assert listed.filter(
        pl.col("product_id").is_in(["P00", "P03"]) & ~pl.col("customer_id").is_in(said.implode())
    ).is_empty()


def test_a_customer_who_brings_their_own_rows_is_held_to_the_same_rules(answers: Answers, lake: Lake) -> None:
    for customer in ("C0000", "C0001", "C0010", "C0123"):
        tables = lake.customers([customer])
        rows = {n: t for n, t in tables.items() if n not in ("products", "campaigns") and t.height}
        own = {n: [{k: v for k, v in r.items() if v is not None} for r in t.to_dicts()] for n, t in rows.items()}
        sent = json.loads(json.dumps(own, default=lambda value: value.isoformat()))
        assert asked(answers, customer=sent, removed=True) == asked(answers, customer_id=customer, removed=True)


def test_what_the_question_itself_leaves_out_is_told_apart(answers: Answers) -> None:
    gone = asked(answers, customer_id="C0099", removed=True)["removed"]
    free = sorted(set(answers.products) - {entry["product_id"] for entry in gone})
    answer = asked(answers, customer_id="C0099", exclude=free[:1], candidates=free[:2], removed=True)
    why = {entry["product_id"]: entry["rule"] for entry in answer["removed"]}
    assert why[free[0]] == "excluded" and why[free[2]] == "not_a_candidate"
    assert [item["product_id"] for item in answer["items"]] == free[1:2]
    assert "removed" not in asked(answers, customer_id="C0099")


def test_where_all_is_removed_the_list_is_empty_and_says_why(small_bundle: Path, lake: Lake, tmp_path: Path) -> None:
    nobody = write_rules(tmp_path / "nobody.yaml", NOBODY)
    answer = asked(Answers.open(small_bundle, lake.path, None, nobody), customer_id="C0001", removed=True)
    assert answer["items"] == [] and {entry["rule"] for entry in answer["removed"]} == {"nobody"}
    done = score(small_bundle, lake.path, tmp_path / "out", rules=nobody)
    assert (done.customers, done.rows) == (600, 0)


def test_a_run_is_continued_with_the_same_rules_only(
    small_bundle: Path, lake: Lake, rules: Path, tmp_path: Path
) -> None:
    score(small_bundle, lake.path, tmp_path / "out", rules=rules)
    assert score(small_bundle, lake.path, tmp_path / "out", rules=rules).already
    for other in (None, write_rules(tmp_path / "other.yaml", NOBODY)):
        with pytest.raises(DataError, match="belongs to another run .*--rules"):
            score(small_bundle, lake.path, tmp_path / "out", rules=other)


def test_the_parts_of_a_small_budget_change_nothing(
    small_bundle: Path, lake: Lake, rules: Path, batch: pl.DataFrame, tmp_path: Path
) -> None:
    from recsys.lake.parts import PROGRAM, table_bytes

    memory = PROGRAM + table_bytes(lake, 0) // 4 + 1
    score(small_bundle, lake.path, tmp_path / "out", top=12, rules=rules, memory=memory)
    parts = pl.concat([pl.read_parquet(path) for path in sorted((tmp_path / "out").glob("bucket=*.parquet"))])
    assert parts.equals(batch)


def test_without_a_lake_rules_know_products_by_id_only(small_bundle: Path, tmp_path: Path) -> None:
    ids = {"products": [{"name": "no_first", "products": {"ids": ["P00"]}, "ends": "2020-01-01"}]}
    answers = Answers.open(small_bundle, None, None, write_rules(tmp_path / "ids.yaml", ids))
    answer = asked(answers, customer={"customers": [{"customer_id": "x"}]}, removed=True)
    assert answer["removed"] == [{"product_id": "P00", "rule": "no_first"}] and len(answer["items"]) == 11
    with pytest.raises(ConfigError, match="no attribute 'family'"):
        Answers.open(small_bundle, None, None, write_rules(tmp_path / "families.yaml"))


def test_segments_are_those_of_the_bundle(whole_bank: Any, tmp_path: Path) -> None:
    bundle, lake = Bundle.load(whole_bank.bundle), Lake.open(whole_bank.lake)
    asks = {"products": [{"name": "some", "segment": {"none_of": ["S01"]}}]}
    with pytest.raises(ConfigError, match="the bundle has no segment 'S01'; it has "):
        RulesInForce.of(Rules.model_validate(asks), "r.yaml", bundle, lake, lake.as_of)
    answers = Answers.open(whole_bank.bundle, whole_bank.lake, None)
    segment = asked(answers, customer_id="C0001")["segment"]["id"]
    asks["products"][0]["segment"] = {"none_of": [segment]}
    ruled = Answers.open(whole_bank.bundle, whole_bank.lake, None, write_rules(tmp_path / "r.yaml", asks))
    score(whole_bank.bundle, whole_bank.lake, tmp_path / "out", rules=tmp_path / "r.yaml")
    listed = set(pl.read_parquet(sorted((tmp_path / "out").glob("bucket=*.parquet")))["customer_id"])
    for customer in [f"C{i:04d}" for i in range(40)]:
        answer = asked(ruled, customer_id=customer)
        assert bool(answer["items"]) == (answer["segment"]["id"] != segment) == (customer in listed)
