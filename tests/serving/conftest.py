"""A small bank, a bundle trained on it for a moment, and a way to run the service on a free port."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from recsys.bundle import Bundle, write_bundle
from recsys.lake.store import Lake
from serving.registry import Registry
from tests.once import made_once
from tests.ports import free_port
from tests.serving.small_bank import write_small_lake

ROOT = Path(__file__).resolve().parents[2]
RECSYS = (sys.executable, "-P", "-m", "recsys")


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained by the demo's configuration for one epoch: good enough to answer, not to be right."""
    return made_once("small_bundle", tmp_path_factory, _make_small_bundle)


@pytest.fixture(scope="session")
def small_lake(small_bundle: Path) -> Path:
    """What it was trained on."""
    return small_bundle.parent.parent / "lake"


def _make_small_bundle(folder: Path) -> Path:
    from training.config import load_config
    from training.fit import train

    write_small_lake(folder / "lake")
    quick = ["evaluation.protocol=hold_one_out", "training.epochs=1", "threads=1", "adoption=null"]
    quick += ["churn=null", "embedding=null", "segments=null"]
    lake = Lake.open(folder / "lake")
    return train(load_config("demo", quick), lake, folder / "bundles", lambda done, total, what: None)


@pytest.fixture(scope="session")
def holding_bundle(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model under another configuration, and so another bundle: it recommends what is held, too."""
    bundle = Bundle.load(small_bundle)
    parts = {name: bundle.part(name) for name in bundle.contents.parts}
    config = {**bundle.config, "serving": {"exclude_held": False}}
    parts["features"]["config.yaml"] = yaml.safe_dump(config).encode()
    out, lake = tmp_path_factory.mktemp("holding"), bundle.manifest["lake"]
    hashed = bundle.contents.feature_hash
    return write_bundle(out, "holding", parts, lake=lake, feature_hash=hashed, seconds={}).path


@pytest.fixture(scope="session")
def filled_registry(small_bundle: Path, holding_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with both bundles, none in force."""
    registry = Registry.create(tmp_path_factory.mktemp("filled") / "registry")
    for path in (small_bundle, holding_bundle):
        registry.add(path, by="ann")
    return registry.path


@pytest.fixture
def two(filled_registry: Path, small_bundle: Path, holding_bundle: Path, tmp_path: Path) -> tuple[Registry, str, str]:
    """A registry of the test's own, and the ids of the two bundles in it."""
    shutil.copytree(filled_registry, tmp_path / "two")
    registry = Registry(tmp_path / "two")
    return registry, Bundle.load(small_bundle).bundle_id, Bundle.load(holding_bundle).bundle_id


def environment() -> dict[str, str]:
    """The environment of a child process: it finds the packages, whatever its current directory."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "POLARS_MAX_THREADS": "1"}


@dataclass(frozen=True)
class Server:
    """A running service and what it has written."""

    url: str
    log: Path
    process: subprocess.Popen[bytes]

    def recommend(self, body: dict[str, object] | bytes, **headers: str) -> httpx.Response:
        return self.post("recommend", body, **headers)

    def post(self, path: str, body: dict[str, object] | bytes, **headers: str) -> httpx.Response:
        content = {"content": body} if isinstance(body, bytes) else {"json": body}
        sent = {"Content-Type": "application/json", **headers}
        return httpx.post(f"{self.url}/{path}", headers=sent, timeout=60, **content)  # type: ignore[arg-type]


@contextmanager
def serving(*options: Path | str, folder: Path, port: int | None = None) -> Iterator[Server]:
    """Run `recsys serve` in `folder` until the block ends; the first answer is awaited, and the end."""
    port = port or free_port()
    log = folder / "server.log"
    command = [*RECSYS, "serve", "--drain", "0", "--port", str(port), *map(str, options)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=output, stderr=subprocess.STDOUT)
    scheme = "https" if "--tls-cert" in options else "http"
    server = Server(f"{scheme}://127.0.0.1:{port}", log, process)
    try:
        _await_ready(server)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def _await_ready(server: Server, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert server.process.poll() is None, server.log.read_text()
        try:
            if httpx.get(f"{server.url}/readyz", timeout=60, verify=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"not ready after {seconds} s:\n{server.log.read_text()}")
