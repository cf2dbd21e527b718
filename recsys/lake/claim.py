"""Makes sure that a new lake's folder is empty, or holds only what a killed writer left, and that one writer has it."""

import contextlib
import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from recsys.errors import LakeError
from recsys.lake.contract import TABLES
from recsys.lake.manifest import NAME, UNFINISHED

_OWN = {*TABLES, UNFINISHED, f"{NAME}.tmp"}


@dataclass(frozen=True)
class Claim:
    """A writer's hold on a folder."""

    marker: IO[str]
    made: bool
    """Whether the folder did not exist before."""


def claim(path: Path) -> Claim:
    """Take the folder for a new lake; LakeError if it is a lake already, holds something else, or is being written."""
    check_path(path)
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
        marker = _lock(path / UNFINISHED)
        _remove_tables(path)
    except OSError as error:
        raise LakeError(f"{path}: cannot be written: {error.strerror}") from error
    return Claim(marker, made)


def release(path: Path, held: Claim) -> None:
    """Give the folder up: without the marker if the lake is whole, else as it was found."""
    committed = (path / NAME).exists()
    if not committed:
        _remove_tables(path)
    with contextlib.suppress(FileNotFoundError):
        os.remove(path / UNFINISHED)
    held.marker.close()
    if not committed and held.made:
        with contextlib.suppress(OSError):
            path.rmdir()


def check_path(path: Path) -> None:
    """LakeError if the path has a character with which the Delta library cannot open a table."""
    wrong = sorted(set(str(path.resolve())) & set("[]^|\\%"))
    if wrong:
        raise LakeError(f"{path}: a lake cannot lie below a folder with {' '.join(wrong)} in its name; choose another")


def _lock(path: Path) -> IO[str]:
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
