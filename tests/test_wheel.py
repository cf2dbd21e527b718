"""The built wheel works from an empty directory, even beside files of the same names as its packages."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import SmallBank

ROOT = Path(__file__).resolve().parent.parent
DECOY = 'raise SystemExit("a decoy was imported")\n'


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    (built,) = out.glob("recsys-*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The executables of an environment that holds the wheel; dependencies are read from ours, the checkout is not."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=True)
    executables = home / "bin"
    packages = sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)})
    (Path(packages) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(executables / "python")]
    install = [*pip, "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed", str(wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=120)
    return executables


@pytest.fixture
def beside_decoys(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    for name in ("data/__init__.py", "training.py", "serving.py", "tests.py"):
        (tmp_path / name).write_text(DECOY)
    return tmp_path


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, timeout=300)


@pytest.fixture
def recsys(environment: Path) -> list[str]:
    return [str(environment / "python"), "-m", "recsys"]  # puts the current directory, so the decoys, first


def test_the_wheel_holds_the_three_packages_and_the_shipped_files(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"recsys", "training", "serving"}
    for folder, shipped in (("data/catalog", "catalog"), ("configs", "configs")):
        files = {path.name for path in (ROOT / folder).glob("*.yaml")}
        assert files
        assert files <= {Path(name).name for name in names if name.startswith(f"recsys/_shipped/{shipped}/")}
    forms = {str(path.relative_to(ROOT)) for path in (ROOT / "serving" / "store" / "migrations").rglob("*.py")}
    assert len(forms) > 1 and forms <= set(names)


def test_the_code_comes_from_the_wheel(environment: Path, tmp_path: Path) -> None:
    program = "import recsys, training, serving; print(recsys.__file__, training.__file__, serving.__file__)"
    files = run([str(environment / "python"), "-c", program], tmp_path).stdout.split()
    assert len(files) == 3
    assert all(Path(file).is_relative_to(environment.parent) for file in files)


@pytest.mark.parametrize("words", ["train", "serve", "data import"])
def test_verbs_of_every_package_are_found_beside_decoys(
    recsys: list[str], environment: Path, beside_decoys: Path, words: str
) -> None:
    for way in (recsys, [str(environment / "recsys")]):
        result = run([*way, *words.split(), "--help"], beside_decoys)
        assert result.returncode == 0, result.stderr
        assert f"Usage: recsys {words}" in result.stdout


def test_a_shipped_configuration_and_catalog_are_found_by_name(recsys: list[str], beside_decoys: Path) -> None:
    result = run([*recsys, "check", "demo", "--lake", "no_lake_here"], beside_decoys)
    assert result.returncode == 1
    assert "no_lake_here" in result.stderr
    result = run([*recsys, "data", "import", "zimnat_insurance_reco", "out", "--root", "no_root_here"], beside_decoys)
    assert result.returncode == 1
    assert "no_root_here" in result.stderr
    assert not (beside_decoys / "out").exists()


def test_an_unknown_name_is_answered_with_the_shipped_ones(recsys: list[str], beside_decoys: Path) -> None:
    result = run([*recsys, "check", "demmo", "--lake", "no_lake_here"], beside_decoys)
    assert result.returncode == 2
    assert "demo" in result.stderr.replace("demmo", "")


def test_a_bundle_scores_beside_decoys(recsys: list[str], beside_decoys: Path, small_bank: SmallBank) -> None:
    result = run([*recsys, "verify", str(small_bank.bundle)], beside_decoys)
    assert result.returncode == 0, result.stdout + result.stderr
    result = run([*recsys, "score", str(small_bank.bundle), str(small_bank.lake), "scores"], beside_decoys)
    assert result.returncode == 0, result.stderr
    assert (beside_decoys / "scores" / "manifest.json").exists()
