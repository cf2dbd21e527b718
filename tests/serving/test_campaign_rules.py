"""Rules bind a campaign plan and the next best action alike, and each removal has the name of a rule."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from recsys.bundle import Bundle
from recsys.errors import ConfigError
from recsys.lake.store import Lake
from recsys.rules import Rules
from serving.rules import RulesInForce
from serving.served import Served
from tests.conftest import ROOT, SmallBank, called

RULES = {
    "products": [
        {"name": "residents", "products": {"ids": ["credit_card"]}, "customer": {"housing": {"none_of": ["rented"]}}},
        {"name": "no_isa", "products": {"ids": ["cash_isa"]}, "customer": {"housing": {"any_of": ["nobody"]}}},
    ],
    "contacts": [
        {"name": "said_yes", "consent": {"purpose": "marketing"}},
        {"name": "never_called", "channels": ["phone"], "cooling_off": {"after": "contact", "days": 300}},
        {"name": "by_post", "channels": ["post"], "cap": {"contacts": 1, "days": 9}},
    ],
}


@pytest.fixture(scope="module")
def ruled(small_bank: SmallBank, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ruled")
    rules, plan = folder / "rules.yaml", folder / "plan.yaml"
    rules.write_text(yaml.safe_dump(RULES))
    example = yaml.safe_load((ROOT / "docs" / "campaign_plan.yaml").read_text())
    example["products"] = [{"product": "credit_card", "margin": 90_000}, {"product": "cash_isa", "margin": 90_000}]
    plan.write_text(yaml.safe_dump({**example, "budget": 50_000}))
    words = (str(plan), str(small_bank.bundle), str(small_bank.lake))
    called("campaign", "plan", *words, str(folder / "out"), "--rules", str(rules))
    return folder


def test_what_a_rule_removes_is_not_in_the_plan_and_has_its_name(small_bank: SmallBank, ruled: Path) -> None:
    lake, out = Lake.open(small_bank.lake), ruled / "out"
    rows = pl.read_parquet(out / "bucket=*.parquet")
    removed = pl.read_parquet(out / "removed" / "bucket=*.parquet")
    contacts = rows.filter(pl.col("action").is_not_null())
    renting = lake.read("customers").group_by("customer_id").last().filter(housing="rented")["customer_id"]
    assert contacts.height > 20 and set(contacts["product_id"]) == {"credit_card"}
    assert not contacts["customer_id"].is_in(renting.implode()).any()
    assert contacts.join(removed, on=["customer_id", "action"]).is_empty()
    assert set(removed.filter(pl.col("action").str.starts_with("cash_isa"))["rule"]) <= {"no_isa", "never_called"}
    rest = RulesInForce.of(Rules.read(ruled / "rules.yaml"), "", Bundle.load(small_bank.bundle), lake, lake.as_of)
    by_phone = contacts.filter(channel="phone")["customer_id"].unique()
    asked = by_phone.to_frame("customer_id")
    tables = {name: lake.read(name) for name in ("customers", "contacts", "consents")}
    if asked.height:
        assert rest.reaching(["phone"]).contactable(tables, asked, lake.as_of).mask.all()
    told = json.loads((out / "plan.json").read_text())
    assert told["rules"] == Rules.read(ruled / "rules.yaml").digest
    counted = {row["rule"]: (row["customers"], row["actions"]) for row in told["removed"]}
    assert counted["said_yes"] == (0, 0), "the plan's own consent came first"
    for rule in ("residents", "no_isa", "never_called"):
        mine = removed.filter(rule=rule)
        assert counted[rule] == (mine["customer_id"].n_unique(), mine.height) and mine.height
    out_of_all = rows.filter(pl.col("reason").str.starts_with("ruled out: "))
    assert told["not_allowed"]["ruled_out"] == out_of_all.height > 0
    assert (
        out_of_all["action"].is_null().all()
        and out_of_all["reason"].str.contains("no_isa|residents|never_called").all()
    )
    assert "no_isa" in (out / "plan.html").read_text()


def test_decide_obeys_the_rules_of_the_plan_and_says_which(small_bank: SmallBank, ruled: Path) -> None:
    prices = str(ruled / "out" / "prices.json")
    served = Served(bundle=str(small_bank.bundle), lake=str(small_bank.lake), prices=prices)
    with pytest.raises(ConfigError, match="was made by rules .*, and none are served"):
        served.answers(small_bank.bundle)
    answers = served.model_copy(update={"rules": str(ruled / "rules.yaml")}).answers(small_bank.bundle)
    rows = pl.read_parquet(ruled / "out" / "bucket=*.parquet")
    removed = pl.read_parquet(ruled / "out" / "removed" / "bucket=*.parquet")
    out_of_all = rows.filter(pl.col("reason").str.starts_with("ruled out: "))["customer_id"].head(10).to_list()
    compared = 0
    for customer in sorted({*out_of_all, *removed["customer_id"].head(60)}):
        told: dict[str, Any] = answers.decide(json.dumps({"customer_id": customer, "removed": True}).encode())
        action = told["next_best_action"]
        mine = removed.filter(customer_id=customer).select("action", "rule").sort("action").to_dicts()
        assert sorted(action["removed"], key=lambda one: one["action"]) == mine
        if customer in out_of_all:
            assert [action["reason"]] == rows.filter(customer_id=customer)["reason"].to_list()
        compared += bool(mine)
    assert compared > 10
    assert "removed" not in answers.decide(json.dumps({"customer_id": customer}).encode())["next_best_action"]


def test_a_run_is_continued_with_the_same_rules_only(
    small_bank: SmallBank, ruled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from recsys.__main__ import main

    words = ["campaign", "plan", str(ruled / "plan.yaml"), str(small_bank.bundle), str(small_bank.lake)]
    with pytest.raises(SystemExit):
        main([*words, str(ruled / "out")])
    assert "(--rules " in capsys.readouterr().err


def test_the_frontier_stays_within_the_rules(small_bank: SmallBank, ruled: Path) -> None:
    nobody = ruled / "nobody.yaml"
    rule = {"name": "closed", "customer": {"housing": {"any_of": ["nobody"]}}}
    nobody.write_text(yaml.safe_dump({"contacts": [rule]}))
    out, words = ruled / "frontier", (str(ruled / "plan.yaml"), str(small_bank.bundle), str(small_bank.lake))
    called("campaign", "frontier", *words, "--out", str(out), "--rules", str(nobody))
    told = json.loads((out / "frontier.json").read_text())
    assert all(point["contacts"] == 0 for point in told["points"])
