"""What tests of several parts share: the public data sets, and one small bank with a bundle trained on it."""

import functools
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from recsys.bundle import Bundle, write_bundle
from tests.lake.postgres_server import Server, programs, running
from tests.once import made_once

ROOT = Path(__file__).resolve().parent.parent

LONGEST_FIRST = [
    "tests/test_serving_environment.py",
    "tests/training/test_fit.py",
    "tests/test_end_to_end.py",
    "notebooks/walkthrough.ipynb",
    "tests/lake/test_object_store.py",
    "tests/lake/test_update.py",
    "tests/training/test_backtest.py",
    "tests/training/test_tune.py",
    "tests/lake/test_append.py",
    "tests/test_wheel.py",
    "tests/training/test_given.py",
    "tests/training/test_adoption.py",
    "tests/training/test_tune_postgres.py",
    "tests/training/test_compare.py",
]
"""The files that take longest, one worker each: begun last, one of them would keep the others waiting for its end.

The first has an environment to install before it needs the small bank, which the second makes meanwhile.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {file: i for i, file in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.nodeid.split("::")[0], len(place)))


@pytest.fixture(scope="session", autouse=True)
def operators_built_once() -> None:
    """torch builds its table of ONNX operators anew for every graph, a fifth of the time that an export takes."""
    if "training.export" in sys.modules:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        ONNXRegistry.from_torchlib = staticmethod(functools.cache(ONNXRegistry.from_torchlib))


@pytest.fixture(scope="session")
def datasets() -> Path:
    """The folder of public data sets beside the checkout; where it is absent a test skips, and in CI it fails."""
    folder = ROOT.parent / "shared" / "datasets"
    if not folder.is_dir():
        reason = f"needs the public data sets in {folder}"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


QUICK = ["--set", "threads=1", "--set", "training.epochs=1", "--set", "evaluation.snapshots=2"]
QUICK += ["--set", "adoption.epochs=1", "--set", "adoption.snapshots=6"]
QUICK += ["--set", "churn=null", "--set", "embedding=null", "--set", "segments=null"]
"""The demo's configuration without segments, trained for a moment."""


@dataclass(frozen=True)
class SmallBank:
    """A synthetic bank of a few hundred customers, and a bundle trained on it for a moment."""

    lake: Path
    bundle: Path


@pytest.fixture(scope="session")
def small_bank(tmp_path_factory: pytest.TempPathFactory) -> SmallBank:
    """Made by the command line, as a user would make it; tests read it and never write to it."""
    bundle = made_once("small_bank", tmp_path_factory, _make_small_bank)
    return SmallBank(bundle.parent.parent / "lake", bundle)


def _make_small_bank(folder: Path) -> Path:
    lake, out = str(folder / "lake"), str(folder / "bundles")
    called("data", "synth", lake, "--customers", "300", "--seed", "1", "--buckets", "2")
    return Path(called("train", "demo", "--lake", lake, "--out", out, *QUICK)[-1])


@pytest.fixture(scope="session")
def staying_bank(tmp_path_factory: pytest.TempPathFactory) -> SmallBank:
    """Customers with an account and a hazard of closing it, and a bundle that tells survival."""
    from tests.churn.staying import made_bundle

    bundle = made_once("staying_bank", tmp_path_factory, made_bundle)
    return SmallBank(bundle.parent.parent / "lake", bundle)


@pytest.fixture(scope="session")
def segmented_bank(tmp_path_factory: pytest.TempPathFactory) -> SmallBank:
    """A synthetic bank of 800 customers, and a bundle of an embedding and segments; made by the command line."""
    bundle = made_once("segmented_bank", tmp_path_factory, _make_segmented_bank)
    return SmallBank(bundle.parent.parent / "lake", bundle)


def _make_segmented_bank(folder: Path) -> Path:
    lake, out = str(folder / "lake"), str(folder / "bundles")
    parts = ["--set", "recommender=false", "--set", "adoption=null", "--set", "churn=null", "--set", "threads=1"]
    parts += ["--set", "embedding={autoencoder: {epochs: 2}, sequence: {epochs: 1}}"]
    parts += ["--set", "segments={algorithms: [k_means], most: 5, bootstraps: 2, smallest_share: 0.02}"]
    called("data", "synth", lake, "--customers", "800", "--seed", "3", "--buckets", "2")
    return Path(called("train", "demo", "--lake", lake, "--out", out, *parts)[-1])


def without_segments(bundle: Bundle, out: Path) -> Path:
    """The same bundle but for its segments."""
    parts = {name: bundle.part(name) for name in bundle.contents.parts if name != "segments"}
    lake, hashed = bundle.manifest["lake"], bundle.contents.feature_hash
    return write_bundle(out, "without", parts, lake=lake, feature_hash=hashed, seconds={}).path


@pytest.fixture(scope="session")
def card_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle without a recommender, of customers who are three kinds of numbers and a category; lake beside it."""
    return made_once("card_bundle", tmp_path_factory, _make_card_bundle)


def _make_card_bundle(folder: Path) -> Path:
    from tests.card_customers import card_config, customers, write_lake
    from training.fit import train

    lake = write_lake(folder / "lake", customers())
    return train(card_config(), lake, folder / "bundles", lambda done, total, what: None)


@pytest.fixture(scope="session")
def whole_bank(tmp_path_factory: pytest.TempPathFactory) -> SmallBank:
    """A recommender beside an embedding of attributes, tags, holdings and histories, and segments; no adoption."""
    bundle = made_once("whole_bank", tmp_path_factory, _make_whole_bank)
    return SmallBank(bundle.parent.parent / "lake", bundle)


WHOLE = [
    "evaluation.protocol=hold_one_out",
    "training.epochs=1",
    "threads=1",
    "adoption=null",
    "churn=null",
    "embedding.autoencoder={dim: 6, hidden: 16, epochs: 2, batch_size: 128}",
    "embedding.sequence={dim: 4, hidden: 8, epochs: 2, batch_size: 128}",
    "embedding.unusual_share=0.05",
    "segments={algorithms: [k_means], fewest: 3, most: 4, bootstraps: 2}",
]


def _make_whole_bank(folder: Path) -> Path:
    from tests.serving.small_bank import write_small_lake
    from training.config import load_config
    from training.fit import train

    lake = write_small_lake(folder / "lake")
    return train(load_config("demo", WHOLE), lake, folder / "bundles", lambda done, total, what: None)


def called(*words: str) -> list[str]:
    """The lines that a command printed, which must have ended well."""
    from typer.testing import CliRunner

    from recsys.__main__ import application

    result = CliRunner().invoke(application(list(words)), list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A real PostgreSQL; where its programs are absent a test skips, and in CI it fails."""
    where = programs()
    if where is None:
        reason = "needs PostgreSQL's programs (Debian: apt-get install postgresql)"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(reason)
        pytest.skip(reason)
    # Not below pytest's own folder: the server runs as a user who may not look into it.
    with tempfile.TemporaryDirectory(prefix="recsys-postgres-") as folder:
        os.chmod(folder, 0o755)
        with running(Path(folder) / "server", where) as found:
            yield found
