"""What the command line names: a day, a path."""

from datetime import date
from pathlib import Path

from recsys.errors import ConfigError


def parse_day(text: str | None, option: str = "--as-of") -> date | None:
    """The day of an option; ConfigError unless it is written YYYY-MM-DD."""
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{option} {text!r} is not a day; write it as YYYY-MM-DD, such as 2025-01-31") from None


def absolute(path: Path | str) -> str:
    """The path as a process with another working directory finds it; an address such as s3://… stays as it is."""
    text = str(path)
    return text if "://" in text else str(Path(text).absolute())
