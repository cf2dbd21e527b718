"""A study that many processes may share and any of them may be killed in: opened, matched, and run to N trials."""

import fcntl
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, fail_stale_trials
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from recsys.errors import ConfigError, DataError
from recsys.lake.postgres import ambiguous, secrets_in
from training.search_space import SearchSpace
from training.tuning import TuningConfig

HEARTBEAT = 10
"""Seconds between two signs of life of a trial in a database; one that gave none for three times as long is dead."""
POLL = 0.5
"""Seconds between two looks at what other processes do."""
JOINING = 10.0
"""Seconds in which the process that made a study must have begun it; after that another one does."""
JOURNAL = "journal.log"
AS_IT_STANDS, AGAIN, SURPLUS, FAILED = "as_it_stands", "again", "surplus", "failed"
"""What trials are marked with: the configuration as it stands; the number of the trial that died and is made again
here; one trial too many, which was not made; why it could not be trained."""

Report = Callable[[int, float], None]
"""Called with an epoch, from 1, and its validation metric; raises where the trial is given up."""
Objective = Callable[[dict[str, Any], str, Report], float]
"""(values by key, a name for the trial's files, report) → the best validation metric."""


@contextmanager
def open_study(
    space: SearchSpace, identity: Mapping[str, Any], folder: Path, storage: str | None, heartbeat: int = HEARTBEAT
) -> Iterator[Study]:
    """The study named as the configuration, begun if there is none: in a journal in `folder`, or in a database.

    A journal belongs to one process at a time, so whatever runs in it when it is opened is dead. Processes that share
    a database give signs of life instead. Raises ConfigError where the journal is in use, the URL is wrong, or the
    study was begun with another `identity`; DataError where the database does not answer. Passwords are not repeated.
    """
    name = space.config.name
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if storage is None:
            with _only_process(folder):
                study, _ = _study(name, _journal(folder / JOURNAL))
                _join(study, identity, space, patience=0.0)
                for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                    _fail(study, trial.number)
                yield study
            return
        try:
            study, created = _study(name, _database(storage, heartbeat))
            _join(study, identity, space, patience=0.0 if created else JOINING)
            yield study
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            _database_failed(error, storage)


def run_study(
    study: Study,
    space: SearchSpace,
    settings: TuningConfig,
    trials: int,
    seed: int,
    objective: Objective,
    told: Callable[[FrozenTrial], None],
) -> None:
    """Make trials until `trials` are finished in all, whoever made them; `told` hears of each one made here.

    What a trial tries depends on the seed, its place among the trials, and what was found before: a study of one
    process that was stopped goes on as if it had not been.
    """
    pruning = settings.pruning
    study.pruner = (
        optuna.pruners.MedianPruner(pruning.startup_trials, pruning.warmup_epochs + 1)
        if pruning
        else optuna.pruners.NopPruner()
    )

    def attempt(trial: Trial) -> float:
        place = sum(other.number < trial.number for other in counted(study))
        own = bool(trial.user_attrs.get(AS_IT_STANDS))
        if place >= trials and not own:
            trial.set_user_attr(SURPLUS, True)
            raise optuna.TrialPruned
        state = np.random.SeedSequence((seed, place)).generate_state(1)
        study.sampler = optuna.samplers.TPESampler(seed=int(state[0]), n_startup_trials=settings.random_trials)

        def report(epoch: int, value: float) -> None:
            trial.report(value, epoch)
            if not own and trial.should_prune():
                raise optuna.TrialPruned

        values = space.suggest(trial)
        try:
            return objective(values, f"trial-{trial.user_attrs.get(AGAIN, trial.number)}", report)
        except DataError as error:
            if own:
                raise
            trial.set_user_attr(FAILED, str(error))
            raise optuna.TrialPruned from None

    empty: dict[int, float] = {}
    while not _over(study, trials):
        fail_stale_trials(study)
        alive = counted(study)
        if len(alive) < trials or any(trial.state == TrialState.WAITING for trial in alive):
            _one(study, attempt, told)
        else:  # the last trials are being made by other processes, one of which may die
            _fail_the_empty(study, empty)
            time.sleep(POLL)


def finished(study: Study) -> list[FrozenTrial]:
    """The trials that were made to their end, or given up on the way, by number."""
    return [trial for trial in counted(study) if trial.state.is_finished()]


def counted(study: Study) -> list[FrozenTrial]:
    """All trials, by number, but for those that died and those too many."""
    trials = study.get_trials(deepcopy=False)
    return [trial for trial in trials if trial.state != TrialState.FAIL and SURPLUS not in trial.user_attrs]


def _over(study: Study, trials: int) -> bool:
    """Whether enough trials are finished, the configuration as it stands among them."""
    made = finished(study)
    return len(made) >= trials and any(trial.user_attrs.get(AS_IT_STANDS) for trial in made)


def _join(study: Study, identity: Mapping[str, Any], space: SearchSpace, patience: float) -> None:
    """Begin the study: say what it is about and put in trial 0; or join it, where all of that agrees."""
    until = time.monotonic() + patience
    while "identity" not in study.user_attrs and time.monotonic() < until:
        time.sleep(POLL)  # the process that made it is about to begin it, or was killed
    text = json.dumps(identity, sort_keys=True)
    known = study.user_attrs.get("identity", text)
    if known != text:
        differs = _differences(json.loads(known), json.loads(text))
        raise ConfigError(
            f"the study {study.study_name!r} was begun with other settings: {'; '.join(differs)}. Give this search a "
            "name of its own (--set name=…), or remove the study to begin again"
        )
    if not any(trial.user_attrs.get(AS_IT_STANDS) for trial in counted(study)):
        study.enqueue_trial(space.own, user_attrs={AS_IT_STANDS: True})
    study.set_user_attr("identity", text)


def _one(study: Study, attempt: Callable[[Trial], float], told: Callable[[FrozenTrial], None]) -> None:
    made: list[int] = []

    def noted(trial: Trial) -> float:
        made.append(trial.number)
        return attempt(trial)

    try:
        study.optimize(noted, n_trials=1)
    except BaseException as error:
        if made and any(trial.user_attrs.get(AGAIN) == made[0] for trial in study.get_trials(deepcopy=False)):
            if isinstance(error, Exception):
                return  # this process slept for so long that another took it for dead and makes the trial again
        elif made:
            _fail(study, made[0])
        raise
    trial = study.get_trials(deepcopy=False)[made[0]]
    if SURPLUS not in trial.user_attrs:
        told(trial)


def _fail_the_empty(study: Study, seen: dict[int, float]) -> None:
    """Mark as dead what runs without values for long: its process was killed before its first sign of life."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if not trial.params and time.monotonic() - seen.setdefault(trial.number, time.monotonic()) > 3 * HEARTBEAT:
            _fail(study, trial.number)


def _fail(study: Study, number: int) -> None:
    """Mark a trial as dead, and have the same values tried again."""
    study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
    _again(study, study.get_trials(deepcopy=False)[number])


def _again(study: Study, dead: FrozenTrial) -> None:
    """Put the values of a dead trial in the queue; values that it had not drawn yet are drawn then."""
    values = dead.system_attrs.get("fixed_params", dead.params)
    marks = {name: value for name, value in dead.user_attrs.items() if name in (AS_IT_STANDS, AGAIN)}
    study.enqueue_trial(values, user_attrs={AGAIN: dead.number, **marks})


@contextmanager
def _only_process(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{folder}: another process is at this study; several share one in a database: "
                "--storage postgresql://USER@HOST/DATABASE"
            ) from None
        yield


def _journal(path: Path) -> JournalStorage:
    """The journal without what a killed process left: a lock that nobody holds, half a line at the end."""
    Path(f"{path}.lock").unlink(missing_ok=True)
    if path.exists():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with path.open("r+b") as file:
                file.truncate(whole)
    return JournalStorage(JournalFileBackend(str(path)))


def _database(url: str, heartbeat: int) -> RDBStorage:
    if "://" not in url:
        raise ConfigError("--storage: expected a URL, such as postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    if ambiguous(url):
        raise ConfigError("--storage: cannot be read as a URL; characters such as @ or / in a password need %XX")
    scheme, _, rest = url.partition("://")
    postgres = scheme in ("postgres", "postgresql")
    settings: dict[str, Any] = {"pool_pre_ping": True}
    if postgres:
        settings["connect_args"] = {"connect_timeout": 10}
    for left in reversed(range(5)):
        try:
            return RDBStorage(
                f"postgresql+psycopg://{rest}" if postgres else url,
                settings,
                heartbeat_interval=heartbeat,
                grace_period=3 * heartbeat,
                heartbeat_stale_trial_callback=_again,
            )
        except (ArgumentError, NoSuchModuleError, ValueError, ImportError):
            raise ConfigError(f"--storage: no database for {scheme}://, or its driver is not installed") from None
        except SQLAlchemyError as error:  # another process may be making the same tables at this moment
            if not left or "exist" not in str(error) and "duplicate" not in str(error):
                _database_failed(error, url)
            time.sleep(POLL)
    raise AssertionError("the last try either returns or raises")


def _database_failed(error: Exception, url: str) -> NoReturn:
    cause = getattr(error, "orig", None) or getattr(error.__cause__, "orig", None) or error
    text = " ".join(str(cause).split("\n[SQL")[0].split())
    for secret in secrets_in(url):
        text = text.replace(secret, "…")
    raise DataError(f"--storage: {text[:600]}; the same command goes on when the database answers") from None


def _study(name: str, storage: BaseStorage) -> tuple[Study, bool]:
    """The study, and whether it was made just now."""
    try:
        return optuna.create_study(storage=storage, study_name=name, direction="maximize"), True
    except optuna.exceptions.DuplicatedStudyError:
        return optuna.load_study(study_name=name, storage=storage), False


def _differences(known: Mapping[str, Any], ours: Mapping[str, Any]) -> Sequence[str]:
    """The settings that differ, as `key: was …, is …`."""
    before, now = _flat(known), _flat(ours)
    return [
        f"{key} was {before.get(key, 'not given')}, is {now.get(key, 'not given')}"
        for key in [*before, *(key for key in now if key not in before)]
        if before.get(key) != now.get(key)
    ]


def _flat(values: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{within}{key}: ") if isinstance(value, dict) else {f"{within}{key}": value}
    return found
