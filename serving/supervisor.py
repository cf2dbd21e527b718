"""The process above the workers: it starts them side by side, replaces one that dies, and passes the order to stop on.

It imports nothing that answers, so that its own start costs a tenth of a worker's, and it holds the listening socket:
callers who come while every worker is dead wait in the backlog instead of being refused.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from recsys.errors import RecsysError
from serving.orphan import die_with_parent

TOLD_TO = "RECSYS_TOLD_TO"
"""Environment variable of a worker: the pipe into which it says how its start went."""
BACK_OFF, LONGEST_BACK_OFF = 0.5, 10.0
"""Seconds before a worker that died at its start is started again, doubled each time; one that served: at once."""
STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
Said = Mapping[str, Any]


def say(**what: Any) -> None:
    """In a worker: tell the process above, once; nothing where there is none."""
    if (pipe := os.environ.pop(TOLD_TO, None)) is not None:
        os.write(int(pipe), json.dumps(what).encode() + b"\n")
        os.close(int(pipe))


@contextmanager
def start_told() -> Iterator[None]:
    """In a worker: what stops the start and is meant for a person is told above, and the process ends at once."""
    try:
        yield
    except (RecsysError, ModuleNotFoundError) as error:
        if TOLD_TO not in os.environ:
            raise
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        say(error=str(error), exit_code=getattr(error, "exit_code", 1), missing=missing)
        os._exit(getattr(error, "exit_code", 1))


@dataclass
class Worker:
    """A process, and what it has said about its start."""

    number: int
    process: "subprocess.Popen[bytes]"
    pipe: int
    said: bytes = b""
    ready: bool = False

    @property
    def message(self) -> Said:
        """What it said; empty while it has not."""
        found: Said = json.loads(self.said) if self.said.endswith(b"\n") else {}
        return found


class Supervisor:
    """`count` workers, each running `command(number)` in `folder` with the listening socket among its files."""

    def __init__(self, command: Callable[[int], Sequence[str]], count: int, listening: socket.socket, folder: Path):
        self._command, self._count, self._listening, self._folder = command, count, listening, folder
        self._workers: list[Worker] = []
        self._due: dict[int, float] = {}
        """Number of a worker that is to be started → when."""
        self._deaths = dict.fromkeys(range(1, count + 1), 0)
        """How often in a row a worker died before it was ready."""
        self._selector = selectors.DefaultSelector()
        self._served = False
        self._orders = 0
        self._ends = float("inf")

    def run(self, ready: Callable[[Said], None], grace: float) -> None:
        """Until a signal says stop and every worker has ended, killed after `grace` seconds.

        `ready` is called with what the first worker says of its start. Raises what stopped the first workers.
        """
        self._due = dict.fromkeys(range(1, self._count + 1), 0.0)
        with self._signals(grace):
            try:
                while self._workers or not self._orders:
                    self._start_due()
                    for key, _ in self._selector.select(self._wait()):
                        if key.data is None:
                            os.read(key.fd, 4096)
                        else:
                            self._listen(key.data, ready)
                    for worker in [worker for worker in self._workers if worker.process.poll() is not None]:
                        self._ended(worker, ready)
                    if time.monotonic() > self._ends:
                        self._send(signal.SIGKILL)
            finally:
                self._send(signal.SIGKILL)
                for worker in self._workers:
                    worker.process.wait()

    def _wait(self) -> float | None:
        times = [*(() if self._orders else self._due.values()), self._ends]
        nearest = min(times) - time.monotonic()
        return None if nearest == float("inf") else max(0.0, nearest)

    def _start_due(self) -> None:
        for number in [n for n, at in self._due.items() if at <= time.monotonic() and not self._orders]:
            del self._due[number]
            read, write = os.pipe()
            process = subprocess.Popen(
                self._command(number),
                cwd=self._folder,
                env={**os.environ, TOLD_TO: str(write)},
                pass_fds=(self._listening.fileno(), write),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C of a terminal comes here alone
                preexec_fn=partial(die_with_parent, os.getpid()),  # one thread here, so this is safe
            )
            os.close(write)
            self._workers.append(worker := Worker(number, process, read))
            self._selector.register(read, selectors.EVENT_READ, worker)

    def _listen(self, worker: Worker, ready: Callable[[Said], None]) -> None:
        content = os.read(worker.pipe, 65536)
        worker.said += content
        if not content:
            self._selector.unregister(worker.pipe)
            os.close(worker.pipe)
            worker.pipe = -1
        elif worker.message and "error" not in worker.message:
            worker.ready, self._deaths[worker.number] = True, 0
            if not self._served:
                self._served = True
                ready(worker.message)

    def _ended(self, worker: Worker, ready: Callable[[Said], None]) -> None:
        while worker.pipe >= 0:
            self._listen(worker, ready)
        self._workers.remove(worker)
        if self._orders:
            return
        if not self._served:
            raise _why(worker)
        status = worker.process.returncode
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        wait = 0.0
        if not worker.ready:
            self._deaths[worker.number] += 1
            wait = min(LONGEST_BACK_OFF, BACK_OFF * 2 ** (self._deaths[worker.number] - 1))
        why = worker.message.get("error", f"it ended {how}")
        then = f"in {wait:g} s" if wait else "now"
        print(f"Worker {worker.number}: {why}; started again {then}", file=sys.stderr, flush=True)
        self._due[worker.number] = time.monotonic() + wait

    def _send(self, number: int) -> None:
        for worker in self._workers:
            with contextlib.suppress(ProcessLookupError):
                worker.process.send_signal(number if worker.ready or number != signal.SIGINT else signal.SIGTERM)

    @contextmanager
    def _signals(self, grace: float) -> Iterator[None]:
        """Signals wake the loop; the first order to stop sets the end, each is passed on."""
        near, far = socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)

        def order(number: int, frame: FrameType | None) -> None:
            self._orders += 1
            self._ends = min(self._ends, time.monotonic() + grace)
            self._send(number if number != signal.SIGQUIT else signal.SIGTERM)

        before = {number: signal.signal(number, order) for number in STOP}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        old = signal.set_wakeup_fd(far.fileno(), warn_on_full_buffer=False)
        self._selector.register(near.fileno(), selectors.EVENT_READ, None)
        try:
            yield
        finally:
            signal.set_wakeup_fd(old)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._selector.close()
            near.close()
            far.close()


def _why(worker: Worker) -> Exception:
    """The error of a worker that could not start, as if it had been met here."""
    said = worker.message
    if said.get("missing"):
        return ModuleNotFoundError(said["error"], name=said["missing"])
    if "error" in said:
        error = RecsysError(said["error"])
        error.exit_code = said["exit_code"]
        return error
    return RecsysError(f"a worker ended with status {worker.process.returncode} before it was ready; it says why above")
