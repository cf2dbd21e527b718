"""Killing workers and the server under write load: is an acknowledged event lost or counted twice, when is it back?"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import sqlalchemy as sa

from recsys.lake.store import Lake
from recsys.progress import Progress
from serving.store import Store, schema
from serving.store.customer import known_of
from serving.store.load import load

WRITERS = 4
BACK_SECONDS = 10.0
"""The most that a caller may wait for the first answer after a kill."""
SECONDS_BETWEEN = 1.0


@dataclass
class Service:
    """`recsys serve` on a store, started again on the same port after it was killed."""

    bundle: Path
    store: str
    port: int
    folder: Path
    workers: int = 2
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Begin; does not wait until it answers."""
        command = [sys.executable, "-P", "-m", "recsys", "serve", str(self.bundle), "--store", self.store]
        command += ["--port", str(self.port), "--workers", str(self.workers), "--drain", "0"]
        alone = {**os.environ, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, env=alone, stdout=log, stderr=log)

    def await_answer(self, seconds: float = 90) -> None:
        """Return when a question is answered."""
        deadline = time.monotonic() + seconds
        client = httpx.Client(timeout=5, verify=False, trust_env=False)
        while time.monotonic() < deadline:
            try:
                if client.get(f"{self.url}/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"no answer after {seconds:g} s:\n{(self.folder / 'server.log').read_text()[-4000:]}")

    def kill_worker(self, draw: random.Random) -> None:
        """kill -9 one of the processes that answer."""
        assert self.process is not None
        workers = [child for child in psutil.Process(self.process.pid).children() if _answers(child)]
        os.kill(draw.choice(workers).pid, signal.SIGKILL)

    def kill_all_at_once(self) -> None:
        """kill -9 the parent: its workers go with it."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM, and the end."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)


def _answers(child: psutil.Process) -> bool:
    try:
        return any("worker" in word for word in child.cmdline())
    except psutil.Error:
        return False


@dataclass
class Load:
    """Writers that send every event again until it is acknowledged, as the documentation asks callers to."""

    url: str
    customers: list[str]
    at: str
    acknowledged: Counter[str] = field(default_factory=Counter)
    """Events by customer."""
    ids: set[str] = field(default_factory=set)
    sent_again: int = 0
    refused: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Write until the block ends; then what was begun is finished."""
        threads = [threading.Thread(target=self._write, args=(number,)) for number in range(WRITERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(120)

    def _write(self, writer: int) -> None:
        number = 0
        client = httpx.Client(timeout=10, verify=False, trust_env=False)
        while not self._stop.is_set():
            customer = self.customers[(number * WRITERS + writer) % len(self.customers)]
            event_id = f"chaos-{writer}-{number}"
            row = {"event_id": event_id, "customer_id": customer, "at": self.at, "amount": -100}
            status = self._until_acknowledged(client, {"transactions": [row]})
            with self._lock:
                if status in ("new", "repeated"):
                    self.acknowledged[customer] += 1
                    self.ids.add(event_id)
                else:
                    self.refused.append(status)
            number += 1

    def _until_acknowledged(self, client: httpx.Client, body: dict[str, Any]) -> str:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                answer = client.post(f"{self.url}/events", json=body)
                if answer.status_code == 200:
                    return str(answer.json()["results"]["transactions"][0]["status"])
                if answer.status_code not in (429, 503):
                    return answer.text
            except httpx.TransportError:
                pass
            with self._lock:
                self.sent_again += 1
            time.sleep(0.05)
        return "not acknowledged within 90 s"


@dataclass(frozen=True)
class Outcome:
    """What the cycles came to."""

    cycles: int
    acknowledged: int
    sent_again: int
    lost: int
    counted_twice: int
    refused: list[str]
    back_after_worker: list[float]
    """Seconds from the kill to the next answer."""
    back_after_all: list[float]


def run(service: Service, lake: Lake, cycles: int, progress: Progress, seed: int = 0) -> Outcome:
    """Kill a worker and the whole server in turn under write load, then count every event in the store."""
    draw = random.Random(seed)
    customers = lake.read("customers")["customer_id"].unique().sort().to_list()[:50]
    assert lake.last_event is not None
    writes = Load(service.url, customers, f"{lake.last_event.isoformat()}T12:00:00")
    before = _counted(service.store, customers)
    after_worker: list[float] = []
    after_all: list[float] = []
    service.start()
    service.await_answer()
    try:
        with writes.running():
            for cycle in range(cycles):
                progress(cycle, cycles, "kills")
                time.sleep(SECONDS_BETWEEN * (0.5 + draw.random()))
                began = time.monotonic()
                if cycle % 2:
                    service.kill_all_at_once()
                    service.start()
                else:
                    service.kill_worker(draw)
                service.await_answer()
                (after_all if cycle % 2 else after_worker).append(time.monotonic() - began)
    finally:
        service.stop()
    lost, twice = _judged(service.store, writes, before)
    counts = sum(writes.acknowledged.values()), writes.sent_again
    return Outcome(cycles, *counts, lost, twice, writes.refused, after_worker, after_all)


def _counted(name: str, customers: list[str]) -> dict[str, int]:
    """How many transactions are told of each customer."""
    store = Store.open(name)
    told = {i: known_of(store, i) for i in customers}
    store.close()
    return {i: len(known["rows"].get("transactions", ())) if known else 0 for i, known in told.items()}


def _judged(name: str, writes: Load, before: dict[str, int]) -> tuple[int, int]:
    """Acknowledged events that are not there, and events beyond those that were acknowledged."""
    store = Store.open(name)
    with store.reads() as connection:
        there = set(connection.execute(sa.select(schema.events.c.event_id)).scalars())
    store.close()
    after = _counted(name, list(before))
    beyond = sum(max(0, after[i] - before[i] - writes.acknowledged[i]) for i in before)
    return len(writes.ids - there), beyond


def main() -> None:
    from benchmarks.measure import arguments, synthetic_bank, trained, write
    from recsys.progress import progress_bar
    from tests.ports import free_port

    parser = arguments(__doc__ or "")
    parser.add_argument("--cycles", type=int, default=50)
    parser.add_argument("--customers", type=int, default=1000)
    parser.add_argument("--store", help="PostgreSQL by URL; a new file of SQLite if not given")
    options = parser.parse_args()
    lake = synthetic_bank(options.customers, 0, options.work)
    quick = ["adoption=null", "churn=null", "embedding=null", "segments=null", "training.epochs=1", *options.set]
    bundle = trained("demo", lake, options.work, quick)
    folder = options.work / "chaos"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("state.db*"):
        path.unlink()
    store = options.store or str(folder / "state.db")
    with progress_bar("Chaos") as progress:
        load(str(bundle.path), lake.path, store, progress=progress)
        found = run(Service(bundle.path, store, free_port(), folder), lake, options.cycles, progress)
    kind = "PostgreSQL" if options.store else "SQLite"
    write("chaos", "Killed under write load", _text(found, kind), vars(found))


def _text(found: Outcome, kind: str) -> str:
    def line(times: list[float]) -> str:
        times = sorted(times) or [0.0]
        return f"{times[len(times) // 2]:.1f} s | {times[-1]:.1f} s"

    return "\n".join(
        [
            f"`recsys serve` with two workers on {kind}; {WRITERS} writers send one event each and send it again until "
            f"it is acknowledged. {found.cycles} times a worker or the whole server is killed (`kill -9`) in turn; the "
            "benchmark starts the server again, the server a worker. Then every event is counted.\n",
            "| | |",
            "|---|---|",
            f"| events acknowledged | {found.acknowledged:,} |",
            f"| requests sent again | {found.sent_again:,} |",
            f"| acknowledged events lost | {found.lost} |",
            f"| events counted twice | {found.counted_twice} |",
            f"| refused | {len(found.refused)} |\n",
            "| back after | p50 | longest |",
            "|---|---|---|",
            f"| a worker | {line(found.back_after_worker)} |",
            f"| the whole server | {line(found.back_after_all)} |\n",
            f"To be kept: nothing lost, nothing twice, back within {BACK_SECONDS:g} s.",
        ]
    )


if __name__ == "__main__":
    main()
