"""Searching for a better configuration on the validation split; nothing here, or imported here, reads the test."""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from recsys.churn.config import ChurnConfig
from recsys.features.definition import define
from recsys.features.encoder import Encoder
from recsys.features.examples import last_day
from recsys.lake.parts import MEMORY, BucketReader
from recsys.lake.store import Lake
from recsys.progress import Progress
from training.churn_models import network_on_validation
from training.churn_rows import ChurnRows, prepare_churn
from training.config import Config
from training.customers import Customers
from training.embedding import EmbeddingConfig, fit_part, inputs_of, prepare_customers
from training.loop import OnEpoch
from training.prepare import Prepared, first_unseen_day, fit_recommender, prepare
from training.search_space import SearchSpace, changed, resolve
from training.study import AS_IT_STANDS, FAILED, Report, finished, open_study, run_study
from training.tune_report import write_report
from training.uplift_objective import UpliftObjective
from training.uplift_rows import prepare_uplift, product_attributes

Told = Callable[[str], None]


def tune(
    config: Config,
    lake: Lake,
    out: Path,
    trials: int,
    progress: Progress,
    told: Told,
    storage: str | None = None,
    memory: int = MEMORY,
) -> tuple[Path, str]:
    """Search until `trials` are finished in all; return the directory of the report and what was found, in a sentence.

    The study is kept in a journal in that directory, `out/tune-NAME`, or in the database of the URL `storage`, which
    processes and machines may share. Given again after it was stopped, it goes on; with more trials, too. `told` gets
    a line for each finished trial. Raises ConfigError before the first trial for a space that does not fit, and for a
    study that was begun with another lake, configuration or space.
    """
    space = resolve(config)
    assert config.tuning is not None
    _check_features(space, lake)
    folder = out / f"tune-{config.name}"
    with open_study(space, _identity(config, lake), folder, storage) as study:
        fits = _Fits(space, lake, folder / "work", memory)

        def objective(values: dict[str, Any], name: str, report: Report) -> float:
            done = len(finished(study))

            def within(step: int, of: int, what: str) -> None:
                progress(done * 1000 + 1000 * step // max(of, 1), trials * 1000, f"{done} of {trials} trials; {what}")

            return fits.fit(values, name, report, within)

        def made(trial: FrozenTrial) -> None:
            told(_line(trial, finished(study), trials, space.metric))

        run_study(study, space, config.tuning, trials, config.seed, objective, made)
        found = write_report(folder, space, lake, finished(study))
        shutil.rmtree(folder / "work", ignore_errors=True)
    return folder, found


class _Fits:
    """Fits trials on arrays that are made once for all trials that read the same features."""

    def __init__(self, space: SearchSpace, lake: Lake, work: Path, memory: int) -> None:
        self._space = space
        self._lake = lake
        self._work = work
        self._memory = memory
        self._prepared: dict[str, Prepared] = {}
        self._customers: tuple[Customers, Encoder] | None = None
        self._churn: ChurnRows | None = None
        self._uplift: UpliftObjective | None = None

    def fit(self, values: dict[str, Any], name: str, report: Report, progress: Progress) -> float:
        """The best validation metric of a trial; its checkpoints are kept until it is over."""
        config = self._space.configuration(values)
        directory = self._work / f"{name}-{_digest(values)}"

        def on_epoch(record: dict[str, float]) -> None:
            report(int(record["epoch"]), record[self._space.metric])

        try:
            return self._fitted(config, directory, progress, on_epoch)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _fitted(self, config: Config, directory: Path, progress: Progress, on_epoch: OnEpoch) -> float:
        assert config.tuning is not None
        part = config.tuning.part
        if part == "churn" and config.churn is not None:
            data = self._leavers(config, config.churn, progress)
            return network_on_validation(
                config.churn.models.network,
                data.encoder.shape,
                data.train,
                data.validation,
                seed=config.seed,
                threads=config.threads,
                work=directory,
                progress=progress,
                on_epoch=lambda epoch, value: on_epoch({"epoch": epoch, self._space.metric: value}),
            )
        if part == "uplift" and config.uplift is not None:
            return self._contacts(progress).effect_spread(config.uplift, progress)
        if part == "recommender" or part == "churn" or part == "uplift" or config.embedding is None:
            return fit_recommender(config, self._data(config, progress), directory, progress, on_epoch).metric
        customers, encoder = self._everyone(config, config.embedding, progress)
        fitted = fit_part(
            part,
            config.embedding,
            customers,
            inputs_of(config.embedding, self._lake, encoder),
            encoder,
            training=config.training,
            seed=config.seed,
            threads=config.threads,
            work=directory,
            progress=progress,
            on_epoch=on_epoch,
        )
        return fitted.metric

    def _data(self, config: Config, progress: Progress) -> Prepared:
        read = [config.features, config.evaluation, config.adoption]
        key = _digest([section and section.model_dump(mode="json") for section in read])
        if key not in self._prepared:
            work = self._work / f"features-{key}"
            work.mkdir(parents=True, exist_ok=True)
            with _one_process(work / "lock"):
                self._prepared[key] = prepare(config, self._lake, work, progress, self._memory)
        return self._prepared[key]

    def _everyone(self, config: Config, embedding: EmbeddingConfig, progress: Progress) -> tuple[Customers, Encoder]:
        """What the embedding reads, which no trial changes."""
        if self._customers is None:
            work = self._work / "customers"
            work.mkdir(parents=True, exist_ok=True)
            definition = define(self._lake, config.features, before=first_unseen_day(config, self._lake))
            day, unit = last_day(config.evaluation, self._lake.as_of), config.features.log_unit
            with _one_process(work / "lock"):
                self._customers = prepare_customers(
                    self._lake, embedding, definition, None, day, self._memory, work, progress, unit
                )
        return self._customers

    def _leavers(self, config: Config, churn: ChurnConfig, progress: Progress) -> ChurnRows:
        """Who left and who stayed, by an encoder of their own; no trial changes it."""
        if self._churn is None:
            work = self._work / "churn"
            work.mkdir(parents=True, exist_ok=True)
            with _one_process(work / "lock"):
                self._churn = prepare_churn(
                    churn,
                    BucketReader(self._lake, self._memory),
                    define(self._lake, config.features, before=first_unseen_day(config, self._lake)),
                    None,
                    until=last_day(config.evaluation, self._lake.as_of),
                    trusted=config.features.trusted,
                    log_unit=config.features.log_unit,
                    work=work / "data",
                    progress=progress,
                )
        return self._churn

    def _contacts(self, progress: Progress) -> UpliftObjective:
        """Who was contacted or held back, by an encoder of their own, and what judges every trial."""
        config, work = self._space.config, self._work / "uplift"
        assert config.uplift is not None
        if self._uplift is None:
            work.mkdir(parents=True, exist_ok=True)
            with _one_process(work / "lock"):
                data = prepare_uplift(
                    config.uplift,
                    BucketReader(self._lake, self._memory),
                    define(self._lake, config.features, before=first_unseen_day(config, self._lake)),
                    None,
                    until=last_day(config.evaluation, self._lake.as_of),
                    trusted=config.features.trusted,
                    log_unit=config.features.log_unit,
                    work=work / "data",
                    progress=progress,
                )
            self._uplift = UpliftObjective(
                config.uplift,
                data,
                product_attributes(self._lake),
                seed=config.seed,
                threads=config.threads,
                progress=progress,
            )
        return self._uplift


def _check_features(space: SearchSpace, lake: Lake) -> None:
    """ConfigError for a choice of features that this lake does not have."""
    before = first_unseen_day(space.config, lake)
    for key, domain in space.domains.items():
        for value in domain.choices or () if key.startswith("features.") else ():
            define(lake, changed(space.config, {key: value}).features, before=before)


def _identity(config: Config, lake: Lake) -> dict[str, Any]:
    """What every process and every resumption of a study must share."""
    whole = config.model_dump(mode="json")
    tuning = whole.pop("tuning")
    about = {"version": lake.version, "identity": lake.identity()}
    return {"lake": about, "configuration": whole, "tuning": tuning}


def _line(trial: FrozenTrial, over: list[FrozenTrial], trials: int, metric: str) -> str:
    """One finished trial in a line, and the best so far."""
    if trial.state == TrialState.COMPLETE:
        what = f"{metric} {trial.value:.4f}"
    elif FAILED in trial.user_attrs:
        what = f"could not be trained: {trial.user_attrs[FAILED]}"
    else:
        what = f"given up after epoch {trial.last_step} with {metric} {max(trial.intermediate_values.values()):.4f}"
    best = max((other for other in over if other.state == TrialState.COMPLETE), key=_value, default=None)
    seconds = trial.duration.total_seconds() if trial.duration else 0.0
    stands = ", the configuration as it stands" if trial.user_attrs.get(AS_IT_STANDS) else ""
    ahead = f"; best {_value(best):.4f} (trial {best.number})" if best else ""
    return f"{len(over)} of {trials}: trial {trial.number}{stands}: {what}, {seconds:.0f} s{ahead}"


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


@contextmanager
def _one_process(path: Path) -> Iterator[None]:
    """Wait until no other process is within."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
