"""What serving and the library may not import, seen from a running interpreter (the contracts see only the source)."""

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TRAINING_ONLY = (
    "torch",
    "lightning",
    "pytorch_lightning",
    "optuna",
    "implicit",
    "sklearn",
    "duckdb",
    "onnx",
    "onnxscript",
)


def modules_of(package: str) -> list[str]:
    return sorted(module.name for module in pkgutil.walk_packages([str(ROOT / package)], f"{package}."))


def imported_by(modules: list[str]) -> set[str]:
    """Names of all top-level modules that a fresh interpreter holds after importing `modules`."""
    program = f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
    program += "print('imported:', *sorted({name.split('.')[0] for name in sys.modules}))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.splitlines()[-1].split()[1:])


def test_serving_imports_nothing_of_training() -> None:
    modules = modules_of("serving")
    assert "serving.commands" in modules
    imported = imported_by(modules)
    assert "onnxruntime" in imported
    assert imported.isdisjoint(TRAINING_ONLY)
    assert "training" not in imported


def test_training_does_not_import_serving() -> None:
    imported = imported_by(modules_of("training"))
    assert "torch" in imported
    assert "serving" not in imported


def test_the_library_imports_neither_training_nor_serving() -> None:
    imported = imported_by([name for name in modules_of("recsys") if name != "recsys.__main__"])
    assert imported.isdisjoint({"training", "serving"})


@pytest.mark.parametrize("package", ["lake", "features", "bundle"])
def test_what_stands_below_the_models_does_not_import_torch(package: str) -> None:
    modules = [name for name in modules_of("recsys") if name.startswith(f"recsys.{package}")]
    assert len(modules) > 1
    assert imported_by(modules).isdisjoint({"torch", "pytorch_lightning", "implicit", "sklearn"})
