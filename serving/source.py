"""Paths as the command line names them."""

from pathlib import Path


def absolute(path: Path | str) -> str:
    """The path as a process with another working directory finds it; an address such as s3://… stays as it is."""
    text = str(path)
    return text if "://" in text else str(Path(text).absolute())
