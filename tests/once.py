"""What is slow to make and only read afterwards is made once for all workers of a run."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

KEPT = "RECSYS_TESTS_KEPT"
"""Environment variable with a folder in which what was made is kept for later runs, too (CONTRIBUTING.md)."""


def made_once(name: str, tmp_path_factory: pytest.TempPathFactory, make: Callable[[Path], Path]) -> Path:
    """The path that `make` returned, given a folder of its own; the first worker makes it, the others wait."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    if KEPT in os.environ:
        base = Path(os.environ[KEPT])
        base.mkdir(parents=True, exist_ok=True)
    folder, made = base / f"once-{name}", base / f"once-{name}.path"
    with (base / f"once-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            folder.mkdir()  # raises where another worker has failed already
            made.write_text(str(make(folder)))
    return Path(made.read_text())
