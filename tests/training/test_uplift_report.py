"""The report of uplift: the test part through the served graph, what it says in words, and scores in files."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.bundle import Bundle, Uplift
from recsys.errors import BundleError, ConfigError, DataError
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.store import Lake
from serving.uplift import parse_actions, score_uplift
from tests.conftest import SmallBank, called
from tests.uplift.mailing import mailing, mailing_config
from training.fit import train
from training.uplift_page import harm_sentence, sentences


def silent(done: int, total: int, what: str) -> None:
    pass


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> SmallBank:
    folder = tmp_path_factory.mktemp("letters")
    lake = mailing(folder / "lake")
    return SmallBank(folder / "lake", train(mailing_config(learners=["t", "dr"]), lake, folder / "bundles", silent))


@pytest.fixture(scope="module")
def written(letters: SmallBank, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str, list[str]]:
    """The JSON, the page, and what the command printed."""
    out = tmp_path_factory.mktemp("page")
    said = called("uplift", "report", str(letters.bundle), "--lake", str(letters.lake), "--out", str(out))
    return json.loads((out / "uplift.json").read_text()), (out / "uplift.html").read_text(), said


def test_the_figures_are_those_of_the_latest_campaign(
    letters: SmallBank, written: tuple[dict[str, Any], str, list[str]]
) -> None:
    content, _, said = written
    rows = Lake.open(letters.lake).read("contacts").filter(pl.col("campaign_id") == "K2")
    assert content["units"]["contacted"] == rows["contacted"].sum()
    assert content["units"]["from"] == "2024-07-01"
    treated = rows["contacted"].to_numpy()
    plain = rows["converted"].to_numpy()[treated].mean() - rows["converted"].to_numpy()[~treated].mean()
    assert content["effect"][0] == pytest.approx(plain, abs=0.03)
    assert content["served"]["qini"][1] > 0 and content["verdict"] == "better"
    assert said[-1].endswith("uplift.html") and said[0] == content["formulas"]["qini"]
    assert set(content["learners"]) == {"t", "dr"}


def test_it_says_whom_letters_annoy_and_that_this_was_shown(written: tuple[dict[str, Any], str, list[str]]) -> None:
    content, page, said = written
    assert any("that was shown" in line for line in said)
    assert content["harmed"]["expected"]["shown"][2] < 0
    assert "Whom contact harms" in page and "Qini" in page
    assert not re.findall(r'(?:src|href)="(?!#)', page)


def test_where_nothing_can_be_told_it_says_so(written: tuple[dict[str, Any], str, list[str]]) -> None:
    content = dict(written[0])
    content["verdict"] = "cannot tell"
    assert any("cannot be told" in one for one in sentences(content))
    assert harm_sentence({"expected": None}) == "The model expects contact to harm nobody."


def test_scores_in_files_are_those_of_the_part(letters: SmallBank, tmp_path: Path) -> None:
    out = tmp_path / "scores"
    called("uplift", "score", str(letters.bundle), str(letters.lake), str(out))
    found = pl.concat([pl.read_parquet(path) for path in sorted(out.glob("bucket=*.parquet"))]).sort("customer_id")
    lake, uplift = Lake.open(letters.lake), Uplift(Bundle.load(letters.bundle))
    tables = {name: lake.read(name) for name in lake.tables}
    rows = features(tables, scoring_examples(found["customer_id"], lake.as_of), uplift.definition)
    baseline, effect, error = uplift.expected(rows, uplift.trained_actions)
    assert np.array_equal(found["effect"].to_numpy(), effect[:, 0])
    assert np.array_equal(found["baseline"].to_numpy(), baseline[:, 0]) and np.array_equal(
        found["se"].to_numpy(), error[:, 0]
    )
    assert found["level"].unique().to_list() == ["letter"]
    before = {path.name: path.read_bytes() for path in out.glob("*.parquet")}
    (out / "bucket=0001.parquet").unlink()
    (out / "manifest.json").unlink()
    called("uplift", "score", str(letters.bundle), str(letters.lake), str(out))
    assert {path.name: path.read_bytes() for path in out.glob("*.parquet")} == before


def test_actions_are_written_with_two_strokes(letters: SmallBank, tmp_path: Path) -> None:
    assert parse_actions(["/post/letter"]).row(0) == (None, "post", "letter")
    with pytest.raises(ConfigError, match="write PRODUCT/CHANNEL/LEVEL"):
        parse_actions(["letter"])
    with pytest.raises(DataError, match="no trial had the level 'shout'"):
        score_uplift(letters.bundle, letters.lake, tmp_path / "out", actions=["/post/shout"])


def test_a_bundle_without_the_part_is_refused(small_bank: SmallBank, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not say what a contact adds"):
        score_uplift(small_bank.bundle, small_bank.lake, tmp_path / "out")
