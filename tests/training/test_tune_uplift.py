"""A search for better trees of uplift: the same command, judged on held-out customers by the same scores."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

import recsys.uplift.units
from recsys.errors import ConfigError, DataError
from recsys.lake.store import Lake
from tests.conftest import called
from tests.uplift.mailing import mailing, mailing_config
from training.config import Config, load_config, parse_config
from training.search_space import resolve, told
from training.tune import tune

LEAVES = {"uplift.effect_trees.leaves": {"choices": [2, 6, 12]}}


def searched(space: dict[str, Any] = LEAVES, **uplift: Any) -> Config:
    config = mailing_config(learners=["dr"], **uplift).model_dump(mode="json")
    tuning = {"part": "uplift", "space": space, "random_trials": 2}
    return parse_config({**config, "tuning": tuning}, "the test")


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return mailing(tmp_path_factory.mktemp("letters") / "lake", 1_000)


def values(lines: list[str]) -> list[float]:
    return [float(line.split("effect_spread ")[1].split(",")[0]) for line in lines]


def test_the_trees_are_tuned_by_the_same_command_and_a_stopped_search_goes_on(lake: Lake, tmp_path: Path) -> None:
    lines: list[str] = []
    folder, found = tune(searched(), lake, tmp_path / "once", 3, lambda *_: None, lines.append)
    assert "effect_spread" in found and "the configuration as it stands" in lines[0]
    # the true effect of a letter has a standard deviation of 0.19
    assert all(0.1 < value < 0.3 for value in values(lines)) and len(set(values(lines))) > 1
    best = yaml.safe_load((folder / "best.yaml").read_text())
    assert best["uplift"]["effect_trees"]["leaves"] in (2, 6, 12)
    assert load_config(folder / "best.yaml").uplift is not None

    parts: list[str] = []
    for trials in (1, 3):
        tune(searched(), lake, tmp_path / "parts", trials, lambda *_: None, parts.append)
    assert values(parts) == values(lines)


def test_noise_is_worth_nothing(tmp_path: Path) -> None:
    chance = pl.Series(np.random.default_rng(0).random(3_000) < 0.3)
    lake, lines = mailing(tmp_path / "lake", 1_000, converted=pl.lit(chance)), list[str]()
    tune(searched(), lake, tmp_path, 1, lambda *_: None, lines.append)
    assert values(lines)[0] < 0.06


def test_contacts_of_the_test_are_not_read(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, own = [], recsys.uplift.units.units

    def watched(tables: Any, config: Any, trials: Any, split: Any, part: Any) -> pl.DataFrame:
        asked.append(part)
        found = own(tables, config, trials, split, part)
        assert not set(found["trial"]) & set(split.test)
        return found

    monkeypatch.setattr("training.uplift_rows.units", watched)
    tune(searched(), lake, tmp_path, 1, lambda *_: None, lambda line: None)
    assert set(asked) == {"train"}


def test_a_lake_that_cannot_tell_is_refused_before_a_study_is_begun(tmp_path: Path) -> None:
    config = tmp_path / "letters.yaml"
    config.write_text(yaml.safe_dump(searched().model_dump(mode="json")))
    for name, changed in (
        ("everybody", {"contacted": pl.lit(True), "arm": pl.lit("letter")}),
        ("nobody", {"contacted": pl.lit(False), "arm": pl.lit("control")}),
    ):
        lake = mailing(tmp_path / name, 100, **changed)
        with pytest.raises(DataError, match="no campaign can tell what a contact adds"):
            called("tune", str(config), "--lake", str(lake.path), "--trials", "1", "--out", str(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("uplift.learners", "each trial is judged by the best of them"),
        ("uplift.folds", "decides which contacts trials are judged on"),
        ("uplift.bags", "trials fit no bags"),
        ("uplift.effect_trees.leafs", "did you mean 'uplift.effect_trees.leaves'"),
        ("model.dim", "a search may change uplift"),
    ],
)
def test_what_a_trial_cannot_change_is_refused(key: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        resolve(searched({key: {"low": 2, "high": 30}}))


def test_the_shipped_space_fits_and_a_configuration_without_uplift_is_refused() -> None:
    assert "the uplift by effect_spread on validation" in told(load_config("bank_uplift"))
    tuning = "tuning={part: uplift, space: {uplift.effect_trees.leaves: {low: 2, high: 9}}}"
    with pytest.raises(ConfigError, match="not trained by this configuration; give uplift"):
        resolve(load_config("demo", [tuning]))
