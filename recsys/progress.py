"""Progress of long work on standard error: a bar on a terminal, plain lines elsewhere."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what is being done)."""

EVERY = 5.0
"""Seconds between two lines."""


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """Yield a callable (done, total, what); nothing is drawn by work that never calls it."""
    if not sys.stderr.isatty():
        lines = _Lines(title)
        try:
            yield lines.report
        finally:
            lines.close()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total, what: bar.update(task, completed=done, total=total, description=f"{title}: {what}")


class _Lines:
    """Progress as lines, one in `EVERY` seconds at most: what is done by then, however long it goes on."""

    def __init__(self, title: str) -> None:
        self._title, self._stream = title, sys.stderr
        self._lock = threading.Lock()
        self._printed = time.monotonic()
        self._line = ""
        self._timer: threading.Timer | None = None

    def report(self, done: int, total: int, what: str) -> None:
        with self._lock:
            self._line = f"{self._title}: {done}/{total} {what}"
            if self._timer is not None:  # it tells the latest
                return
            left = self._printed + EVERY - time.monotonic()
            if left <= 0:
                self._print()
            else:
                self._timer = threading.Timer(left, self._late)
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        with self._lock:
            self._line = ""
            if self._timer is not None:
                self._timer.cancel()

    def _late(self) -> None:
        with self._lock:
            self._timer = None
            if self._line:
                self._print()

    def _print(self) -> None:
        print(self._line, file=self._stream, flush=True)
        self._line, self._printed = "", time.monotonic()
