"""A search on a small bank: repeatable, resumable, on validation alone, and what it leaves is a configuration."""

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from typer.testing import CliRunner

import recsys.features.examples
from recsys.__main__ import application
from recsys.errors import ConfigError, DataError
from recsys.features.examples import protocol_examples
from recsys.lake.store import Lake
from tests.conftest import ROOT, SmallBank
from training.config import Config, load_config
from training.prepare import fit_recommender, prepare
from training.tune import tune

QUICK = [
    "threads=1",
    "training.epochs=2",
    "evaluation.snapshots=2",
    "model.hidden=16",
    "model.dim=8",
    "adoption=null",
    "embedding=null",
    "churn=null",
    "segments=null",
]
SPACE = {
    "model.dim": {"choices": [8, 4]},
    "model.dropout": {"low": 0.0, "high": 0.6},
    "training.learning_rate": {"low": 0.001, "high": 0.02, "log": True},
    "features.history_length": {"choices": [32, 4]},
}
TUNING = {"space": SPACE, "random_trials": 2, "pruning": {"startup_trials": 2, "warmup_epochs": 0}}
SETS = [*QUICK, f"tuning={json.dumps(TUNING)}"]

KILLED = """
import os, signal, sys
import training.tune
from recsys.__main__ import main

fits, fit = [], training.tune.fit_recommender


def killed(config, data, directory, progress, on_epoch):
    def then(record):
        on_epoch(record)
        if len(fits) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    fits.append(config)
    return fit(config, data, directory, progress, then)


training.tune.fit_recommender = killed
main(sys.argv[1:])
"""
"""The command line, killed in the middle of the third trial."""


def silent(done: int, total: int, what: str) -> None:
    """No progress."""


def search(bank: SmallBank, out: Path, trials: int, *settings: str, told: Any = lambda line: None) -> Path:
    folder, _ = tune(load_config("demo", [*SETS, *settings]), Lake.open(bank.lake), out, trials, silent, told)
    return folder


def trials_of(folder: Path) -> list[FrozenTrial]:
    storage = JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    return optuna.load_study(study_name="demo", storage=storage).get_trials()


def tried(trials: Sequence[FrozenTrial]) -> list[tuple[Any, ...]]:
    """What was tried and found by the trials that were not killed."""
    over = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    return [(trial.params, trial.state, trial.value, trial.intermediate_values) for trial in over]


def validation(config: Config, bank: SmallBank, work: Path) -> float:
    """The validation metric that `recsys train` reaches with a configuration."""
    return fit_recommender(config, prepare(config, Lake.open(bank.lake), work, silent), work / "fit", silent).metric


@pytest.fixture(scope="module")
def found(small_bank: SmallBank, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a search of six trials, made by the command line."""
    out = tmp_path_factory.mktemp("found")
    words = command(small_bank, out, 6)[3:]
    result = CliRunner().invoke(application(words), words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == str(out / "tune-demo" / "best.yaml")
    assert result.stderr.count(" of 6: trial ") == 6
    return out / "tune-demo"


def command(bank: SmallBank, out: Path, trials: int) -> list[str]:
    words = [sys.executable, "-m", "recsys", "tune", "demo", "--lake", str(bank.lake), "--out", str(out)]
    return [*words, "--trials", str(trials), *(word for key in SETS for word in ("--set", key))]


def test_trial_0_is_the_configuration_as_it_stands(found: Path, small_bank: SmallBank, tmp_path: Path) -> None:
    first = trials_of(found)[0]
    config = load_config("demo", QUICK)
    assert first.params == {
        "model.dim": config.model.dim,
        "model.dropout": config.model.dropout,
        "training.learning_rate": config.training.learning_rate,
        "features.history_length": config.features.history_length,
    }
    assert validation(config, small_bank, tmp_path) == first.value


def test_the_best_one_is_a_configuration_that_trains_to_the_value_it_had(
    found: Path, small_bank: SmallBank, tmp_path: Path
) -> None:
    best = max((t for t in trials_of(found) if t.state == TrialState.COMPLETE), key=lambda trial: trial.value or 0.0)
    config = load_config(found / "best.yaml")
    assert config.model.dim == best.params["model.dim"] and config.tuning is None
    assert validation(config, small_bank, tmp_path) == best.value


def test_the_report_says_what_was_found(found: Path) -> None:
    text = (found / "report.md").read_text()
    best = max(trial.value for trial in trials_of(found) if trial.value is not None)
    stands = trials_of(found)[0].value
    assert f"{best:.4f}" in text and f"{stands:.4f}" in text and "optimistic" in text and "(as it stands)" in text
    assert all(key in text for key in SPACE)
    with (found / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == list(range(6)) and float(rows[0]["value"]) == stands
    for name in ("history.png", "slices.png"):
        assert (found / name).read_bytes().startswith(b"\x89PNG")
        assert f"({name})" in text
    assert {path.name for path in found.iterdir()} <= {
        *("journal.log", "lock", "best.yaml", "report.md", "trials.csv"),
        *("history.png", "slices.png", "importance.png"),
    }


def test_the_same_command_gives_the_same_trials(found: Path, small_bank: SmallBank, tmp_path: Path) -> None:
    assert tried(trials_of(search(small_bank, tmp_path, 6))) == tried(trials_of(found))


def test_more_trials_go_on_and_as_many_do_nothing(found: Path, small_bank: SmallBank, tmp_path: Path) -> None:
    lines: list[str] = []
    search(small_bank, tmp_path, 2)
    folder = search(small_bank, tmp_path, 6, told=lines.append)
    assert len(lines) == 4 and lines[-1].startswith("6 of 6: trial 5")
    assert tried(trials_of(folder)) == tried(trials_of(found)), "in two parts as at once"
    search(small_bank, tmp_path, 6, told=lines.append)
    assert len(lines) == 4


def test_a_killed_search_goes_on_and_finds_what_an_undisturbed_one_finds(
    found: Path, small_bank: SmallBank, tmp_path: Path
) -> None:
    journal = tmp_path / "tune-demo" / "journal.log"
    words = command(small_bank, tmp_path, 6)
    killed = subprocess.run([sys.executable, "-c", KILLED, *words[3:]], cwd=ROOT, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    Path(f"{journal}.lock").touch()
    with journal.open("ab") as file:
        file.write(b'{"op_code":4,"half a li')
    search(small_bank, tmp_path, 6)
    trials = trials_of(journal.parent)
    assert tried(trials) == tried(trials_of(found))
    assert [trial.state for trial in trials].count(TrialState.FAIL) == 1, "the one that was killed"


def test_the_test_split_is_not_read(small_bank: SmallBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def watched(tables: Any, config: Any, part: str, until: Any) -> Any:
        assert part != "test"
        asked.append(part)
        return protocol_examples(tables, config, part, until)  # type: ignore[arg-type]

    import training.preflight

    for module in (recsys.features.examples, training.rows, training.preflight):
        monkeypatch.setattr(module, "protocol_examples", watched)
    words = command(small_bank, tmp_path, 2)[3:]
    result = CliRunner().invoke(application(words), words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert set(asked) == {"train", "validation"}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("training.batch_size=512", "configuration: training: batch_size was 1024, is 512"),
        ("seed=1", "configuration: seed was 0, is 1"),
        (f"tuning={json.dumps({**TUNING, 'random_trials': 3})}", "tuning: random_trials was 2, is 3"),
    ],
)
def test_a_study_of_something_else_is_not_continued(
    found: Path, small_bank: SmallBank, setting: str, said: str
) -> None:
    before = trials_of(found)
    with pytest.raises(ConfigError) as error:
        search(small_bank, found.parent, 8, setting)
    assert said in str(error.value) and "--set name=" in str(error.value)
    assert trials_of(found) == before


def test_two_processes_do_not_share_a_journal(found: Path, small_bank: SmallBank) -> None:
    import fcntl

    with (found / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="--storage postgresql"):
            search(small_bank, found.parent, 8)


def test_features_that_a_lake_does_not_have_are_refused_before_the_first_trial(
    small_bank: SmallBank, tmp_path: Path
) -> None:
    space = {"features.exclude": {"choices": [[], ["incme"]]}}
    with pytest.raises(ConfigError, match="incme"):
        search(small_bank, tmp_path, 2, f"tuning={json.dumps({'space': space})}")
    assert not (tmp_path / "tune-demo").exists()


def test_a_trial_that_cannot_be_trained_is_told_and_the_search_goes_on(
    small_bank: SmallBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import training.tune

    real = training.tune.fit_recommender

    def breaks(config: Config, *rest: Any) -> Any:
        if config.model.dropout != load_config("demo").model.dropout:
            raise DataError("scores: NaN in row 0")
        return real(config, *rest)

    monkeypatch.setattr(training.tune, "fit_recommender", breaks)
    lines: list[str] = []
    folder = search(small_bank, tmp_path, 2, told=lines.append)
    assert "trial 1: could not be trained: scores: NaN in row 0" in lines[1]
    assert "1 that could not be trained" in (folder / "report.md").read_text()
    assert yaml.safe_load((folder / "best.yaml").read_text())["model"]["dropout"] == 0.2
