"""The steps that make the serving image, carried out in a fresh virtual environment: it answers without torch."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from recsys.lake.store import Lake
from tests.conftest import SmallBank
from tests.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
ABSENT = ("torch", "lightning", "pytorch_lightning", "optuna", "implicit", "sklearn", "duckdb", "onnx")


def first_stage() -> list[tuple[str, str]]:
    """(instruction, rest of the line) of the Dockerfile's first stage, continuation lines joined."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    stages = [i for i, line in enumerate(lines) if line.startswith("FROM ")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines[stages[0] + 1 : stages[1]]]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of executables that the first stage of the Dockerfile makes."""
    source = tmp_path_factory.mktemp("source")
    home = tmp_path_factory.mktemp("serving") / "environment"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, "ENVIRONMENT": str(home)}
    variables["PIP_NO_COMPILE"] = "0"  # pip's way to say --no-compile: what is imported here is compiled then
    for instruction, rest in first_stage():
        if instruction == "COPY":
            *sources, target = shlex.split(rest)
            for name in sources:
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                copy(ROOT / name, source / target)
        elif instruction == "RUN":
            subprocess.run(["sh", "-ec", rest], cwd=source, env=variables, check=True, timeout=400)
        else:
            assert instruction in ("ENV", "WORKDIR"), (
                f"the Dockerfile's first stage has a {instruction} that is not tried"
            )
    return home / "bin"


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, timeout=300)


def test_nothing_of_training_is_installed(environment: Path, tmp_path: Path) -> None:
    program = f"import importlib.util as u; print([name for name in {ABSENT!r} if u.find_spec(name)])"
    assert run([str(environment / "python"), "-c", program], tmp_path).stdout.strip() == "[]"


def test_the_service_and_the_commands_import(environment: Path, tmp_path: Path) -> None:
    result = run([str(environment / "python"), "-c", "import serving.service, serving.score; print('ready')"], tmp_path)
    assert result.stdout.strip().endswith("ready"), result.stderr
    for words in (["--help"], ["serve", "--help"], ["score", "--help"]):
        assert run([str(environment / "recsys"), *words], tmp_path).returncode == 0


def test_a_bundle_is_verified_and_scores_every_customer(
    environment: Path, tmp_path: Path, small_bank: SmallBank
) -> None:
    result = run([str(environment / "recsys"), "verify", str(small_bank.bundle)], tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    result = run([str(environment / "recsys"), "score", str(small_bank.bundle), str(small_bank.lake), "out"], tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "manifest.json").exists()


def test_the_service_answers_over_http(environment: Path, tmp_path: Path, small_bank: SmallBank) -> None:
    customer = Lake.open(small_bank.lake).read("customers")["customer_id"].sort()[0]
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [str(environment / "recsys"), "serve", str(small_bank.bundle), "--lake", str(small_bank.lake)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--port", str(port)], cwd=tmp_path, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while not ready(f"{url}/readyz"):
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
        answer = httpx.post(f"{url}/recommend", json={"customer_id": customer, "k": 3}, timeout=60)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert answer.status_code == 200
    assert [item["rank"] for item in answer.json()["items"]] == [1, 2, 3]


def ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=60).status_code == 200
    except httpx.TransportError:
        return False


def test_training_there_names_the_extra_that_brings_it(
    environment: Path, tmp_path: Path, small_bank: SmallBank
) -> None:
    result = run([str(environment / "recsys"), "train", "demo", "--lake", str(small_bank.lake)], tmp_path)
    assert result.returncode == 2
    assert "recsys[train]" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_image_runs_as_nobody_and_is_asked_for_its_health() -> None:
    text = (ROOT / "Dockerfile").read_text()
    last_stage = text[text.rindex("\nFROM ") :]
    assert re.search(r"^USER (?!0|root)\d+", last_stage, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK .*\n.*/healthz", last_stage, re.MULTILINE)
    assert "RUN" not in last_stage
