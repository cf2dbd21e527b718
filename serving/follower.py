"""A worker that follows a registry: puts into force what was promoted, tries what is deployed, and says so."""

import contextlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from recsys.errors import RecsysError
from serving.answers import Answers
from serving.canary import Ask, compare, judge
from serving.current import Current
from serving.registry import CONTENTS, WORKERS, Registry, verified
from serving.registry_contents import Contents, Trial

EVERY = 0.5
"""Seconds between two looks at the registry."""
STALE = 6.0
"""A worker that has not said anything for so many seconds is taken for dead."""
AGAIN = 30.0
"""Seconds until a promoted bundle that could not be loaded is tried again."""

logger = logging.getLogger("bentoml.recsys")


class Tried(BaseModel):
    """How a worker's trial of a candidate stands."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    number: int
    ok: bool | None = None
    """None: it has begun."""
    said: str = ""
    measured: dict[str, Any] = {}


class Status(BaseModel):
    """What a worker says about itself in `workers/NAME.json`; the file's time of change is its heartbeat."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    worker: str
    in_force: str
    trial: Tried | None = None
    problem: str | None = None
    """Why what was promoted is not in force here."""


class Follower:
    """Follows a registry from a thread of its own; work that takes long is done in another, beside the answering."""

    def __init__(self, registry: Registry, current: Current, opens: Callable[[Path], Answers], ask: Ask) -> None:
        """`opens` loads a bundle as this worker serves it; it raises RecsysError where it does not fit."""
        self.registry, self.current, self._opens, self._ask = registry, current, opens, ask
        self.name = f"{socket.gethostname()[:60]}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._said: Status | None = None
        self._seen: tuple[int, ...] = ()
        self._contents: Contents | None = None
        self._ready: Answers | None = None
        self._trial: Tried | None = None
        self._problem: str | None = None
        self._failed: tuple[str, float] | None = None
        self._job: threading.Thread | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="registry", daemon=True)

    def start(self) -> None:
        """Follow until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """Follow no longer, and take the worker off the list."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        with contextlib.suppress(OSError):
            self._file.unlink()

    def step(self) -> None:
        """One look at the registry."""
        contents = self._look()
        if contents is not None and (self._job is None or not self._job.is_alive()):
            self._follow(contents)
        self._say()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.step()
            except (OSError, RecsysError) as error:  # a disk that is away for a while; the running bundle goes on
                if self._problem != (problem := f"the registry: {type(error).__name__}"):
                    logger.warning("%s: %s", problem, error)
                self._problem = problem
            except Exception as error:
                logger.exception("registry follower: %s", type(error).__name__)
            self._stop.wait(EVERY)

    def _look(self) -> Contents | None:
        found = os.stat(self.registry.path / CONTENTS)
        seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        if seen != self._seen:
            self._contents, self._seen, self._failed = self.registry.read(), seen, None
        return self._contents

    def _follow(self, contents: Contents) -> None:
        wanted, trial = contents.promoted, contents.trial
        if wanted is not None and wanted != self.current.answers.bundle.bundle_id:
            if self._ready is not None and self._ready.bundle.bundle_id == wanted:
                self._swap(self._ready)
            elif self._failed is None or self._failed[0] != wanted or time.monotonic() >= self._failed[1]:
                self._work(lambda: self._load(wanted))
            return
        self._problem = None
        if trial is None or trial.ends < time.time():
            self._ready = None
        elif self._trial is None or self._trial.number != trial.number:
            self._trial = Tried(number=trial.number)
            self._work(lambda: self._try(trial))

    def _work(self, job: Callable[[], None]) -> None:
        self._ready = None
        self._job = threading.Thread(target=job, name="bundle", daemon=True)
        self._say()  # before it begins: who dies of a candidate is known to have tried it
        self._job.start()

    def _swap(self, answers: Answers) -> None:
        before = self.current.answers.bundle.bundle_id
        self.current.replace(answers)
        self._ready = self._problem = self._failed = None
        logger.info("bundle %s in force, after %s", answers.bundle.bundle_id, before)

    def _load(self, bundle_id: str) -> None:
        try:
            self._ready = self._opened(bundle_id)
        except Exception as error:
            self._problem = f"bundle {bundle_id}: {_said(error)}"
            self._failed = (bundle_id, time.monotonic() + AGAIN)
            logger.error("%s; %s stays in force", self._problem, self.current.answers.bundle.bundle_id)

    def _try(self, trial: Trial) -> None:
        try:
            self._trial = self._tried(trial)
        except Exception as error:  # whatever breaks a trial is a reason not to promote
            self._trial = Tried(number=trial.number, ok=False, said=_said(error))
        if not self._trial.ok:
            self._ready = None

    def _tried(self, trial: Trial) -> Tried:
        verified(self.registry.where(trial.bundle_id))
        questions = self.current.asked
        running = self._opened(self.current.answers.bundle.bundle_id)  # apart: the one in force has callers to answer
        candidate = self._opened(trial.bundle_id)
        found = compare(running, candidate, questions, self._ask)
        wrong = judge(found, trial.bounds)
        if not wrong:
            self._ready = candidate
        return Tried(number=trial.number, ok=not wrong, said="; ".join(wrong), measured=found.told())

    def _opened(self, bundle_id: str) -> Answers:
        self.registry.load(bundle_id)
        answers = self._opens(self.registry.where(bundle_id))
        answers.warm_up()
        return answers

    @property
    def _file(self) -> Path:
        return self.registry.path / WORKERS / f"{self.name}.json"

    def _say(self) -> None:
        """Write the status if it has changed, and give a sign of life."""
        in_force = self.current.answers.bundle.bundle_id
        status = Status(worker=self.name, in_force=in_force, trial=self._trial, problem=self._problem)
        if status == self._said and self._file.exists():
            return os.utime(self._file)
        partial = self._file.with_suffix(".partial")
        partial.write_text(json.dumps(status.model_dump()), encoding="utf-8")
        os.replace(partial, self._file)
        self._said = status
        return None


def workers(registry: Registry) -> tuple[list[Status], list[Status]]:
    """The workers that live, and those whose last sign of life is too long ago. Times are those of the disk."""
    folder = registry.path / WORKERS
    clock = folder / f".clock-{uuid.uuid4().hex[:8]}"
    clock.touch()
    now = clock.stat().st_mtime
    clock.unlink()
    alive: list[Status] = []
    dead: list[Status] = []
    for path in sorted(folder.glob("*.json")):
        try:
            age, status = now - path.stat().st_mtime, Status.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):  # it left this moment, or is no status of ours
            continue
        (alive if age < STALE else dead).append(status)
    return alive, dead


def _said(error: Exception) -> str:
    """A sentence for the operator; of an unforeseen error only its kind, for its message may quote a customer."""
    return str(error) if isinstance(error, RecsysError) else type(error).__name__
