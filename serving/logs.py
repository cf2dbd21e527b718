"""What the service writes down: one line for each event, as text or JSON, without anything about a customer.

An exception is written as its type and place; its message may quote the data that caused it.
"""

import json
import logging
import os
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal

Format = Literal["text", "json"]
TOLD = "told"
"""Name of the extra field of a record that holds its facts by name."""


def place_of(error: BaseException) -> str:
    """Where an error was raised, innermost first, without its message."""
    return _frames(error.__traceback__)


def _frames(trace: TracebackType | None) -> str:
    found = traceback.extract_tb(trace)
    return " < ".join(f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in reversed(found))


def log_to_stderr(form: Format) -> None:
    """Have our loggers, BentoML's, uvicorn's and everyone else's write lines of one form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines(form))
    for name, level in (("", logging.WARNING), ("bentoml", logging.WARNING), ("recsys", logging.INFO)):
        found = logging.getLogger(name)
        found.handlers = [handler]
        found.setLevel(level)
        found.propagate = False
    for name in ("uvicorn.error", "circus", "uvicorn"):
        logging.getLogger(name).handlers = []


class Lines(logging.Formatter):
    """Records as lines: time in UTC, level, message, and the facts by name."""

    def __init__(self, form: Format) -> None:
        super().__init__()
        self._json = form == "json"

    def format(self, record: logging.LogRecord) -> str:
        """One line without its end."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        facts = dict(getattr(record, TOLD, None) or {})
        if record.exc_info and record.exc_info[0] is not None:
            facts |= {"error": record.exc_info[0].__name__, "place": _frames(record.exc_info[2])}
            message = str(record.msg)  # its arguments may be the error
        else:
            message = record.getMessage()
        message = message.replace("\n", " ")
        if self._json:
            line = {"at": at, "level": record.levelname.lower(), "event": message, **facts}
            return json.dumps(line, ensure_ascii=True, default=str)
        told = "".join(f" {name}={value}" for name, value in facts.items() if value is not None)
        return f"{at} {record.levelname} {message}{told}"
