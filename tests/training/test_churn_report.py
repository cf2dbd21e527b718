"""The report of churn: the test part through the served graph, a page that needs nothing beside itself."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from recsys.bundle import Bundle, Churn
from recsys.churn.splits import part_of
from recsys.errors import BundleError, DataError
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.store import Lake
from tests.churn.customers import customers, leaving_config, write_lake
from tests.conftest import SmallBank, called
from training.churn_report import churn_report, write_churn_report
from training.fit import train

COSTS = {"false_alarm": 1, "missed": 4}


def silent(done: int, total: int, what: str) -> None:
    pass


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> SmallBank:
    folder = tmp_path_factory.mktemp("reported")
    lake = write_lake(folder / "lake", customers(1500, seed=4))
    return SmallBank(folder / "lake", train(leaving_config(costs=COSTS), lake, folder / "bundles", silent))


@pytest.fixture(scope="module")
def written(bank: SmallBank, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str, list[str]]:
    """The JSON, the page, and what the command printed."""
    out = tmp_path_factory.mktemp("page")
    said = called("churn", "report", str(bank.bundle), "--lake", str(bank.lake), "--out", str(out))
    return json.loads((out / "churn.json").read_text()), (out / "churn.html").read_text(), said


def test_the_figures_are_those_of_the_test_customers(
    bank: SmallBank, written: tuple[dict[str, Any], str, list[str]]
) -> None:
    content, _, said = written
    lake, churn = Lake.open(bank.lake), Churn(Bundle.load(bank.bundle))
    rows = lake.read("customers").sort("customer_id")
    config = leaving_config().churn
    assert config is not None
    test = rows.filter(pl.Series(part_of(rows["customer_id"], config) == "test"))
    found = churn.scored(features({"customers": test}, scoring_examples(test["customer_id"], None), churn.definition))
    y = test["left"].to_numpy().astype(int)
    assert (content["customers"], content["left"]) == (len(y), int(y.sum()))
    p = found["probability"].to_numpy().astype(np.float64)
    assert content["measures"]["auc"]["value"] == pytest.approx(roc_auc_score(y, p), abs=1e-12)
    acted = found["act"].to_numpy()
    assert content["threshold"]["recall"]["value"] == pytest.approx(acted[y == 1].mean())
    assert content["measures"]["brier_difference"]["high"] < 0
    alone = content["single_column"]
    assert alone["column"] == "age"
    assert alone["auc"]["value"] == pytest.approx(roc_auc_score(y, test["age"].to_numpy()), abs=1e-12)
    assert alone["difference"]["low"] > 0
    assert said[-1].endswith("churn.html") and any(line.strip().startswith("auc") for line in said)


def test_what_was_planted_is_what_the_model_goes_by(written: tuple[dict[str, Any], str, list[str]]) -> None:
    content, _, _ = written
    order = [entry["group"] for entry in content["importance"]]
    assert order[:2] == ["age", "active"] and order[-1] == "balance"
    curves = {one["column"]: [point["mean"] for point in one["points"]] for one in content["dependence"]}
    assert curves["age"] == sorted(curves["age"]) and curves["age"][-1] - curves["age"][0] > 0.3
    assert curves["active"][0] > curves["active"][1] + 0.1
    countries = next(one for one in content["dependence"] if one["column"] == "country")["points"]
    assert max(countries, key=lambda point: point["mean"])["value"] == "DE"


def test_groups_and_protected_attributes_are_reported_on(written: tuple[dict[str, Any], str, list[str]]) -> None:
    content, html, _ = written
    assert {(group["column"], group["role"]) for group in content["groups"]} == {
        ("sex", "protected"),
        ("market", "group"),
    }
    assert "known only afterwards" in html.lower() and "complained" in html


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.pictures = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.pictures += tag == "svg"
        assert not {"src", "srcset"} & {name for name, _ in attrs}
        if tag not in ("meta", "br", "path", "use", "rect", "u", "i"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()


def test_the_page_needs_nothing_beside_itself_and_names_no_customer(
    written: tuple[dict[str, Any], str, list[str]],
) -> None:
    content, html, _ = written
    tags = _Tags()
    tags.feed(html)
    assert tags.pictures == 8
    assert "http" not in re.sub(r'xmlns\S*"', "", html) and "<script" not in html
    assert not re.search(r"\bC\d{5}\b", html + json.dumps(content))
    assert {"auc", "pr_auc", "brier", "log_loss", "ece"} <= set(content["candidates"]["blend"])


def test_a_bundle_without_churn_is_refused(segmented_bank: SmallBank, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not say who will leave"):
        write_churn_report(Bundle.load(segmented_bank.bundle), Lake.open(segmented_bank.lake), tmp_path, silent)


def test_a_test_part_in_which_nobody_left_is_refused(bank: SmallBank, tmp_path: Path) -> None:
    bundle, config = Bundle.load(bank.bundle), leaving_config().churn
    rows = Lake.open(bank.lake).read("customers")
    assert config is not None
    test = pl.Series(part_of(rows["customer_id"], config) == "test")
    stays = write_lake(tmp_path / "lake", rows.with_columns(left=pl.col("left") & ~test))
    with pytest.raises(DataError, match="the test part has 300 customers, and none of them left"):
        churn_report(bundle, Churn(bundle), stays, silent)
