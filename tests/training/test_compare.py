"""Two bundles on one test split: who is better is said only where it can be told."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from recsys.__main__ import application
from recsys.bundle import Bundle
from recsys.errors import ConfigError
from recsys.lake.store import Lake
from tests.conftest import SmallBank
from tests.training.reconfigured import reconfigured
from training.compare import compare
from training.config import load_config
from training.evaluate import MODEL, outcome_on_test
from training.fit import train

QUICK = ["threads=1", "evaluation.snapshots=2", "adoption=null", "churn=null", "embedding=null", "segments=null"]


def silent(done: int, total: int, what: str) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def better(small_bank: SmallBank, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained for longer than the small bank's own bundle."""
    config = load_config("demo", [*QUICK, "training.epochs=6"])
    return train(config, Lake.open(small_bank.lake), tmp_path_factory.mktemp("better"), silent)


def run(*words: str) -> str:
    result = CliRunner().invoke(application(words), list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_bundle_that_learnt_longer_is_better_whatever_its_place(small_bank: SmallBank, better: Path) -> None:
    lake = Lake.open(small_bank.lake)
    bundles = Bundle.load(small_bank.bundle), Bundle.load(better)
    forth = compare(*bundles, lake, None, silent)
    back = compare(*reversed(bundles), lake, None, silent)
    assert (forth["metric"], forth["better"], back["better"]) == ("ndcg@5", "second", "first")
    outcomes = [outcome_on_test(bundle, lake, silent, baselines=()).metrics[MODEL] for bundle in bundles]
    for metric, difference in forth["differences"].items():
        assert difference["value"] == pytest.approx(np.mean(outcomes[0][metric] - outcomes[1][metric]))
        assert back["differences"][metric]["value"] == pytest.approx(-difference["value"])
    said = run("compare", str(bundles[0].path), str(bundles[1].path), "--lake", str(small_bank.lake))
    assert f"{bundles[1].bundle_id} is better by ndcg@5" in said


def test_a_bundle_is_not_better_than_itself(small_bank: SmallBank) -> None:
    twice = [str(small_bank.bundle)] * 2
    report = json.loads(run("compare", *twice, "--lake", str(small_bank.lake), "--json", "--metric", "mrr"))
    assert report["better"] is None and report["differences"]["mrr"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert "It cannot be told which is better by mrr" in run(
        "compare", *twice, "--lake", str(small_bank.lake), "--metric", "mrr"
    )


def test_other_questions_and_unknown_metrics_are_refused(small_bank: SmallBank, better: Path, tmp_path: Path) -> None:
    lake = Lake.open(small_bank.lake)
    other = reconfigured(Bundle.load(better), tmp_path, ["evaluation.horizon_days=60"])
    with pytest.raises(ConfigError, match=r"evaluation.horizon_days is 92 and 60"):
        compare(Bundle.load(better), other, lake, None, silent)
    with pytest.raises(ConfigError, match="--metric 'clicks': not one of"):
        compare(other, other, lake, "clicks", silent)
