"""Paths as the command line names them."""

from pathlib import Path

import pytest

from serving.source import absolute


def test_addresses_stay_and_paths_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("lake") == str(tmp_path / "lake")
    assert absolute("s3://bank/lake") == "s3://bank/lake"
