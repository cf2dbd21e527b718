"""Writing that survives a crash: content first, then the name."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Have the content of a file, or the names in a directory, on the disk before returning."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename(partial: Path, path: Path) -> None:
    """Give a written file its final name, replacing what had it; a reader sees the old content or the new, whole."""
    sync(partial)
    os.replace(partial, path)
    sync(path.parent)
