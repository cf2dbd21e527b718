"""The registry of bundles: a directory with their copies and one file that says which is in force, and its history."""

import fcntl
import getpass
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from recsys.bundle import Bundle, verify
from recsys.bundle.manifest import MANIFEST, canonical_json, is_name
from recsys.durable import rename, sync
from recsys.errors import BundleError, ConfigError, DataError
from serving.registry_contents import Action, Bounds, Change, Contents, Entry, Trial, now

CONTENTS, LOCK, BUNDLES, WORKERS = "registry.json", ".lock", "bundles", "workers"
LOCK_SECONDS = 10.0
"""How long a change waits for another process that is making one."""


class Registry:
    """A registry on a disk that all workers see. Whoever may write the directory may change what is served."""

    def __init__(self, path: Path | str) -> None:
        """ConfigError unless there is a registry."""
        self.path = Path(path)
        if not (self.path / CONTENTS).is_file():
            raise ConfigError(
                f"{self.path}: no registry (a directory with {CONTENTS}); recsys registry create makes one"
            )

    @classmethod
    def create(cls, path: Path | str, two_person: bool = False) -> "Registry":
        """An empty registry in a new or empty directory."""
        root = Path(path)
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise ConfigError(f"{root}: there already, and not an empty directory; name a new one")
        for folder in (root / BUNDLES, root / WORKERS):
            folder.mkdir(parents=True)
        _write(root, Contents(two_person=two_person))
        return cls(root)

    def read(self) -> Contents:
        """What the registry says now, whole; DataError if the file is none of ours."""
        where = self.path / CONTENTS
        try:
            return Contents.model_validate_json(where.read_bytes())
        except OSError as error:
            raise DataError(f"{where}: cannot be read ({error.strerror})") from None
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            field = ".".join(map(str, first["loc"])) or "content"
            raise DataError(f"{where}: {field}: {first['msg']}; restore the file from a backup") from None

    def find(self, name: str) -> str:
        """The id of a bundle from its first digits; ConfigError if none or several begin so."""
        known = self.read().bundles
        found = [bundle_id for bundle_id in sorted(known) if bundle_id.startswith(name)] if name else []
        if len(found) != 1:
            there = ", ".join(sorted(known)) or "none; recsys registry add brings one"
            what = "no bundle has this id" if not found else "several bundles begin so"
            raise ConfigError(f"{name}: {what}; there are {there}")
        return found[0]

    def where(self, bundle_id: str) -> Path:
        """The directory of a bundle of the registry."""
        return self.path / self.read().bundles[bundle_id].path

    def load(self, bundle_id: str) -> Bundle:
        """The bundle, every file checked; BundleError if it is not the one that was added."""
        entry, path = self.read().bundles[bundle_id], self.where(bundle_id)
        bundle = Bundle.load(path)
        if bundle.bundle_id != bundle_id or _manifest_hash(path) != entry.manifest_sha256:
            raise BundleError(f"{path}: not the bundle {bundle_id} that was added; add it again from where it was made")
        return bundle

    def add(self, bundle: Path | str, *, by: str, why: str = "", refer: bool = False) -> str:
        """Verify a bundle and copy it in, or refer to where it lies; returns its id. Adding it again does nothing."""
        loaded = verified(bundle)
        known = self.read().bundles.get(loaded.bundle_id)
        if known is not None and _intact(self, loaded.bundle_id):
            return loaded.bundle_id
        path = str(loaded.path.absolute()) if refer else f"{BUNDLES}/{self._copied(loaded).name}"
        entry = Entry(path=path, manifest_sha256=_manifest_hash(loaded.path), verified=now())
        with self._changing() as before:
            bundles = {**before.bundles, loaded.bundle_id: entry}
            self._write(before.model_copy(update={"bundles": bundles}), "add", loaded.bundle_id, by, None, why)
        return loaded.bundle_id

    def promote(
        self, bundle_id: str, *, by: str, approved_by: str | None = None, why: str = "", trial: Trial | None = None
    ) -> None:
        """Put a bundle into force, verified here and now, or by the workers in this trial of it.

        BundleError if it does not verify or something else was put into force meanwhile; ConfigError unless allowed.
        """
        self.load(bundle_id)
        if trial is None:
            verified(self.where(bundle_id))
        with self._changing() as before:
            check_approval(before, by, approved_by)
            if trial is not None:
                check_trial(before, trial)
            if before.promoted == bundle_id:
                raise ConfigError(f"{bundle_id}: in force already")
            after = before.model_copy(update={"trial": None})
            self._write(after, "deploy" if trial else "promote", bundle_id, by, approved_by, why)

    def rollback(self, *, by: str, why: str = "") -> str:
        """Put back what was in force before; returns its id. Needs no approval: it was approved once."""
        with self._changing() as before:
            stack = before.in_force
            if len(stack) < 2:
                raise ConfigError(f"{self.path}: nothing was in force before; promote a bundle instead")
            self.load(stack[-2])
            self._write(before.model_copy(update={"trial": None}), "rollback", stack[-2], by, None, why)
        return stack[-2]

    def try_out(self, bundle_id: str, bounds: Bounds, seconds: float) -> Trial:
        """Ask every worker to try a bundle beside the running one."""
        with self._changing() as before:
            number = before.trials + 1
            trial = Trial(number=number, bundle_id=bundle_id, ends=time.time() + seconds, bounds=bounds)
            _write(self.path, before.model_copy(update={"trial": trial, "trials": number}))
        return trial

    def refuse(self, trial: Trial, *, by: str, why: str) -> None:
        """End a trial without putting the candidate into force."""
        with self._changing() as before:
            if before.trial is not None and before.trial.number == trial.number:
                after = before.model_copy(update={"trial": None})
                self._write(after, "refuse", trial.bundle_id, by, None, why[:2000])

    def _copied(self, bundle: Bundle) -> Path:
        name = bundle.path.resolve().name
        if not is_name(name) or not name.endswith(bundle.bundle_id):
            name = f"bundle-{bundle.bundle_id}"
        final = self.path / BUNDLES / name
        draft = final.with_name(f".{name}.{uuid.uuid4().hex[:8]}")
        try:
            shutil.copytree(bundle.path, draft)
            for path in (*draft.rglob("*"), draft):
                sync(path)
            Bundle.load(draft)
            if final.exists():  # damaged, or copied by a run that was killed before it wrote the registry
                shutil.rmtree(final)
            draft.rename(final)
            sync(final.parent)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return final

    def _write(
        self, after: Contents, action: Action, bundle_id: str, by: str, approved_by: str | None, why: str
    ) -> None:
        previous = after.promoted
        change = {"at": now(), "action": action, "bundle_id": bundle_id, "previous": previous}
        try:
            line = Change.model_validate({**change, "by": by, "approved_by": approved_by, "why": why})
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            raise ConfigError(f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg']}") from None
        _write(self.path, after.model_copy(update={"history": (*after.history, line)}))

    @contextmanager
    def _changing(self) -> Iterator[Contents]:
        """What the registry says, while no other process can change it."""
        with locked(self.path / LOCK, LOCK_SECONDS, "another process is changing the registry; try again"):
            yield self.read()


@contextmanager
def locked(path: Path, seconds: float, otherwise: str) -> Iterator[None]:
    """Hold a lock that the system takes back when its process dies; DataError if it is not free in time."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        until = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise DataError(f"{path.parent}: {otherwise}") from None
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def verified(path: Path | str) -> Bundle:
    """The bundle, if its stored answers are repeated here; BundleError naming the first check that fails."""
    failed = [check for check in verify(path) if not check.ok]
    if failed:
        raise BundleError(f"{path}: does not verify: {failed[0].name}: {failed[0].detail}")
    return Bundle.load(path)


def check_trial(contents: Contents, trial: Trial) -> None:
    """BundleError if the trial has ended by another's hand."""
    if contents.trial is None or contents.trial.number != trial.number:
        raise BundleError(f"{trial.bundle_id}: refused: the registry was changed by somebody else during the trial")


def check_approval(contents: Contents, by: str, approved_by: str | None) -> None:
    """ConfigError unless somebody else approves, where the registry wants two."""
    if contents.two_person and approved_by in (None, by):
        raise ConfigError(f"--approved-by: this registry wants the name of somebody other than {by} who approves")


def who() -> str:
    """The account that runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _intact(registry: Registry, bundle_id: str) -> bool:
    try:
        registry.load(bundle_id)
    except BundleError:
        return False
    return True


def _manifest_hash(path: Path) -> str:
    return hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()


def _write(root: Path, contents: Contents) -> None:
    partial = root / f".{CONTENTS}.partial"  # one writer at a time: they hold the lock
    partial.write_bytes(canonical_json(contents.model_dump(mode="json", by_alias=True), indent=1))
    rename(partial, root / CONTENTS)
