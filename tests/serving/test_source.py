"""Days and paths as the command line names them."""

from datetime import date
from pathlib import Path

import pytest

from recsys.errors import ConfigError
from serving.source import absolute, parse_day


def test_a_day_is_written_in_one_way() -> None:
    assert parse_day("2025-01-31") == date(2025, 1, 31)
    assert parse_day(None) is None
    for text in ("31/01/2025", "2025-02-30", "yesterday", ""):
        with pytest.raises(ConfigError, match="YYYY-MM-DD"):
            parse_day(text)


def test_addresses_stay_and_paths_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("lake") == str(tmp_path / "lake")
    assert absolute("s3://bank/lake") == "s3://bank/lake"
