"""`recsys campaign plan` and `frontier`: consent, limits, reasons, propensities, resuming, and clear refusals."""

import json
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from recsys.__main__ import main
from recsys.campaigns.allocation import Part
from recsys.campaigns.offers import Offers
from recsys.campaigns.plan import CampaignPlan
from recsys.campaigns.prices import PublishedPrices
from recsys.churn.config import LeavingRule
from recsys.churn.standing import standing
from recsys.errors import DataError
from recsys.lake.store import Lake
from recsys.retention.consent import consented
from serving.run_record import only_writer
from tests.conftest import ROOT, SmallBank, called

EXAMPLE = ROOT / "docs" / "campaign_plan.yaml"
"""The plan that the documentation shows."""


@pytest.fixture(scope="module")
def planned(small_bank: SmallBank, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plan") / "out"
    assert called("campaign", "plan", str(EXAMPLE), str(small_bank.bundle), str(small_bank.lake), str(out))[-1] == str(
        out / "plan.html"
    )
    return out


@pytest.fixture(scope="module")
def rows(planned: Path) -> pl.DataFrame:
    return pl.read_parquet(planned / "bucket=*.parquet")


def plan() -> CampaignPlan:
    return CampaignPlan.model_validate(yaml.safe_load(EXAMPLE.read_text()))


def changed(folder: Path, **fields: object) -> Path:
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(EXAMPLE.read_text()), **fields}))
    return path


def test_every_customer_has_a_decision_a_reason_and_its_probability(small_bank: SmallBank, rows: pl.DataFrame) -> None:
    everyone = Lake.open(small_bank.lake).read("customers")["customer_id"].unique()
    assert set(rows["customer_id"]) == set(everyone)
    assert rows["reason"].null_count() == 0
    assert rows.filter(pl.col("action").is_not_null())["customer_id"].len() > 20
    assert rows["propensity"].is_between(0, 1).all()
    held = rows.filter(pl.col("arm") == "hold_out")
    assert held["action"].null_count() == held.height > 0
    assert (held["reason"] == "held out to measure the effect").any()
    assert rows["reason"].str.contains(r"^price of .* exceeds the expected gain").any()


def test_nobody_is_contacted_without_consent(small_bank: SmallBank, rows: pl.DataFrame) -> None:
    lake, contacts = Lake.open(small_bank.lake), rows.filter(pl.col("action").is_not_null())
    for channel in ("email", "phone"):
        through = contacts.filter(pl.col("channel") == channel)
        may = consented(lake.read("consents"), through["customer_id"], "marketing", [channel], lake.as_of)
        assert may.all()
    assert rows["reason"].str.starts_with("no consent").any()


def test_who_has_left_or_is_not_there_yet_is_never_contacted(
    small_bank: SmallBank, planned: Path, rows: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake.open(small_bank.lake)
    accounts = lake.read("account_holders").join(lake.read("accounts"), on="account_id")
    closed = accounts.group_by("customer_id").agg((pl.col("closed") < lake.as_of).fill_null(False).all())
    gone = rows.filter(pl.col("customer_id").is_in(closed.filter("closed")["customer_id"].implode()))
    assert gone.height > 30 and gone["action"].is_null().all()
    assert set(gone["reason"]) == {"has left: no customer any more"}
    assert json.loads((planned / "plan.json").read_text())["not_allowed"]["has_left"] == gone.height
    assert "has left" in (planned / "plan.html").read_text()

    day, early = date(2023, 6, 1), tmp_path / "early"
    monkeypatch.setattr("serving.campaign_values.leaving_rule", lambda bundle: LeavingRule(inactive_days=20))
    words = ("campaign", "plan", str(EXAMPLE), str(small_bank.bundle), str(small_bank.lake), str(early))
    called(*words, "--as-of", day.isoformat())
    then = pl.read_parquet(early / "bucket=*.parquet")
    tables = {name: lake.read(name) for name in ("customers", "accounts", "account_holders", "transactions")}
    told = standing({**tables, "interactions": lake.read("interactions")}, day, LeavingRule(inactive_days=20))
    reasons = {"left": "has left: no customer any more", "joins_later": "not a customer yet"}
    for said, reason in reasons.items():
        who = then.filter(pl.col("customer_id").is_in(told.filter(standing=said)["customer_id"].implode()))
        assert who.height >= 5 and who["action"].is_null().all() and set(who["reason"]) == {reason}


def test_limits_and_caps_hold_after_the_draw(planned: Path, rows: pl.DataFrame) -> None:
    contacts = rows.filter(pl.col("action").is_not_null())
    assert contacts["cost"].sum() <= 4000
    assert (contacts["channel"] == "phone").sum() <= 40
    assert (contacts["product_id"] == "credit_card").sum() <= 60
    assert contacts.group_by("customer_id").len()["len"].max() <= 2  # type: ignore[operator]
    assert contacts.select("customer_id", "channel").is_unique().all()
    assert contacts.select("customer_id", "product_id").is_unique().all()
    told = json.loads((planned / "plan.json").read_text())
    assert 0 <= told["gap"] < 0.01
    assert told["planned_gain"] <= told["bound"]
    assert told["expected_gain"] == pytest.approx(contacts["expected_gain"].sum(), rel=1e-6)
    assert told["contacts"] == contacts.height
    assert "marketing's guess" in (planned / "plan.html").read_text().replace("&#x27;", "'")


def test_published_prices_decide_as_the_plan_did(planned: Path, rows: pl.DataFrame) -> None:
    prices = PublishedPrices.read(planned / "prices.json")
    offers = Offers(plan())
    assert prices.action == tuple(offers.table["action"])
    assert prices.as_of is not None and prices.valid_until is not None and prices.in_force(prices.valid_until)
    values = np.random.default_rng(0).normal(20, 60, (len(prices.action), 50)).astype(np.float32)
    part = Part(values, np.full_like(values, 10))
    together = prices.choose(part)
    assert (together >= 0).any()
    for i in range(50):
        assert (prices.choose(part.take(np.array([i])))[:, 0] == together[:, i]).all()
    torn = planned.parent / "torn.json"
    torn.write_text("{}")
    with pytest.raises(DataError, match=r"torn\.json: not prices"):
        PublishedPrices.read(torn)


def test_a_killed_run_continues_to_the_same_plan(small_bank: SmallBank, planned: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = f"""
import os, signal
from pathlib import Path
import yaml
from recsys.campaigns.plan import CampaignPlan
from serving.campaign_job import open_job
from serving.campaign_plan import make_plan
def progress(done, total, what):
    if what == "buckets written" and done == 1: os.kill(os.getpid(), signal.SIGKILL)
plan = CampaignPlan.model_validate(yaml.safe_load(Path({str(EXAMPLE)!r}).read_text()))
make_plan(open_job(plan, {str(small_bank.bundle)!r}, {str(small_bank.lake)!r}, Path({str(out)!r}), None, None),
          4 << 30, 2, progress)
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert (out / ".values").exists() and not (out / "plan.json").exists()
    called("campaign", "plan", str(EXAMPLE), str(small_bank.bundle), str(small_bank.lake), str(out))
    for name in ("bucket=0000.parquet", "bucket=0001.parquet", "prices.json", "plan.json"):
        assert (out / name).read_bytes() == (planned / name).read_bytes()
    assert not (out / ".values").exists()


def test_explorers_are_drawn_within_the_limits(small_bank: SmallBank, tmp_path: Path) -> None:
    file = changed(tmp_path, exploration=0.1, budget=60000, caps={"contacts": 1}, levels=[{"level": "standard"}])
    called("campaign", "plan", str(file), str(small_bank.bundle), str(small_bank.lake), str(tmp_path / "out"))
    rows = pl.read_parquet(tmp_path / "out" / "bucket=*.parquet")
    exploring = rows.filter(pl.col("arm") == "explore")
    assert 5 < exploring.height < 60
    assert exploring["action"].null_count() == 0
    assert (exploring["propensity"] <= 1.0).all()
    assert (rows.filter(pl.col("action").is_not_null())["channel"] == "phone").sum() <= 40


def test_learned_effects_take_the_place_of_stated_lifts(
    small_bank: SmallBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Learned:
        """Only the card by email adds anything, and it adds the same with everyone."""

        def expected(self, rows: pl.DataFrame, actions: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            adds = ((actions["product_id"] == "credit_card") & (actions["channel"] == "email")).to_numpy()
            effect = np.tile(np.where(adds, 0.1, -0.05).astype(np.float32), (rows.height, 1))
            return np.full_like(effect, 0.2), effect, np.zeros_like(effect)

    monkeypatch.setattr("serving.campaign_values.uplift_of", lambda bundle, threads: Learned())
    channels = [{"channel": "email", "cost": 4}, {"channel": "phone", "cost": 400}]
    products = [{"product": "credit_card", "margin": 9000}, {"product": "easy_saver", "margin": 9000}]
    file = changed(tmp_path, effect="uplift", channels=channels, products=products, holdout=0)
    out = tmp_path / "out"
    called("campaign", "plan", str(file), str(small_bank.bundle), str(small_bank.lake), str(out))
    contacts = pl.read_parquet(out / "bucket=*.parquet").filter(pl.col("action").is_not_null())
    assert contacts.height > 20
    assert contacts["action"].unique().to_list() == ["credit_card/email/standard"]
    assert contacts["expected_gain"].max() == pytest.approx(0.1 * 9000 - 4, rel=1e-5)


def test_no_budget_is_said(small_bank: SmallBank, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    products = [{"product": "easy_saver", "margin": 3000}]
    file = changed(tmp_path, budget=0, products=products)
    called("campaign", "plan", str(file), str(small_bank.bundle), str(small_bank.lake), str(tmp_path / "out"))
    assert "The budget is 0" in (tmp_path / "out" / "plan.json").read_text()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"products": [{"product": "gold_bar", "margin": 1}]}, "gold_bar: not products of bundle"),
        ({"effect": "uplift"}, "does not say what a contact adds"),
        ({"channels": [{"channel": "email", "cost": 4}]}, "email: no lift"),
        ({"horizon_months": 7}, "horizon_months: 7, the bundle knows"),
        ({"products": [{"product": "cash_isa", "margin": 1, "minimum": 299}]}, "cannot all hold"),
        ({"segment_budgets": {"by": "shoe_size", "amounts": {"44": 1}}}, "shoe_size"),
        ({"caps": {"contact": 1}}, "did you mean"),
    ],
)
def test_what_cannot_be_planned_is_refused(
    small_bank: SmallBank, tmp_path: Path, capsys: pytest.CaptureFixture[str], fields: dict[str, object], said: str
) -> None:
    file = changed(tmp_path, **fields)
    with pytest.raises(SystemExit):
        main(["campaign", "plan", str(file), str(small_bank.bundle), str(small_bank.lake), str(tmp_path / "out")])
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists(), "so that the corrected plan can take the same place"


def test_a_corrected_plan_takes_the_place_of_one_that_was_refused_late(
    small_bank: SmallBank, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules, out = tmp_path / "rules.yaml", tmp_path / "out"
    out.mkdir()
    rules.write_text("products: [{name: small_feet, customer: {shoe_size: {none_of: [big]}}}]")
    impossible = {"products": [{"product": "cash_isa", "margin": 1, "minimum": 299}]}
    words = [str(small_bank.bundle), str(small_bank.lake)]
    for command, fields, options, said in (
        ("plan", {}, ["--rules", str(rules)], "small_feet"),
        ("plan", impossible, [], "cannot all hold"),
        ("frontier", impossible, [], "cannot all hold"),
    ):
        place = ["--out", str(out)] if command == "frontier" else [str(out)]
        with pytest.raises(SystemExit):
            main(["campaign", command, str(changed(tmp_path, **fields)), *words, *place, *options])
        assert said in capsys.readouterr().err
        assert not list(out.iterdir())
    called("campaign", "plan", str(EXAMPLE), *words, str(out))
    assert (out / "plan.json").exists()


def test_another_plan_in_the_same_place_is_refused(
    small_bank: SmallBank, planned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(changed(tmp_path, seed=2))
    with pytest.raises(SystemExit):
        main(["campaign", "plan", file, str(small_bank.bundle), str(small_bank.lake), str(planned)])
    assert "another plan" in capsys.readouterr().err


def test_two_at_once_in_one_place_are_refused(small_bank: SmallBank, tmp_path: Path) -> None:
    out = tmp_path / "plan"
    with only_writer(out), pytest.raises(DataError, match="another process is writing"):
        called("campaign", "plan", str(EXAMPLE), str(small_bank.bundle), str(small_bank.lake), str(out))
    assert not list(out.iterdir())


def test_the_frontier_rises_and_its_slope_falls(small_bank: SmallBank, tmp_path: Path) -> None:
    called(
        "campaign",
        "frontier",
        str(EXAMPLE),
        str(small_bank.bundle),
        str(small_bank.lake),
        "--out",
        str(tmp_path / "out"),
    )
    told = json.loads((tmp_path / "out" / "frontier.json").read_text())
    points = told["points"]
    assert len(points) + len(told["impossible"]) == 11
    assert all(point["spend"] <= point["budget"] + 1e-6 for point in points)
    bounds, slopes = [p["bound"] for p in points], [p["marginal_roi"] for p in points]
    assert (np.diff(bounds) >= -1e-6 * max(bounds)).all()
    assert (np.diff(slopes) <= 1e-3 * max(slopes)).all()
    levels = {level["level"]: level for level in told["levels"]}
    assert levels["personal"]["gain_with_all"] >= levels["personal"]["gain_without"] * 0.99
    assert "Where it stops paying" in (tmp_path / "out" / "frontier.html").read_text()


def test_budgets_of_segments_bind_their_customers_only(small_bank: SmallBank, tmp_path: Path) -> None:
    people = Lake.open(small_bank.lake).read("customers").select("customer_id", "housing").unique("customer_id")
    names = ["rented", "owned", "mortgaged"]
    budgets = {"by": "housing", "amounts": {names[0]: 50, names[1]: 0}}
    file, out = changed(tmp_path, segment_budgets=budgets), tmp_path / "out"
    called("campaign", "plan", str(file), str(small_bank.bundle), str(small_bank.lake), str(out))
    rows = pl.read_parquet(out / "bucket=*.parquet").filter(pl.col("action").is_not_null())
    spent = dict(rows.join(people, on="customer_id").group_by("housing").agg(pl.col("cost").sum()).iter_rows())
    assert 0 < spent[names[0]] <= 50
    assert names[1] not in spent
    assert spent[names[2]] > 50
    named = {row["name"] for row in json.loads((out / "plan.json").read_text())["limits"]}
    assert {f"budget of {names[0]}", f"budget of {names[1]}"} <= named
