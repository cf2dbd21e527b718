"""`recsys campaign measure`: planted effects are found, bad logs are refused in words, public figures come out."""

import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.__main__ import main
from recsys.campaigns.ledger import CostLedger
from recsys.errors import DataError
from recsys.lake.catalog import import_catalog
from recsys.lake.store import Attribute, Lake, LakeWriter
from recsys.shipped import shipped
from tests.conftest import SmallBank, called
from training.campaign_gather import Asked
from training.campaign_measure import measure, write_report

ATTRIBUTES = {
    "customers": (Attribute("need", "feature", "number"), Attribute("town", "group", "category")),
    "campaigns": (Attribute("objective", "feature", "category"),),
}
START = datetime(2024, 3, 1, 9)
SIZE = 1_200
ODD = ("all_treated", "unlogged", "nobody", "broken", "certain", "twice", "missing")
CAMPAIGNS = ("works", "targeted", "three", *ODD)


def quiet(done: int, total: int, what: str) -> None:
    pass


def planted() -> dict[str, pl.DataFrame]:
    """The same customers in ten campaigns; a contact adds 0.15 in town B, 0.05 in town A; need drives buying."""
    rng = np.random.default_rng(0)
    need, town = rng.normal(size=SIZE), rng.integers(0, 2, SIZE)
    frames = []
    for name in CAMPAIGNS:
        chosen = np.clip(1 / (1 + np.exp(-1.5 * need)), 0.08, 0.92)
        chance = chosen if name in ("targeted", "three") else np.full(SIZE, 0.5)
        treated = rng.random(SIZE) < chance
        base, gain = 0.12 + 0.35 * (need > 0), np.where(town == 1, 0.15, 0.05)
        bought = rng.random(SIZE) < base + gain * treated
        propensity: Any = np.where(treated, chance, 1 - chance)
        arm = np.where(treated, "treated", "control")
        if name == "three":
            arm = np.where(treated, np.where(rng.random(SIZE) < 0.5, "call", "letter"), "control")
            propensity = np.where(treated, chance / 2, 1 - chance)
        if name == "all_treated":
            treated[:], arm[:] = True, "treated"
        if name == "unlogged":
            propensity = [None] * SIZE
        if name == "nobody":
            bought[:] = False
        if name == "certain":
            propensity = np.where(np.arange(SIZE) < 100, 1.0, propensity)
            treated[:100], arm[:100] = True, "treated"
        if name == "missing":
            propensity = pl.Series(propensity).set(pl.Series(np.arange(SIZE) < 20), None).to_list()
        frame = pl.DataFrame(
            {
                "contact_id": [f"{name}-{i}" for i in range(SIZE)],
                "customer_id": [f"C{i:04d}" for i in range(SIZE)],
                "campaign_id": name,
                "at": [START + timedelta(hours=i % 9) for i in range(SIZE)],
                "channel": "email",
                "arm": arm,
                "contacted": treated,
                "propensity": propensity,
                "cost": np.where(treated, 10, 0),
                "opened": pl.Series(bought).set(pl.Series(~treated), None),
                "clicked": pl.Series(bought).set(pl.Series(~treated), None),
                "converted": bought,
                "revenue": pl.Series(np.full(SIZE, 400)).set(pl.Series(~bought), None),
            },
            schema_overrides={"propensity": pl.Float64, "cost": pl.Int64, "revenue": pl.Int64},
        )
        if name == "broken":
            frame = frame.filter(pl.col("contacted") | (pl.int_range(pl.len()) % 3 > 0))
        if name == "twice":
            again = frame.head(300).with_columns(pl.col("contact_id") + "x", pl.col("at") + timedelta(days=3))
            frame = pl.concat([frame, again])
        if name == "missing":
            refunded = pl.when(pl.int_range(pl.len()) < 100).then(-pl.col("revenue")).otherwise(pl.col("revenue"))
            frame = frame.with_columns(refunded.alias("revenue"), pl.lit(None, dtype=pl.Int64).alias("cost"))
        frames.append(frame)
    events = pl.DataFrame(
        {
            "customer_id": [f"C{i:04d}" for i in range(SIZE)],
            "product_id": "card",
            "kind": "viewed",
            "at": START - timedelta(days=5),
        }
    )
    return {
        "customers": pl.DataFrame(
            {
                "customer_id": [f"C{i:04d}" for i in range(SIZE)],
                "need": need,
                "town": np.where(town == 1, "B", "A"),
            }
        ),
        "products": pl.DataFrame({"product_id": ["card"]}),
        "interactions": events.sample(900, seed=0),
        "campaigns": pl.DataFrame(
            {
                "campaign_id": ["idle", *CAMPAIGNS],
                "product_id": "card",
                "starts": date(2024, 3, 1),
                "ends": [date(2024, 3, 4)] * len(CAMPAIGNS) + [date(2024, 12, 1)],
                "objective": "sale",
            }
        ),
        "contacts": pl.concat(frames),
    }


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    path = tmp_path_factory.mktemp("planted") / "lake"
    with LakeWriter(path, buckets=2, attributes=ATTRIBUTES) as writer:
        for name, frame in planted().items():
            writer.append(name, frame)
    return Lake.open(path)


LEDGER = CostLedger(fixed=1_000, reward=10, campaigns={})


@pytest.fixture(scope="module")
def content(lake: Lake) -> dict[str, Any]:
    return measure(lake, Asked(campaigns=("all",), planned_as=(("objective", "sale"),)), LEDGER, quiet)


@pytest.fixture(scope="module")
def told(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["campaign"]: one for one in content["campaigns"]}


def test_a_randomised_campaign_that_worked(told: dict[str, dict[str, Any]]) -> None:
    one = told["works"]
    arm = one["arms"][0]
    assert one["status"] == "randomised" and one["verdict"].startswith("It worked: +")
    assert arm["best"]["method"] == "Newcombe" and arm["best"]["low"] < 0.10 < arm["best"]["high"]
    assert arm["watched"]["high"] - arm["watched"]["low"] > arm["best"]["high"] - arm["best"]["low"]
    assert one["sample_ratio"]["p"] > 0.001
    by = {row["segment"]: row for row in one["segments"]}
    assert by["B"]["value"] > by["A"]["value"] and by["B"]["clear"] and by["B"]["low"] < 0.15 < by["B"]["high"]
    assert one["money"].startswith("It paid") and one["roi"]["cost"]["value"] > 1_000


def test_a_few_large_sales_are_bounded_beside_the_return_as_it_is(tmp_path: Path) -> None:
    tables = planted()
    contacts = tables["contacts"].filter(pl.col("campaign_id") == "works")
    whale = pl.col("converted") & (pl.col("converted").cum_sum() <= 3)
    tables["contacts"] = contacts.with_columns(revenue=pl.when(whale).then(400_000).otherwise(pl.col("revenue")))
    with LakeWriter(tmp_path / "lake", buckets=2, attributes=ATTRIBUTES) as writer:
        for name, frame in tables.items():
            writer.append(name, frame)
    lake = Lake.open(tmp_path / "lake")
    ledger = CostLedger(fixed=1_000, campaigns={})
    (one,) = measure(lake, Asked(campaigns=("works",), winsorise=0.9), ledger, quiet)["campaigns"]
    roi, less = one["roi"], one["roi"]["winsorised"]
    assert less["quantile"] == 0.9 and less["bounded"] == 3 and less["bound"] == 400
    assert roi["roi"]["high"] - roi["roi"]["low"] > 5 * (less["roi"]["high"] - less["roi"]["low"])
    assert "(3 customers with more count as the bound)" in one["money_winsorised"]
    (plain,) = measure(lake, Asked(campaigns=("works",)), ledger, quiet)["campaigns"]
    assert plain["roi"]["roi"] == roi["roi"] and "winsorised" not in plain["roi"] and not plain["money_winsorised"]


def test_a_targeted_campaign_is_weighed(told: dict[str, dict[str, Any]]) -> None:
    one = told["targeted"]
    arm = one["arms"][0]
    assert one["status"] == "targeted" and arm["best"]["method"].startswith("AIPW")
    assert arm["best"]["low"] < 0.10 < arm["best"]["high"] < arm["plain"]["high"]
    assert arm["plain"]["low"] > 0.10, "the plain difference misses it"
    assert all(e < n for e, n in zip(one["overlap"]["effective"], one["overlap"]["counts"], strict=True))
    assert one["roi"] is not None and one["segments"]


def test_each_of_several_arms_is_weighed_against_the_control(told: dict[str, dict[str, Any]]) -> None:
    one = told["three"]
    assert [arm["arm"] for arm in one["arms"]] == ["call", "letter"] and one["status"] == "targeted"
    for arm in one["arms"]:
        assert arm["best"]["low"] < 0.10 < arm["best"]["high"] and arm["adjusted_p"] >= arm["p"]
        assert arm["called"] == (1 if arm["best"]["low"] > 0 and arm["adjusted_p"] <= 0.05 else 0)
    margin = one["roi"]["margin"]
    assert margin["low"] < 0.10 * 400 * sum(one["arms"][i]["customers"][0] for i in (0, 1)) < margin["high"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("all_treated", "there is no control: everybody was contacted"),
        ("unlogged", "no propensity is logged"),
        ("broken", "something kept customers out of an arm"),
    ],
)
def test_what_cannot_be_told_is_said(told: dict[str, dict[str, Any]], name: str, why: str) -> None:
    one = told[name]
    assert one["verdict"].startswith("It cannot be told whether it worked: ") and why in one["verdict"]
    assert one["arms"] == [] and one["roi"] is None and one["called"] == 0
    assert any("propensity" in text for text in one["next_time"])
    assert one["kpis"], "the key figures need no control"


def test_nobody_converted(told: dict[str, dict[str, Any]]) -> None:
    one = told["nobody"]
    assert one["verdict"].startswith(
        "It cannot be told whether it worked: the outcome was the same for everybody: +0.00 [-"
    )
    assert one["arms"][0]["p"] is None and one["roi_refused"].startswith("nobody converted")
    price = next(row for row in one["kpis"] if row["kpi"] == "cost_per_conversion")
    assert price["value"] is None and price["low"] > 0


def test_customers_without_a_choice_are_left_out_and_said(told: dict[str, dict[str, Any]]) -> None:
    one = told["certain"]
    assert "100 customers had no choice of arm (propensity 1) and are left out" in one["warnings"]
    assert sum(one["arms"][0]["customers"]) == SIZE - 100


def test_contacted_twice_counts_once(told: dict[str, dict[str, Any]]) -> None:
    one = told["twice"]
    assert one["customers"] == SIZE and sum(row["assigned"] for row in one["sizes"]) == SIZE
    assert any("contacted more than once" in text for text in one["warnings"])


def test_missing_costs_and_propensities_are_said(told: dict[str, dict[str, Any]]) -> None:
    one = told["missing"]
    assert one["roi"] is None and "cost of" in one["roi_refused"] and "give --costs" in one["money"]
    assert "20 customers without a logged propensity are left out" in one["warnings"]
    assert any("below zero (refunds)" in text for text in one["warnings"])
    assert one["watching"] and any("ends on 2024-12-01" in text for text in one["warnings"])


def test_every_figure_and_the_page(content: dict[str, Any], lake: Lake, tmp_path: Path) -> None:
    assert {"campaign", "hour", "town"} <= set(content["by"])
    for row in content["kpis"]:
        assert row["numerator"]["text"] and row["denominator"]["text"] and row["population"] and row["method"]
    data, page = write_report(content, tmp_path)
    assert json.loads(data.read_text())["overview"].startswith("Of 10 campaigns")
    text = page.read_text()
    assert text.index("It worked") < text.index("<svg") < text.index("Numerator"), "the verdict comes first"
    assert "http" not in text.replace("http://www.w3.org", "") and "src=" not in text


def test_an_outcome_before_the_contact_and_segments_of_files(lake: Lake, tmp_path: Path) -> None:
    ids = [f"C{i:04d}" for i in range(SIZE)]
    segments = pl.DataFrame({"customer_id": ids, "segment": ["keen" if i % 3 else "calm" for i in range(SIZE)]})
    segments.write_parquet(tmp_path / "bucket=0000.parquet")
    asked = Asked(campaigns=("works",), outcome="interactions.viewed", days=1, segments=tmp_path)
    found = measure(lake, asked, None, quiet)
    one = found["campaigns"][0]
    assert "+0.00" in one["verdict"] and one["called"] == 0, "views were five days before"
    assert "segment" in found["by"] and {group["value"] for group in found["by"]["segment"]} == {"keen", "calm"}
    wider = measure(lake, Asked(campaigns=("works",), outcome="interactions.viewed", days=10), None, quiet)
    warnings = wider["campaigns"][0]["warnings"]
    assert any("900 customers had the outcome in the 10 days before the contact" in text for text in warnings)
    assert any("window of 1,200 customers is not over" in text for text in warnings)
    assert "the outcome of one of the arms is not known" in wider["campaigns"][0]["verdict"]


def test_a_forecast_without_skill_is_refused(content: dict[str, Any]) -> None:
    assert content["forecast"]["value"] is None and "10 are needed" in content["forecast"]["sentence"]


def test_a_campaign_without_contacts_is_no_report(lake: Lake) -> None:
    with pytest.raises(DataError, match="no row of the campaign idle"):
        measure(lake, Asked(campaigns=("works", "idle")), None, quiet)


def test_stated_chances_and_a_covariate(lake: Lake) -> None:
    shares = (("treated", 0.5), ("control", 0.5))
    asked = Asked(campaigns=("unlogged",), shares=shares, covariate="need")
    one = measure(lake, asked, None, quiet)["campaigns"][0]
    arm = one["arms"][0]
    assert one["status"] == "randomised" and arm["best"]["method"] == "CUPED, Welch"
    assert 0.9 < arm["cuped"]["variance_factor"] < 1
    assert arm["best"]["low"] < 0.10 < arm["best"]["high"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--campaign", "work"], "did you mean 'works'?"),
        ([], "--campaign: name a campaign, or all"),
        (["--campaign", "works", "--outcome", "contacts.convert"], "did you mean 'converted'?"),
        (["--campaign", "works", "--covariate", "neet"], "did you mean 'need'?"),
        (["--campaign", "works", "--by", "twon"], "did you mean 'town'?"),
        (["--campaign", "works", "--share", "treated=0.5"], "--share: the arms are control, treated"),
        (["--campaign", "works", "--share", "treated=half"], "write ARM=CHANCE"),
        (["--campaign", "works", "--randomised", "town=A"], "--campaign: with --randomised"),
        (["--campaign", "works", "--forecast", "objectiv=sale"], "did you mean 'objective'?"),
        (["--campaign", "works", "--forecast", "objective"], "write ATTRIBUTE=VALUE"),
    ],
)
def test_what_is_asked_wrongly(
    lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], why: str
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["campaign", "measure", str(lake.path), "--out", str(tmp_path), *words])
    assert left.value.code == 2 and why in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_hillstrom(datasets: Path, tmp_path: Path) -> None:
    import_catalog(shipped("catalog", "hillstrom"), tmp_path / "lake", datasets / "hillstrom")
    thirds = [f"--share={arm}=1/3" for arm in ("No E-Mail", "Mens E-Mail", "Womens E-Mail")]
    printed = called(
        "campaign", "measure", str(tmp_path / "lake"), "--randomised", "email=No E-Mail", "--outcome", "visited",
        "--value", "spent", "--covariate", "past_spend", *thirds, "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert "The arm Mens E-Mail worked: +7.64 [6.98, 8.30]" in printed[0]
    one = json.loads((tmp_path / "out" / "campaigns.json").read_text())["campaigns"][0]
    arms = {arm["arm"]: arm for arm in one["arms"]}
    for name, value, low, high in (("Mens E-Mail", 0.0766, 0.0700, 0.0832), ("Womens E-Mail", 0.0452, 0.0389, 0.0516)):
        plain = arms[name]["plain"]
        assert [plain["value"], plain["low"], plain["high"]] == pytest.approx([value, low, high], abs=5e-5)
    assert one["sample_ratio"]["p"] > 0.5 and len(one["segments"]) == 14


def test_the_synthetic_bank_through_the_command(small_bank: SmallBank, tmp_path: Path) -> None:
    costs = tmp_path / "costs.yaml"
    costs.write_text("fixed: 1000\nreward: 100\n")
    words = ["--campaign", "K02A", "--campaign", "K02B", "--costs", str(costs), "--watching"]
    printed = called("campaign", "measure", str(small_bank.lake), "--out", str(tmp_path / "out"), *words)
    assert printed[0].startswith("Of 2 campaigns") and printed[-1].endswith("campaigns.html")
    content = json.loads((tmp_path / "out" / "campaigns.json").read_text())
    assert {"engagement", "lead_rate", "retention", "opt_outs", "pressure"} <= {row["kpi"] for row in content["kpis"]}
    assert {"region", "sex", "channel", "campaign"} <= set(content["by"])
