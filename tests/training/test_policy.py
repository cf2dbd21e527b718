"""recsys campaign evaluate-policy: a policy's value from logged decisions, released or not, and what it cannot tell."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.__main__ import main
from recsys.decision_log import numbers
from recsys.lake.store import Attribute, Lake, LakeWriter
from tests.conftest import SmallBank
from training.policy_report import read_table

ROWS = 3_000
ACTIONS = ("none", "card", "loan")
CHANCES = np.array([[0.02, 0.30, 0.05], [0.02, 0.05, 0.25]])
"""Of converting, by need and action: the card suits those of low need, the loan the others."""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("decided") / "lake"
    need = rng.normal(size=ROWS)
    ids = [f"C{i:05d}" for i in range(ROWS)]
    drawn = rng.choice(3, ROWS, p=[0.4, 0.3, 0.3])
    converted = np.flatnonzero(rng.random(ROWS) < CHANCES[(need > 0).astype(int), drawn])
    at = [datetime(2025, 3, 1) + timedelta(minutes=i) for i in range(ROWS)]
    attributes = {"customers": (Attribute("need", "feature", "number"), Attribute("town", "group", "category"))}
    with LakeWriter(path, buckets=2, currency="GBP", attributes=attributes) as writer:
        writer.append("customers", pl.DataFrame({"customer_id": ids, "need": need, "town": ["north", "south"] * 1500}))
        writer.append("products", pl.DataFrame({"product_id": ["card", "loan"]}))
        writer.append(
            "decisions",
            pl.DataFrame(
                {
                    "decision_id": [f"D{i:05d}" for i in range(ROWS)],
                    "customer_id": ids,
                    "at": at,
                    "product_id": [None if a == 0 else ACTIONS[a] for a in drawn],
                    "propensity": np.array([0.4, 0.3, 0.3])[drawn],
                    "bundle_id": ["B"] * ROWS,
                }
            ),
        )
        writer.append(
            "outcomes",
            pl.DataFrame(
                {
                    "outcome_id": [f"O{i}" for i in converted],
                    "customer_id": [ids[i] for i in converted],
                    "at": [at[i] + timedelta(days=2) for i in converted],
                    "decision_id": [f"D{i:05d}" for i in converted],
                    "kind": ["converted"] * len(converted),
                    "revenue": [5_000] * len(converted),
                }
            ),
        )
    return path


@pytest.fixture(scope="module")
def by_need(lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine in ten get what suits their need, the others nothing."""
    people = Lake.open(lake).read("customers").sort("customer_id")
    best = pl.when(pl.col("need") > 0).then(pl.lit("loan")).otherwise(pl.lit("card"))
    path = tmp_path_factory.mktemp("policy") / "policy.csv"
    people.select("customer_id", best.alias("action"), probability=0.9).write_csv(path)
    return path


def called(words: list[str]) -> int:
    """The exit code of a command."""
    try:
        main(words)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def _content(out: Path) -> dict[str, object]:
    return json.loads((out / "policy.json").read_text())


def test_a_policy_by_need_is_released_and_its_value_is_the_true_one(
    lake: Path, by_need: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = called(["campaign", "evaluate-policy", str(lake), "--policy", str(by_need), "--out", str(tmp_path)])
    said = capsys.readouterr().out
    assert code == 0 and "released: its gain" in said and said.strip().endswith("policy.html")
    content = _content(tmp_path)
    truth = 0.9 * (0.30 + 0.25) / 2 + 0.1 * 0.02
    for name in ("ips", "snips", "dr", "switch_dr", "dros"):
        told = content["estimates"][name]
        assert told["low"] < truth < told["high"], name
        assert told["bootstrap_low"] == pytest.approx(told["low"], abs=0.01)
    assert content["released"] and content["gain"]["low"] > 0
    shares = {row["action"]: row["policy_share"] for row in content["actions"]}
    assert shares["none"] == pytest.approx(0.1), "what the table leaves of 1 is doing nothing"
    page = (tmp_path / "policy.html").read_text()
    assert "<svg" in page and "Released: its gain" in page and "http" not in page.replace("http://www.w3.org", "")


def test_doing_nothing_is_not_released_and_money_is_told_in_the_lakes_currency(
    lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["campaign", "evaluate-policy", str(lake), "--policy", "always:none", "--reward", "revenue"]
    assert called([*words, "--out", str(tmp_path)]) == 0
    assert "not released: it is worse" in capsys.readouterr().out
    content = _content(tmp_path)
    assert content["estimates"]["dr"]["value"] == pytest.approx(100, abs=60), "2 % of 5,000 pence"
    assert " GBP" in (tmp_path / "policy.html").read_text()


def test_the_policy_to_beat_may_be_another_one(lake: Path, by_need: Path, tmp_path: Path) -> None:
    words = ["campaign", "evaluate-policy", str(lake), "--policy", str(by_need), "--out", str(tmp_path)]
    assert called([*words, "--in-force", str(by_need), "--estimator", "snips", "--customers", "town=north"]) == 0
    content = _content(tmp_path)
    assert content["gain"]["value"] == pytest.approx(0) and not content["released"] and content["decisions"] == 1500


def test_where_the_log_cannot_tell_no_value_is_given(lake: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    people = Lake.open(lake).read("customers")
    with LakeWriter(few, buckets=1, attributes={"customers": Lake.open(lake).attributes("customers")}) as writer:
        writer.append("customers", people)
        writer.append("products", Lake.open(lake).read("products"))
        for table in ("decisions", "outcomes"):
            rows = Lake.open(lake).read(table)
            if table == "decisions":
                rows = rows.with_columns(propensity=pl.lit(1.0))
            writer.append(table, rows)
    words = ["campaign", "evaluate-policy", str(few), "--policy", "uniform", "--out", str(tmp_path / "out")]
    assert called(words) == 0
    content = _content(tmp_path / "out")
    assert content["estimates"] == {} and not content["released"]
    assert "propensity 1" in content["overlap"]["refused"][0]
    assert "This log cannot tell" in (tmp_path / "out" / "policy.html").read_text()


def test_contacts_of_a_campaign_are_decisions_by_arm(small_bank: SmallBank, tmp_path: Path) -> None:
    lake = Lake.open(small_bank.lake)
    campaign = lake.read("contacts")["campaign_id"].value_counts().sort("count", "campaign_id")["campaign_id"][-1]
    words = ["campaign", "evaluate-policy", str(small_bank.lake), "--policy", "always:treated", "--out", str(tmp_path)]
    assert called([*words, "--campaign", campaign, "--reward", "converted"]) == 0
    content = _content(tmp_path)
    rows = lake.read("contacts").filter(pl.col("campaign_id") == campaign)
    assert content["decisions"] == len(rows) and content["context"]["columns"] > 5
    assert content["logged_value"] == pytest.approx(rows["converted"].mean())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--policy", "always:card2"], 2, "no such action; did you mean 'card'?"),
        (["--policy", "nowhere.csv"], 2, "nowhere.csv: no such file"),
        (["--policy", "uniform", "--reward", "clicked"], 2, "kinds are converted, and revenue"),
        (["--policy", "uniform", "--campaign", "K1"], 2, "has no table contacts"),
        (["--policy", "uniform", "--estimator", "dm"], 2, "released by one of ips"),
        (["--policy", "uniform", "--customers", "town"], 2, "expected ATTRIBUTE=VALUE"),
        (["--policy", "uniform", "--customers", "twon=north"], 2, "did you mean 'town'"),
        (["--policy", "uniform", "--customers", "town=west"], 1, "holds none of those asked for"),
        (["--policy", "uniform", "--by", "channel"], 2, "product_id or its action"),
    ],
)
def test_what_cannot_be_asked_is_told_in_one_line(
    lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    assert called(["campaign", "evaluate-policy", str(lake), "--out", str(tmp_path), *words]) == code
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and said in error


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"customer_id": ["C00001"], "product": ["card"]}, "has no column action"),
        ({"customer_id": ["C00001"], "action": ["boat"]}, "'boat'"),
        ({"customer_id": ["C00001"], "action": ["card"], "probability": [1.5]}, "lie outside"),
        ({"customer_id": ["C00001"] * 2, "action": ["card"] * 2}, "repeat a customer's action"),
        ({"customer_id": ["C00001"] * 2, "action": ["card", "loan"], "probability": [0.6, 0.6]}, "sum to more than 1"),
        ({"customer_id": ["C00001"], "action": [None]}, "may not be missing"),
    ],
)
def test_a_bad_table_is_refused(
    lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], table: dict[str, list[object]], said: str
) -> None:
    path = tmp_path / "policy.parquet"
    pl.DataFrame(table, schema_overrides={"action": pl.String} if "action" in table else None).write_parquet(path)
    assert called(["campaign", "evaluate-policy", str(lake), "--policy", str(path), "--out", str(tmp_path)]) in (1, 2)
    assert said in capsys.readouterr().err


def test_the_folder_of_a_plan_is_one_table(tmp_path: Path) -> None:
    for part in range(2):
        rows = {"customer_id": [f"C{part}", f"D{part}"], "action": ["card", None]}
        pl.DataFrame(rows).write_parquet(tmp_path / f"{part}.parquet")
    assert read_table(tmp_path)["customer_id"].to_list() == ["C0", "C1"], "who gets nothing is not named"


def test_a_context_is_numbers_without_gaps() -> None:
    rows = pl.DataFrame({"x": [1.0, None, 3.0], "same": [2.0, 2.0, 2.0], "word": ["a", None, "b"]})
    context, names = numbers(rows)
    assert names == ("x", "word=a", "word=b")
    assert np.isfinite(context).all() and context.shape == (3, 3)
