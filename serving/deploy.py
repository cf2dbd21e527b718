"""Deploying a bundle: every worker tries it beside the running one, and only if all agree it goes into force."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys.errors import BundleError, ConfigError
from recsys.progress import Progress
from serving.follower import Status, workers
from serving.registry import WORKERS, Registry, check_approval, check_trial, locked
from serving.registry_contents import Bounds, Trial

EVERY = 0.2
DEATHS = 2
"""Workers that may die while they try a candidate before it is taken for the cause."""
LOCK = ".deploying"


@dataclass(frozen=True)
class Deployed:
    """What was put into force, and what each worker measured on the way."""

    bundle_id: str
    workers: dict[str, dict[str, Any]]


def deploy(
    registry: Registry,
    bundle: Path | str,
    *,
    bounds: Bounds,
    seconds: float,
    by: str,
    approved_by: str | None = None,
    why: str = "",
    progress: Progress,
) -> Deployed:
    """Add, try and promote a bundle; BundleError says why not, and then what was in force is in force still.

    Each of the two waits, for the trials and for the swap, lasts at most `seconds`. Raises ConfigError if nothing is
    in force, no worker lives, or approval is missing; DataError if another deployment runs.
    """
    before = registry.read()
    check_approval(before, by, approved_by)
    if before.promoted is None:
        raise ConfigError(f"{registry.path}: nothing is in force to compare with; recsys registry promote begins")
    with locked(registry.path / LOCK, 0, "another deployment runs; wait for its end"):
        alive, dead = workers(registry)
        for worker in dead:  # of earlier times; whoever dies from now on is counted
            (registry.path / WORKERS / f"{worker.worker}.json").unlink(missing_ok=True)
        if not alive:
            raise ConfigError(f"{registry.path}: no worker serves from here; start recsys serve, or promote the bundle")
        bundle_id = registry.add(bundle, by=by, why=why)
        if registry.read().promoted == bundle_id:
            raise ConfigError(f"{bundle_id}: in force already")
        trial = registry.try_out(bundle_id, bounds, seconds + 30)
        try:
            tried = _trials(registry, trial, len(alive), seconds, progress)
            registry.promote(bundle_id, by=by, approved_by=approved_by, why=why, trial=trial)
        except BaseException as error:
            registry.refuse(trial, by=by, why=_why(error))
            raise
        try:
            _swapped(registry, bundle_id, seconds, progress)
        except BundleError as error:
            registry.rollback(by=by, why=str(error)[:2000])
            raise
    return Deployed(bundle_id, {status.worker: status.trial.measured for status in tried if status.trial})


def _trials(registry: Registry, trial: Trial, least: int, seconds: float, progress: Progress) -> list[Status]:
    """Every living worker's status, once all have tried the candidate and as many live as in the beginning."""

    def ended() -> list[Status] | None:
        check_trial(registry.read(), trial)
        alive, dead = workers(registry)
        of = {status.worker: _of(status, trial) for status in (*alive, *dead)}
        for status in alive:
            if (found := of[status.worker]) is not None and found.ok is False:
                raise BundleError(f"{trial.bundle_id}: refused by worker {status.worker}: {found.said}")
        died = [status.worker for status in dead if (found := of[status.worker]) is not None and found.ok is None]
        if len(died) >= DEATHS:
            raise BundleError(f"{trial.bundle_id}: refused: workers died while they tried it: {', '.join(died)}")
        done = [status for status in alive if (found := of[status.worker]) is not None and found.ok]
        progress(len(done), max(least, len(alive)), "workers have tried it")
        return done if len(done) == len(alive) >= least else None

    late = f"not tried by all workers within {seconds:g} s; nothing was changed"
    return _awaited(ended, seconds, f"{trial.bundle_id}: refused: {late}")


def _swapped(registry: Registry, bundle_id: str, seconds: float, progress: Progress) -> None:
    """Return once every living worker answers with the bundle."""

    def ended() -> list[Status] | None:
        alive, _ = workers(registry)
        if broken := [status for status in alive if status.problem and bundle_id in status.problem]:
            raise BundleError(f"{bundle_id}: rolled back: worker {broken[0].worker}: {broken[0].problem}")
        done = [status for status in alive if status.in_force == bundle_id]
        progress(len(done), len(alive), "workers answer with it")
        return done if alive and len(done) == len(alive) else None

    late = f"not in force in all workers within {seconds:g} s"
    _awaited(ended, seconds, f"{bundle_id}: rolled back: {late}")


def _awaited(ended: Callable[[], list[Status] | None], seconds: float, otherwise: str) -> list[Status]:
    until = time.monotonic() + seconds
    while (found := ended()) is None:
        if time.monotonic() >= until:
            raise BundleError(otherwise)
        time.sleep(EVERY)
    return found


def _of(status: Status, trial: Trial) -> Any:
    return status.trial if status.trial is not None and status.trial.number == trial.number else None


def _why(error: BaseException) -> str:
    return str(error) or type(error).__name__
