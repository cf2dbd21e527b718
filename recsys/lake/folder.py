"""A lake in a local folder: replaced by rename, one writer at a time by a lock, synced before it is published."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from recsys.durable import rename, sync
from recsys.errors import LakeError
from recsys.lake.contract import TABLES
from recsys.lake.location import NAME, UNFINISHED, Claim, Content, DataFile, overtaken

_OWN = {*TABLES, UNFINISHED, f"{NAME}.tmp"}


class Folder:
    """A folder as a `Location`."""

    delta_options: dict[str, str] | None = None
    scan_options: dict[str, Any] = {}

    def __init__(self, path: Path) -> None:
        self.path = path
        wrong = sorted(set(str(path.resolve())) & set("[]^|\\%"))
        if wrong:  # the Delta library cannot open a table there
            raise LakeError(
                f"{path}: a lake cannot lie below a folder with {' '.join(wrong)} in its name; choose another"
            )

    def __str__(self) -> str:
        return str(self.path)

    def uri(self, *names: str) -> str:
        return os.path.join(self.path, *(name for name in names if name))

    def read(self, name: str) -> Content | None:
        path = self.path / name
        if not path.is_file():
            return None
        try:
            data = path.read_bytes()
        except OSError as error:
            raise LakeError(f"{path}: cannot be read: {error.strerror}") from error
        return Content(data, sha256(data).hexdigest())

    def replace(self, name: str, data: bytes, tag: str | None) -> str:
        held = self.read(name)
        if (held.tag if held else None) != tag:
            raise overtaken(self)
        temporary = self.path / f"{name}.tmp"
        temporary.write_bytes(data)
        rename(temporary, self.path / name)
        return sha256(data).hexdigest()

    def absent(self) -> str:
        if not self.path.exists():
            return "no such lake; make one with `recsys data import` or `recsys data synth`"
        if (self.path / UNFINISHED).exists():
            return "half written, its import did not end; import again to the same folder, which starts over"
        return f"not a lake, it has no {NAME}; a lake is a folder made by `recsys data import` or `data synth`"

    def claim(self) -> Claim:
        path = self.path
        if path.exists() and not path.is_dir():
            raise LakeError(f"{path}: is a file; name a new or an empty folder")
        if (path / NAME).exists():
            raise LakeError(f"{path}: is a lake already; name another folder, or remove this one first")
        made = not path.exists()
        entries: set[str] = set() if made else {entry.name for entry in path.iterdir()}
        if entries and (UNFINISHED not in entries or not entries <= _OWN):
            foreign = sorted(set(entries) - _OWN) or sorted(entries)
            raise LakeError(
                f"{path}: is not empty and no unfinished lake (holds {foreign[0]}); name a new or an empty folder"
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
            marker = _mark(path / UNFINISHED)
            _remove_tables(path)
        except OSError as error:
            raise LakeError(f"{path}: cannot be written: {error.strerror}") from error
        return Claim("", lambda published: self._release(marker, made, published))

    def _release(self, marker: IO[str], made: bool, published: bool) -> None:
        if not published:
            _remove_tables(self.path)
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.path / UNFINISHED)
        marker.close()
        if not published and made:
            with contextlib.suppress(OSError):
                self.path.rmdir()

    def hold(self) -> Callable[[], None]:
        lock = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise overtaken(self) from None
        except OSError:
            pass  # a file system without locks: two writers at once are then told apart by their commits alone
        return lambda: os.close(lock)

    def sync(self, table: str, files: Collection[str]) -> None:
        folder = self.path / table
        written, log = [folder / file for file in files], folder / "_delta_log"
        for path in (*written, *{path.parent for path in written}, *log.glob("*.json"), log, folder):
            sync(path)

    def files(self, table: str) -> Iterator[DataFile]:
        folder = self.path / table
        for path in folder.rglob("*.parquet"):
            relative, about = path.relative_to(folder), path.stat()
            if "_delta_log" not in relative.parts:
                yield DataFile(str(relative), about.st_size, datetime.fromtimestamp(about.st_mtime, UTC))

    def unused_before(self) -> datetime:
        return datetime.max.replace(tzinfo=UTC)  # the lock shuts every other writer out

    def remove(self, table: str, files: Iterable[str]) -> None:
        for file in files:
            (self.path / table / file).unlink()

    @contextlib.contextmanager
    def drafting(self) -> Iterator[Path]:
        draft = Path(f"{self.path}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            yield draft
            shutil.rmtree(self.path, ignore_errors=True)
            draft.rename(self.path)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def said(self, error: BaseException) -> str:
        return str(error)


def _mark(path: Path) -> IO[str]:
    """Write the marker and lock it."""
    marker = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        marker.close()
        raise LakeError(
            f"{path.parent}: another import is writing it at this moment; wait, or name another folder"
        ) from None
    except OSError:
        pass  # a file system without locks: two writers at once are then not told apart
    marker.seek(0)
    marker.truncate()
    marker.write("This lake is being written, or its import was stopped. Importing again to this folder starts over.\n")
    marker.flush()
    return marker


def _remove_tables(path: Path) -> None:
    for name in _OWN - {UNFINISHED}:
        target = path / name
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
