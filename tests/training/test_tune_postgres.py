"""Processes that share a study in a real PostgreSQL: together they make N trials, and one that dies is replaced."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from recsys.errors import ConfigError, DataError
from tests.conftest import ROOT, SmallBank
from tests.lake.postgres_server import PASSWORD, Server
from training.config import load_config
from training.search_space import resolve
from training.study import counted, finished, open_study, run_study
from training.tuning import TuningConfig

TUNING = {"space": {"model.dropout": {"low": 0.0, "high": 0.6}}, "random_trials": 2, "pruning": None}
QUICK = [
    "threads=1",
    "training.epochs=1",
    "evaluation.snapshots=2",
    "model.hidden=16",
    "model.dim=8",
    "adoption=null",
    "embedding=null",
    "churn=null",
    "segments=null",
]


def test_two_processes_share_a_study(server: Server, small_bank: SmallBank, tmp_path: Path) -> None:
    settings = [*QUICK, "name=shared", f"tuning={json.dumps(TUNING)}"]
    processes = []
    for name in ("a", "b"):
        words = [sys.executable, "-m", "recsys", "tune", "demo", "--lake", str(small_bank.lake), "--trials", "8"]
        words += ["--out", str(tmp_path / name), *(word for key in settings for word in ("--set", key))]
        environment = {**os.environ, "RECSYS_STORAGE": server.url, "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen(words, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True))
    said = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    made = [errors.count(" of 8: trial ") for _, errors in said]
    assert sum(made) == 8 and min(made) > 0, said
    reports = [(tmp_path / name / "tune-shared" / "best.yaml").read_text() for name in ("a", "b")]
    assert reports[0] == reports[1]
    assert not any(secret in text for pair in said for text in pair for secret in (PASSWORD, "s3cr%40t"))


def test_a_dead_processes_trial_is_made_again_and_a_living_ones_is_left(server: Server, tmp_path: Path) -> None:
    config = load_config("demo", ["name=dying", f"tuning={json.dumps(TUNING)}"])
    space, settings = resolve(config), TuningConfig.model_validate(TUNING)
    with open_study(space, {}, tmp_path, server.url, heartbeat=1) as study:
        storage = study._storage
        dead, alive = study.ask(), study.ask()
        values = [space.suggest(trial) for trial in (dead, alive)]
        assert values[0] == space.own
        storage.record_heartbeat(dead._trial_id)  # type: ignore[attr-defined]
        tried: list[float] = []
        ended = threading.Event()

        def live() -> None:
            while not ended.wait(0.2):
                storage.record_heartbeat(alive._trial_id)  # type: ignore[attr-defined]

        def objective(given: dict[str, float], name: str, report: object) -> float:
            tried.append(given["model.dropout"])
            time.sleep(0.8)
            if len(tried) == 6:
                study.tell(alive, 0.5)
            return given["model.dropout"]

        living = threading.Thread(target=live)
        living.start()
        try:
            run_study(study, space, settings, 7, 0, objective, lambda trial: None)
        finally:
            ended.set()
            living.join()
        assert len(finished(study)) == 7 and len(tried) == 6
        assert tried.count(values[0]["model.dropout"]) == 1, "made again"
        states = [trial.state for trial in study.get_trials()]
        assert states[dead.number] == TrialState.FAIL and states[alive.number] == TrialState.COMPLETE
        assert sum(state != TrialState.FAIL for state in states) == len(counted(study)) == 7


def test_a_study_of_something_else_is_refused(server: Server, tmp_path: Path) -> None:
    space = resolve(load_config("demo", ["name=other", f"tuning={json.dumps(TUNING)}"]))
    with open_study(space, {"lake": {"version": 1}}, tmp_path, server.url) as study:
        assert len(study.get_trials()) == 1
    with (
        pytest.raises(ConfigError, match="lake: version was 1, is 2"),
        open_study(space, {"lake": {"version": 2}}, tmp_path, server.url),
    ):
        pass


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (("s3cr%40t%2Fword", "wrong"), DataError, "password authentication failed"),
        (("s3cr%40t", "s3cr@t"), ConfigError, "need %XX"),
        (("postgresql", "nosuchdatabase"), ConfigError, "no database for nosuchdatabase://"),
        (("/postgres", "/nowhere"), DataError, "nowhere"),
    ],
)
def test_a_database_that_cannot_be_used_is_told_without_its_password(
    server: Server, tmp_path: Path, change: tuple[str, str], error: type[Exception], said: str
) -> None:
    space = resolve(load_config("demo"))
    url = server.url.replace(*change)
    with pytest.raises(error) as raised, open_study(space, {}, tmp_path, url):
        pass
    assert said in str(raised.value)
    assert not any(secret in str(raised.value) for secret in (PASSWORD, "s3cr", "wrong"))


def test_optuna_says_nothing_of_its_own(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    space = resolve(load_config("demo", ["name=quiet", f"tuning={json.dumps(TUNING)}"]))
    settings = TuningConfig.model_validate(TUNING)
    with open_study(space, {}, tmp_path, server.url) as study:
        run_study(study, space, settings, 3, 0, lambda values, name, report: 0.5, lambda trial: None)
    assert capfd.readouterr() == ("", "")
    assert not [w for w in recwarn if issubclass(w.category, optuna.exceptions.ExperimentalWarning)]
