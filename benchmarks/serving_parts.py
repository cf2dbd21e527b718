"""What the parts of the serving benchmark share: lakes and bundles, running servers, their memory and stage times."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks.measure import ROOT, synthetic_bank, trained
from benchmarks.scoring import SETTINGS, catalogue
from recsys.bundle import Bundle, write_bundle
from recsys.lake.store import Lake
from tests.ports import free_port

PRODUCTS = 1000
TOP = 10
BUCKETS = 4


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def workers(self) -> list[psutil.Process]:
        """The processes that answer."""
        return psutil.Process(self.process.pid).children()

    def memory_mib(self) -> float:
        """Resident memory of all workers."""
        return sum(float(worker.memory_info().rss) for worker in self.workers) / 2**20


@contextmanager
def running(*command: str, port: int, ready: str = "/readyz") -> Iterator[Running]:
    """Run `python -m …` until the block ends; its log goes to a temporary file."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    with tempfile.NamedTemporaryFile(prefix="serving-", suffix=".log") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            _await(f"http://127.0.0.1:{port}{ready}", process, Path(log.name))
            yield Running(port, process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(120)


def ours(*options: str, workers: int) -> Any:
    """`recsys serve` with these options."""
    port = free_port()
    words = ("recsys", "serve", "--port", str(port), "--workers", str(workers), "--drain", "0", *options)
    return running(*words, port=port)


def empty(workers: int) -> Any:
    """The empty BentoML endpoint."""
    port = free_port()
    return running("benchmarks.empty_service", str(port), str(workers), port=port)


def _await(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 180) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        try:
            if urllib.request.urlopen(url, timeout=5).status == 200:
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"no answer at {url}:\n{log.read_text(errors='replace')[-3000:]}")


def bank_of_products(work: Path, customers: int) -> tuple[Lake, Path]:
    """A lake with 1,000 products, and a bundle trained on it for one epoch: good enough to be timed."""
    return _made(catalogue(work, customers, PRODUCTS, BUCKETS), work, SETTINGS)


def whole_bank(work: Path, customers: int) -> tuple[Lake, Path]:
    """A synthetic bank and a bundle with every part that the demo has, trained for one epoch."""
    settings = ["training.epochs=1", "threads=2", "adoption.epochs=1"]
    return _made(synthetic_bank(customers, 0, work), work, settings)


def questions(count: int) -> list[bytes]:
    """One about each of the first customers of the lake with 1,000 products."""
    return [json.dumps({"customer_id": f"C{n:07d}", "k": TOP}).encode() for n in range(count)]


def _made(lake: Lake, work: Path, settings: list[str]) -> tuple[Lake, Path]:
    return lake, trained("demo", lake, work, settings).path


def another(bundle: Path, work: Path) -> Path:
    """The same model, told to recommend what is held, too: other lists under another id."""
    loaded = Bundle.load(bundle)
    parts = {name: loaded.part(name) for name in loaded.contents.parts}
    serving = {**loaded.config["serving"], "exclude_held": False}
    parts["features"]["config.yaml"] = yaml.safe_dump({**loaded.config, "serving": serving}).encode()
    lake, hashed = loaded.manifest["lake"], loaded.contents.feature_hash
    return write_bundle(work / "bundles", "holding", parts, lake=lake, feature_hash=hashed, seconds={}).path
