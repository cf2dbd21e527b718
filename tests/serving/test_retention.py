"""`recsys retention`: a list from a bundle, a lake and values, with consent, a hold-out and clear refusals."""

import json
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import polars as pl
import pytest
import yaml

from recsys.__main__ import main
from recsys.bundle import Bundle, Churn
from recsys.errors import ConfigError
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.store import Lake, LakeWriter
from recsys.retention.plan import RetentionPlan
from serving.retention import with_reasons
from serving.retention_commands import minor_units
from tests.churn.customers import ATTRIBUTES, customers
from tests.conftest import SmallBank, called
from tests.once import made_once
from tests.serving.test_churn import _make_leaving_bank

PLAN = """
holdout: 0.1
actions:
  - {name: call, channel: phone, cost: 700, save_rate: {value: 0.3, origin: assumed, source: a guess}}
  - {name: letter, channel: post, cost: 80, save_rate: {value: 0.1, origin: published, source: a paper}}
services: {age: Offer what customers of this age ask for.}
"""


@pytest.fixture(scope="module")
def leavers(tmp_path_factory: pytest.TempPathFactory) -> SmallBank:
    bundle = made_once("leaving_bank", tmp_path_factory, _make_leaving_bank)
    return SmallBank(bundle.parent.parent / "lake", bundle)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same customers with consents, a plan, and values at stake: nothing is known of the value of every tenth."""
    folder = tmp_path_factory.mktemp("retention")
    (folder / "plan.yaml").write_text(PLAN)
    rows = customers(600)
    ids = rows["customer_id"].to_list()
    said = [(who, "marketing", "phone", i % 2 == 0) for i, who in enumerate(ids)]
    said += [(who, "marketing", "post", i % 3 > 0) for i, who in enumerate(ids)]
    columns = ["customer_id", "purpose", "channel", "granted"]
    consents = pl.DataFrame(said, schema=columns, orient="row").with_columns(pl.lit(datetime(2024, 1, 1)).alias("at"))
    with LakeWriter(folder / "lake", buckets=4, attributes={"customers": list(ATTRIBUTES)}) as writer:
        writer.append("customers", rows)
        writer.append("consents", consents)
    (folder / "values").mkdir()
    values = pl.DataFrame({"customer_id": ids, "at_stake": [10_000.0 + 50 * i for i in range(600)]})
    values.gather_every(10, offset=0).with_columns(pl.lit(None, pl.Float64).alias("at_stake")).vstack(
        values.filter(pl.int_range(pl.len()) % 10 != 0)
    ).write_parquet(folder / "values" / "bucket=0000.parquet")
    return folder


def asked(leavers: SmallBank, given: Path, out: Path, budget: str, lake: Path | None = None) -> list[str]:
    words = ["retention", str(leavers.bundle), str(lake or given / "lake"), str(out), "--budget", budget]
    return [*words, "--values", str(given / "values"), "--plan", str(given / "plan.yaml")]


@pytest.fixture(scope="module")
def listed(leavers: SmallBank, given: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("listed") / "out"
    assert called(*asked(leavers, given, out, "60_000"))[-1] == str(out / "list.parquet")
    return out


def test_the_list_says_whom_to_contact_by_what(leavers: SmallBank, given: Path, listed: Path) -> None:
    rows = pl.read_parquet(listed / "list.parquet")
    told = json.loads((listed / "summary.json").read_text())
    assert 100 < rows.height == told["listed"] and rows["expected_gain"].is_sorted(descending=True)
    contacted = rows.filter(pl.col("arm") == "contact")
    assert contacted["cost"].sum() == pytest.approx(told["spent"]) and told["spent"] <= 60_000
    assert contacted.height == told["contacted"]
    bundle = Bundle.load(leavers.bundle)
    churn = Churn.of(bundle)
    assert churn is not None
    asked_of = features({"customers": customers(600)}, scoring_examples(rows["customer_id"], None), bundle.definition)
    scored = churn.scored(asked_of)
    same = rows.join(scored, on="customer_id", suffix="_scored")
    assert same.height == rows.height
    assert (same["probability"] - same["probability_scored"].cast(pl.Float64)).abs().max() < 1e-6  # type: ignore[operator]
    assert (same["tier"] == same["tier_scored"]).all() and (rows["service"].str.len_chars() > 10).all()


def test_reasons_speak_for_leaving_and_choose_what_to_speak_of(listed: Path) -> None:
    rows = pl.read_parquet(listed / "list.parquet")
    assert rows["reasons"].list.len().is_between(1, 3).mean() > 0.9  # type: ignore[operator]
    by_age = rows.filter(pl.col("service") == "Offer what customers of this age ask for.")
    assert 0 < by_age.height < rows.height
    assert by_age["reasons"].list.eval(pl.element().str.starts_with("age ")).list.any().all()


def test_a_recommender_in_the_bundle_names_a_product_that_is_not_held(small_bank: SmallBank) -> None:
    bundle, lake = Bundle.load(small_bank.bundle), Lake.open(small_bank.lake)
    ids = lake.read("customers")["customer_id"].unique().sort()[:40]
    plan = RetentionPlan.model_validate(yaml.safe_load(PLAN))
    churn = cast(Churn, SimpleNamespace(bundle=bundle, definition=bundle.definition))
    rows = with_reasons(ids.to_frame(), churn, lake, plan, lake.as_of, 1, lambda done, total, what: None)
    held = features(lake.customers(ids.to_list()), scoring_examples(ids, lake.as_of), bundle.definition)
    assert rows["product"].is_in(lake.read("products")["product_id"].implode()).all()
    for product, holdings in zip(rows["product"], held["holdings"].to_list(), strict=True):
        assert product not in holdings


def test_consent_and_missing_values_are_respected(listed: Path) -> None:
    rows = pl.read_parquet(listed / "list.parquet")
    number = rows["customer_id"].str.slice(1).cast(pl.Int64)
    assert ((number % 2 == 0) | (rows["action"] != "call")).all()
    assert ((number % 3 > 0) | (rows["action"] != "letter")).all()
    assert (number % 10 > 0).all()
    told = json.loads((listed / "summary.json").read_text())
    assert told["considered"]["without_value"] == 60 and told["considered"]["without_consent"] > 50
    assert any("60 customers have no value" in note for note in told["notes"])
    assert not any("no table consents" in note for note in told["notes"])


def test_the_same_question_gives_the_same_bytes_whatever_the_buckets(
    leavers: SmallBank, given: Path, listed: Path, tmp_path: Path
) -> None:
    called(*asked(leavers, given, tmp_path / "again", "60,000"))
    assert (tmp_path / "again" / "list.parquet").read_bytes() == (listed / "list.parquet").read_bytes()


def test_a_lake_without_consents_is_said_to_have_none(leavers: SmallBank, given: Path, tmp_path: Path) -> None:
    printed = called(*asked(leavers, given, tmp_path / "out", "1000", leavers.lake))
    assert any("no table consents" in line for line in printed)
    rows = pl.read_parquet(tmp_path / "out" / "list.parquet")
    assert rows.filter(pl.col("arm") == "contact")["cost"].sum() <= 1_000


def test_a_budget_of_zero_contacts_nobody_and_says_so(leavers: SmallBank, given: Path, tmp_path: Path) -> None:
    printed = called(*asked(leavers, given, tmp_path / "out", "0"))
    assert (
        printed[0].startswith("0 contacted and 0 held out") and "note: The budget is 0: nobody is contacted." in printed
    )
    rows = pl.read_parquet(tmp_path / "out" / "list.parquet")
    assert rows.height == 0 and {"reasons", "service", "product"} <= set(rows.columns)


def test_what_cannot_be_listed_is_refused(
    leavers: SmallBank,
    given: Path,
    listed: Path,
    small_bank: SmallBank,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def left(code: int, message: str, words: list[str]) -> None:
        with pytest.raises(SystemExit) as error:
            main(words)
        assert error.value.code == code and message in capsys.readouterr().err

    left(1, "holds a list already", asked(leavers, given, listed, "10"))
    left(2, "is not an amount", asked(leavers, given, tmp_path / "out", "-5"))
    words = asked(leavers, given, tmp_path / "out", "10")
    left(1, "no bucket=NNNN.parquet", [*words, "--values", str(tmp_path)])
    left(1, "does not say who will leave", ["retention", str(small_bank.bundle), str(small_bank.lake), *words[3:]])
    (tmp_path / "plan.yaml").write_text(PLAN.replace("cost: 80", "costs: 80"))
    left(2, "did you mean 'cost'", [*words, "--plan", str(tmp_path / "plan.yaml")])
    pl.DataFrame({"customer_id": ["a"], "value": [1.0]}).write_parquet(tmp_path / "bucket=0000.parquet")
    left(1, "has no column at_stake", [*words, "--values", str(tmp_path)])
    assert not (tmp_path / "out").exists()


def test_amounts_become_minor_units_of_the_currency() -> None:
    assert minor_units("1,250.50", "GBP") == 125_050 and minor_units("900", "JPY") == 900
    assert minor_units("900", None) == 900
    with pytest.raises(ConfigError, match="is not an amount"):
        minor_units("lots", "GBP")


def test_the_plan_of_the_guide_is_a_plan() -> None:
    text = (Path(__file__).parents[2] / "docs" / "retention.md").read_text()
    plan = RetentionPlan.model_validate(yaml.safe_load(text.split("```yaml")[1].split("```")[0]))
    assert [action.name for action in plan.actions] == ["call", "letter"] and plan.actions[0].expected_cost == 2_400
