"""Shipped files are found by name, and a wrong name is answered with the right ones."""

from pathlib import Path

import pytest

from recsys.errors import ConfigError
from recsys.shipped import find, names, shipped


def test_by_name_with_and_without_the_suffix() -> None:
    assert "zimnat_insurance_reco" in names("catalog")
    assert shipped("catalog", "zimnat_insurance_reco").read_text(encoding="utf-8")
    assert shipped("catalog", "s3rec_beauty.yaml") == shipped("catalog", "s3rec_beauty")
    assert shipped("configs", "demo").name == "demo.yaml"


def test_a_file_comes_before_a_shipped_name(tmp_path: Path) -> None:
    own = tmp_path / "demo.yaml"
    own.touch()
    assert find("configs", own) == own
    assert find("configs", "demo") == shipped("configs", "demo")


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(ConfigError, match="nothing: neither a file nor a shipped configuration; shipped are .*demo"):
        shipped("configs", "nothing")
    with pytest.raises(ConfigError, match="shipped catalog"):
        find("catalog", "no/such/file.yaml")
