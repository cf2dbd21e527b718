"""The report of segments on a synthetic bank: true to the lake, whole in itself, well-formed, and silent about few."""

import json
import re
from collections import namedtuple
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.bundle import Bundle, Recommender
from recsys.bundle.segmentation import Segmentation
from recsys.lake.contract import Attribute
from recsys.lake.store import Lake, LakeWriter
from tests.conftest import SmallBank, called
from training.segment_gather import gather, known_before
from training.segment_report import distinct, report, write_report

Entry = namedtuple("Entry", "id name share")
Embedded = namedtuple("Embedded", "vectors errors")
VOID = {"meta", "br", "img", "hr", "input", "link"}


class ByLogins:
    """Stands in for a bundle's segments: the embedding is two numbers of a row, the segment a rule on one of them."""

    def __init__(self, bundle: Bundle) -> None:
        self.definition, self.encoder = bundle.definition, bundle.encoder
        self.segments = (Entry("S1", "Seldom here", 0.5), Entry("S2", "Often here", 0.3), Entry("S3", "Empty", 0.2))

    def embed(self, rows: pl.DataFrame) -> Embedded:
        logins = np.log1p(rows["interactions.login.count.365d"].to_numpy())
        spent = np.log1p(rows["transactions.out.365d"].to_numpy())
        return Embedded(np.stack([logins, spent / 10], axis=1).astype(np.float32), None)

    def places(self, embedded: Embedded) -> np.ndarray:
        return embedded.vectors

    def assign(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        index = (places[:, 0] > np.log1p(6)).astype(np.int64)
        return index, np.abs(places[:, :1] - np.log1p(6))


@pytest.fixture(scope="module")
def made(small_bank: SmallBank, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    bundle, lake = Bundle.load(small_bank.bundle), Lake.open(small_bank.lake)
    assigner = ByLogins(bundle)
    found = gather(assigner, Recommender(bundle), lake, lake.as_of, 90, lambda *_: None)
    curve = [{"algorithm": "k_means", "k": k, "silhouette": 0.1 + 0.01 * k} for k in (2, 3, 4)]
    out = tmp_path_factory.mktemp("segments") / "new" / "report"
    write_report(report(assigner, lake, found, curve, bundle.bundle_id), found, out)
    return json.loads((out / "segments.json").read_text()), out / "segments.html"


class Checked(HTMLParser):
    """Every element closed in turn, ids used once, links inside the page leading somewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.faults: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        if len(named) != len(attributes):
            self.faults.append(f"<{tag}> has an attribute twice")
        if "id" in named:
            self.ids.append(str(named["id"]))
        href = named.get("href")
        if href is not None:
            (self.links if href.startswith("#") else self.loads).append(href)
        self.loads += [str(named[name]) for name in ("src", "srcset", "data", "action") if name in named]
        if tag in ("script", "link", "iframe", "object", "embed"):
            self.faults.append(f"<{tag}> in the page")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def checked(made: tuple[dict[str, Any], Path]) -> Checked:
    parser = Checked()
    parser.feed(made[1].read_text(encoding="utf-8"))
    parser.close()
    return parser


def test_the_page_is_well_formed(checked: Checked) -> None:
    assert checked.faults == []
    assert checked.open == []
    assert len(checked.ids) == len(set(checked.ids))
    assert {link[1:] for link in checked.links} <= set(checked.ids)


def test_the_page_needs_nothing_beside_itself(made: tuple[dict[str, Any], Path], checked: Checked) -> None:
    text = made[1].read_text(encoding="utf-8")
    assert checked.loads == []
    assert not re.search(r"https?:|//[a-z]|@import|<script", text)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))


def test_the_page_says_what_the_json_says(made: tuple[dict[str, Any], Path], checked: Checked) -> None:
    content, _ = made
    for card in content["segments"]:
        assert card["name"] in checked.text
        for suggestion in card.get("suggestions", ()):
            assert suggestion["text"] in checked.text
            assert all(fact in checked.text for fact in suggestion["facts"])
    for line in content["left_out"]:
        assert line in checked.text


def test_every_plot_is_drawn(made: tuple[dict[str, Any], Path]) -> None:
    text = made[1].read_text(encoding="utf-8")
    assert text.count("<figure>") == text.count("<svg") == 7
    assert "#123456" not in text and "currentColor" in text


def test_customers_are_all_of_the_lake(made: tuple[dict[str, Any], Path], small_bank: SmallBank) -> None:
    content, _ = made
    lake = Lake.open(small_bank.lake)
    assert content["customers"] == lake.tables["customers"].rows
    assert sum(card["size"] for card in content["segments"] if card["size"]) == content["customers"]
    assert content["segments"][2]["hidden"].startswith("fewer than")


def test_no_customer_is_named(made: tuple[dict[str, Any], Path], small_bank: SmallBank) -> None:
    ids = set(Lake.open(small_bank.lake).read("customers")["customer_id"])
    both = made[1].read_text() + json.dumps(made[0])
    assert not ids & set(re.findall(r"\w+", both))


def test_protected_and_outcome_columns_are_apart(made: tuple[dict[str, Any], Path]) -> None:
    for card in made[0]["segments"][:2]:
        assert [entry["column"] for entry in card["protected"]] == ["sex"]
        assert [entry["column"] for entry in card["groups"]] == ["region"]
        assert not {fact["feature"] for fact in card["apart"]} & {"sex", "region"}


def test_recommended_products_are_real_ones(made: tuple[dict[str, Any], Path]) -> None:
    content, _ = made
    for card in content["segments"][:2]:
        assert card["preferred"]
        assert {p["product"] for p in card["preferred"]} <= set(content["products"])


def test_moves_are_between_the_two_days(made: tuple[dict[str, Any], Path]) -> None:
    content, _ = made
    assert (content["as_of"], content["before"]) == ("2025-01-01", "2024-10-03")
    assert content["transitions"]["customers"] + (content["transitions"]["new"] or 0) <= content["customers"]


def test_names_with_marks_of_html_are_text(made: tuple[dict[str, Any], Path]) -> None:
    from training.segment_page import page

    content = json.loads(json.dumps(made[0]))
    content["segments"][0]["name"] = "<b>& low</b>"
    parser = Checked()
    parser.feed(page(content, {}))
    parser.close()
    assert parser.faults == [] and "<b>& low</b>" in parser.text


def test_known_before_looks_at_every_dated_table(small_bank: SmallBank) -> None:
    lake = Lake.open(small_bank.lake)
    tables = lake.bucket(0)
    assert set(known_before(tables, lake.as_of)) == set(tables["customers"]["customer_id"])
    few = known_before(tables, tables["accounts"]["opened"].min())
    assert len(few) < tables["customers"].height / 10


def test_features_of_a_radar_speak_of_different_things() -> None:
    named = ["housing payments, last 90 days", "housing spending, last 90 days", "logins, last 30 days", "balance"]
    assert distinct(named, 3) == [0, 2, 3]
    assert distinct(named, 4) == [0, 1, 2, 3]


NUMBERS = ("BALANCE", "PURCHASES", "CASH_ADVANCE", "PURCHASES_FREQUENCY", "CREDIT_LIMIT", "PAYMENTS")


@pytest.fixture(scope="module")
def cards_of_a_cross_section(datasets: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A lake of 1,500 card holders with six numbers, a label among them, and a bundle trained on it for a moment."""
    folder = tmp_path_factory.mktemp("cross-section")
    read = pl.read_csv(datasets / "cc_general" / "CC GENERAL.csv", infer_schema_length=None)
    rows = read.filter(pl.col("BALANCE").is_not_null()).head(1500).rename({"CUST_ID": "customer_id"})
    rows = rows.select("customer_id", *NUMBERS, pl.col("CREDIT_LIMIT").gt(6000).fill_null(False).alias("churned"))
    attributes = [Attribute(name, "feature", "number") for name in NUMBERS] + [Attribute("churned", "label", "flag")]
    with LakeWriter(folder / "lake", buckets=2, source="cards", attributes={"customers": attributes}) as writer:
        writer.append("customers", rows.with_columns(pl.col(name).cast(pl.Float64) for name in NUMBERS))
    (folder / "config.yaml").write_text(
        "name: cards\nthreads: 1\nrecommender: false\n"
        "embedding: {autoencoder: {dim: 4, hidden: 16, epochs: 2}}\n"
        "segments: {algorithms: [k_means], fewest: 3, most: 4, bootstraps: 2, least_stability: 0.0}\n"
    )
    words = ("train", str(folder / "config.yaml"), "--lake", str(folder / "lake"), "--out", str(folder / "bundles"))
    return folder / "lake", Path(called(*words)[-1])


def told(bundle: Path, lake: Path, out: Path) -> dict[str, Any]:
    """What `recsys segments report` wrote beside a page that is well formed."""
    *_, data, page = called("segments", "report", str(bundle), "--lake", str(lake), "--out", str(out))
    assert (Path(data), Path(page)) == (out / "segments.json", out / "segments.html")
    parser = Checked()
    parser.feed(Path(page).read_text(encoding="utf-8"))
    assert parser.faults == [] and parser.loads == []
    content: dict[str, Any] = json.loads(Path(data).read_text())
    return content


def test_the_command_reports_a_cross_section(cards_of_a_cross_section: tuple[Path, Path], tmp_path: Path) -> None:
    lake, bundle = cards_of_a_cross_section
    content = told(bundle, lake, tmp_path / "out")
    segments = Segmentation.of(Bundle.load(bundle))
    assert segments is not None and content["customers"] == 1500
    assert [card["name"] for card in content["segments"]] == list(segments.names)
    assert len(content["quality"]["curve"]) == 2
    assert content["transitions"] is None
    assert "everything about time: the lake has no dated events" in content["left_out"]
    for card in content["segments"]:
        assert card["observed"][0]["column"] == "churned"
        assert not {fact["feature"] for fact in (*card["apart"], *card["named_by"])} & {"churned"}


def test_the_command_reports_a_bank_as_it_was_trained(whole_bank: SmallBank, tmp_path: Path) -> None:
    content = told(whole_bank.bundle, whole_bank.lake, tmp_path / "out")
    segments = Segmentation.of(Bundle.load(whole_bank.bundle))
    assert segments is not None
    assert [card["id"] for card in content["segments"]] == list(segments.ids)
    assert sum(card["size"] or 0 for card in content["segments"]) <= content["customers"]
    shown = [card for card in content["segments"] if "hidden" not in card]
    assert all(card["preferred"] for card in shown)
    said = [card["name"] for card in shown] + [fact["text"] for card in shown for fact in card["holdings"]]
    assert "current_account" not in " ".join(said)  # products by their names, not by their ids
    assert content["transitions"]["customers"] > 250
