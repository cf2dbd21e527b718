"""Processors that a process may use, from invented control groups."""

import os
from pathlib import Path

import pytest

from serving.processors import processors


def groups(tmp_path: Path, own: str, **quotas: str) -> tuple[Path, Path]:
    for folder, words in quotas.items():
        place = tmp_path / "cgroup" / folder.replace("__", "/").replace("root", "")
        place.mkdir(parents=True, exist_ok=True)
        (place / "cpu.max").write_text(words)
    membership = tmp_path / "self"
    membership.write_text(f"0::{own}\n")
    return tmp_path / "cgroup", membership


@pytest.mark.parametrize(
    ("own", "quotas", "wanted"),
    [
        ("/", {"root": "max 100000\n"}, 8),
        ("/", {"root": "200000 100000\n"}, 2),
        ("/", {"root": "150000 100000\n"}, 2),
        ("/", {"root": "20000 100000\n"}, 1),
        ("/pods/one", {"pods": "300000 100000", "pods__one": "max 100000"}, 3),
        ("/pods/one", {"pods": "max 100000", "pods__one": "400000 100000"}, 4),
        ("/../other", {"root": "max 100000"}, 8),
    ],
)
def test_the_smallest_share_above_a_process_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, quotas: dict[str, str], wanted: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    assert processors(*groups(tmp_path, own, **quotas)) == wanted


def test_affinity_counts_and_so_does_the_quota_of_the_first_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5})
    assert processors(tmp_path / "nothing", tmp_path / "nowhere") == 3
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("200000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert processors(tmp_path, tmp_path / "nowhere") == 2
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert processors(tmp_path, tmp_path / "nowhere") == 3
