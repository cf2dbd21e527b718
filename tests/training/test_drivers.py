"""The driver report: planted drivers are found in their tier, warnings where tiers disagree, a page and JSON."""

import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.bundle import Bundle
from recsys.bundle.segmentation import segmentation_of
from recsys.drivers.outcome import Outcome
from recsys.errors import ConfigError, DataError
from recsys.features.definition import FeatureConfig
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.catalog import import_catalog
from recsys.lake.parts import MEMORY
from recsys.lake.store import Attribute, Lake, LakeWriter
from recsys.shipped import shipped
from tests.conftest import SmallBank, called
from training import driver_models, driver_report
from training.driver_data import gather
from training.driver_report import Asked, explain, write_report
from training.driver_trials import Draw, shown_by_draw

ATTRIBUTES = (
    Attribute("need", "feature", "number"),
    Attribute("shadow", "feature", "number"),
    Attribute("noise", "feature", "number"),
    Attribute("town", "feature", "category"),
    Attribute("letter", "group", "category"),
    Attribute("branch", "group", "category"),
    Attribute("sex", "protected", "category"),
    Attribute("bought", "label", "flag"),
)
ROWS = 3_000


def planted(rows: int = ROWS) -> pl.DataFrame:
    """Need drives buying; its shadow only goes with need; a letter drawn by chance adds 0.15; noise does nothing."""
    rng = np.random.default_rng(0)
    need = rng.normal(size=rows)
    shadow = need + rng.normal(size=rows)
    letter = rng.integers(0, 2, rows)
    chance = 0.25 + 0.15 * (need > 0) + 0.1 * (need > 1) + 0.15 * letter
    return pl.DataFrame(
        {
            "customer_id": [f"C{i:05d}" for i in range(rows)],
            "need": need,
            "shadow": shadow,
            "noise": rng.normal(size=rows),
            "town": [["north", "south"][i] for i in rng.integers(0, 2, rows)],
            "letter": [["none", "sent"][i] for i in letter],
            "branch": [f"B{i}" for i in rng.integers(0, 4, rows)],
            "sex": [["f", "m"][i] for i in rng.integers(0, 2, rows)],
            "bought": rng.random(rows) < chance,
        }
    )


def write_lake(path: Path, rows: pl.DataFrame) -> Lake:
    with LakeWriter(path, buckets=2, attributes={"customers": ATTRIBUTES}) as writer:
        writer.append("customers", rows)
    return Lake.open(path)


@pytest.fixture(scope="module")
def quick() -> Any:
    patch = pytest.MonkeyPatch()
    patch.setattr(driver_models, "SPLITS", 5)
    patch.setattr(driver_models, "GLASS_ROUNDS", 60)
    patch.setattr(driver_models, "BLACK_ROUNDS", 60)
    patch.setattr(driver_report, "ADJUSTED", 5)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def content(quick: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    lake = write_lake(tmp_path_factory.mktemp("planted") / "lake", planted())
    return explain(lake, Asked("bought", randomised="letter=none"), lambda done, total, what: None)


def test_planted_drivers_are_in_their_tiers(content: dict[str, Any]) -> None:
    rows = {row["column"]: row for row in content["drivers"]}
    letter, need, shadow = (rows[name] for name in ("contact.letter", "need", "shadow"))
    assert letter["tier"] == "randomised" and letter["low"] < 0.15 < letter["high"] and letter["direction"] == "raises"
    assert need["tier"] == "adjusted" and need["direction"] == "raises" and need["low"] > 0.05
    assert rows["noise"]["direction"] == "unclear"
    seen, alike = shadow["predictive"]["observed"], shadow["adjusted"]
    assert seen["low"] > 0.03 and abs(alike["value"]) < seen["value"] / 2, "what goes with need is no driver"
    assert content["importances"][0]["column"] in ("need", "contact.letter")
    assert "Where chance decided" in letter["in_words"] and "+" in letter["in_words"]


def test_models_are_judged_on_customers_they_never_saw(content: dict[str, Any]) -> None:
    black, glass, cost = (content["validation"][name] for name in ("black_box", "glass_box", "cost"))
    assert 0.6 < black[0] < 0.7 and 0.6 < glass[0] < 0.72 and cost[1] < cost[0] < cost[2]
    curve = next(one for one in content["curves"] if one["column"] == "need")
    assert curve["points"][0]["log_odds"] < -0.1 < 0.1 < curve["points"][-1]["log_odds"]
    assert all(point["rows"] >= 10 for one in content["curves"] for point in one["points"])


def test_rates_by_group_and_protected(content: dict[str, Any]) -> None:
    by = {tuple(told["by"]): told for told in content["rates"]}
    assert {("group.branch",), ("protected.sex",), ("town",)} <= set(by), (
        "protected attributes are reported, never used"
    )
    assert "sex" not in {row["column"] for row in content["drivers"]}
    assert all(row["rate"][1] < row["shrunk"][0] < row["rate"][2] for row in by[("group.branch",)]["rows"])


def test_page_and_json(content: dict[str, Any], tmp_path: Path) -> None:
    data, page = write_report(content, tmp_path)
    assert json.loads(data.read_text())["drivers"][0]["tier"] == "randomised"
    text = page.read_text()
    assert "<svg" in text and "src=" not in text and "http" not in text.replace("http://www.w3.org", "")
    for said in ("Where chance decided", "What to try", "Glass box", "hold-out"):
        assert said in text


def test_same_seed_same_answer(content: dict[str, Any], quick: None, tmp_path: Path) -> None:
    lake = write_lake(tmp_path / "lake", planted(600))
    first, again = (explain(lake, Asked("bought", seed=3), lambda *_: None) for _ in range(2))
    assert json.dumps(first) == json.dumps(again)


def test_a_column_that_tells_it_alone_is_refused(tmp_path: Path) -> None:
    rows = planted(600).with_columns(shadow=pl.col("bought").cast(pl.Float64) + pl.col("noise") / 100)
    lake = write_lake(tmp_path / "lake", rows)
    with pytest.raises(DataError, match=r"customers.shadow \(AUC 1.000\).*--exclude NAME"):
        explain(lake, Asked("bought"), lambda *_: None)
    gather(lake, Outcome("column", "bought"), None, FeatureConfig(exclude=("shadow",)), MEMORY, lambda *_: None)


def test_one_kind_of_outcome_is_refused(tmp_path: Path) -> None:
    lake = write_lake(tmp_path / "lake", planted(600).with_columns(bought=pl.lit(True)))
    with pytest.raises(DataError, match="600 yes and 0 no; at least 20 of each"):
        explain(lake, Asked("bought"), lambda *_: None)


def test_a_wrong_draw_is_refused(tmp_path: Path) -> None:
    lake = write_lake(tmp_path / "lake", planted(600))
    with pytest.raises(ConfigError, match="there is letter, branch"):
        explain(lake, Asked("bought", randomised="need=0"), lambda *_: None)
    with pytest.raises(ConfigError, match="letter is never 'no'; it is none, sent"):
        explain(lake, Asked("bought", randomised="letter=no"), lambda *_: None)


def test_a_lever_must_be_an_attribute(tmp_path: Path) -> None:
    lake = write_lake(tmp_path / "lake", planted(300))
    with pytest.raises(ConfigError, match="--lever price: customers has no such attribute"):
        explain(lake, Asked("bought", levers=("price",)), lambda *_: None)


def test_only_contacts_belong_to_campaigns(small_bank: SmallBank) -> None:
    asked = Asked("interactions.login", campaigns="objective=sale")
    with pytest.raises(ConfigError, match="--campaigns: login within 30 days of 2024-12-02 is no outcome of contacts"):
        explain(Lake.open(small_bank.lake), asked, lambda *_: None)


def test_features_see_only_what_was_before_the_contact(small_bank: SmallBank, tmp_path: Path) -> None:
    lake = Lake.open(small_bank.lake)
    day = date(2023, 9, 1)
    units = gather(lake, Outcome("contact", "converted"), None, FeatureConfig(), MEMORY, lambda *_: None).rows
    events = lake.read("interactions")
    later = events.filter(pl.col("at") >= datetime(2023, 9, 1)).with_columns(
        pl.col("at") + timedelta(days=1), pl.format("{}x", "event_id").alias("event_id")
    )
    tables = {name: lake.read(name) for name in lake.tables if name != "interactions"}
    attributes = {name: lake.attributes(name) for name in ("customers", "products", "campaigns")}
    with LakeWriter(tmp_path / "lake", buckets=lake.buckets, until=date(2025, 1, 5), attributes=attributes) as writer:
        for name, rows in (tables | {"interactions": pl.concat([events, later])}).items():
            writer.append(name, rows)
    changed = gather(
        Lake.open(tmp_path / "lake"), Outcome("contact", "converted"), None, FeatureConfig(), MEMORY, lambda *_: None
    )
    before = pl.col("as_of") <= day
    by = ["customer_id", "contact_id"]
    assert units.filter(before).sort(by).equals(changed.rows.filter(before).sort(by))
    assert not units.filter(~before).sort(by).equals(changed.rows.filter(~before).sort(by)), "later contacts see them"


def test_command_on_a_bank(small_bank: SmallBank, quick: None, tmp_path: Path) -> None:
    asked = ["drivers", str(small_bank.lake), "--outcome", "contacts.opened", "--out", str(tmp_path), "--rows", "1000"]
    lines = called(*asked)
    assert lines[-1] == str(tmp_path / "drivers.html") and "with the outcome; AUC" in lines[0]
    content = json.loads((tmp_path / "drivers.json").read_text())
    by = {tuple(told["by"]): told for told in content["rates"]}
    assert {("channel",), ("hour",), ("weekday",), ("channel", "hour")} <= set(by)
    sms = next(row for row in by[("channel",)]["rows"] if row["value"] == ["sms"])
    assert sms["rate"][1] < 0.8 < sms["rate"][2] + 0.05 and content["drivers"][0]["column"] == "contact.channel"
    assert not any(word in json.dumps(content) for word in ("C00000", "customer_id"))


def test_hillstroms_emails(datasets: Path, tmp_path: Path) -> None:
    lake = import_catalog(shipped("catalog", "hillstrom"), tmp_path / "lake", datasets / "hillstrom")
    units = gather(lake, Outcome("column", "visited"), None, FeatureConfig(), MEMORY, lambda *_: None, None, "email")
    shown = {one.contrast.level: one for one in shown_by_draw(units, Draw("email", "No E-Mail"), units.columns)}
    rates = {"Mens E-Mail": 0.18276 - 0.10617, "Womens E-Mail": 0.15140 - 0.10617}
    for arm, plain in rates.items():
        assert shown[arm].observed.value == pytest.approx(plain, abs=1e-4)
        assert shown[arm].effect.value == pytest.approx(plain, abs=1e-3) and shown[arm].effect.sign == 1
        width, before = (one.high - one.low for one in (shown[arm].effect, shown[arm].observed))
        assert width < before, "what was known before makes the interval narrower"


def test_a_contact_has_the_segment_of_its_day(segmented_bank: SmallBank) -> None:
    lake, segmentation = Lake.open(segmented_bank.lake), segmentation_of(Bundle.load(segmented_bank.bundle))
    rows = gather(
        lake, Outcome("contact", "clicked"), None, FeatureConfig(), MEMORY, lambda *_: None, segmentation
    ).rows
    some = rows.filter(pl.col("as_of") == rows["as_of"].mode()[0]).head(5)
    bucket = next(b for b in range(2) if some["customer_id"][0] in lake.bucket(b)["customers"]["customer_id"])
    examples = scoring_examples(some["customer_id"].head(1), some["as_of"][0])
    placed = segmentation.assigned(features(lake.bucket(bucket), examples, segmentation.definition))
    assert some["segment"][0] == f"{placed['segment_id'][0]} {placed['segment'][0]}"
    assert rows["segment"].n_unique() > 1
