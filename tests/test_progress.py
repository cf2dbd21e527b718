"""Progress where there is no terminal: few lines, and none about what is over."""

import threading
import time

import pytest

from recsys import progress
from recsys.progress import progress_bar

Said = pytest.CaptureFixture[str]


def test_quick_work_says_nothing(capsys: Said) -> None:
    before = threading.active_count()
    with progress_bar("scoring") as report:
        for done in range(100):
            report(done, 100, "rows")
    deadline = time.monotonic() + 30
    while threading.active_count() > before:
        assert time.monotonic() < deadline, "nothing waits for what is over"
        time.sleep(0.01)
    assert capsys.readouterr().err == ""


def test_a_step_that_takes_long_is_told_though_nothing_follows_it(
    capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.2)
    with progress_bar("training") as report:
        report(0, 3, "reading")
        report(1, 3, "fitting")
        deadline = time.monotonic() + 30
        lines: list[str] = []
        while "training: 1/3 fitting" not in lines:
            assert time.monotonic() < deadline
            time.sleep(0.01)
            lines += capsys.readouterr().err.splitlines()


def test_lines_keep_their_distance(capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.2)
    began, count = time.monotonic(), 0
    with progress_bar("training") as report:
        while time.monotonic() < began + 1:
            report(count, 0, "steps")
            count += 1
        took = time.monotonic() - began
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= took / 0.2 + 1 < count
    assert len(set(lines)) == len(lines)


def test_no_distance_tells_everything(capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    with progress_bar("training") as report:
        report(1, 2, "first")
        report(2, 2, "second")
    assert capsys.readouterr().err == "training: 1/2 first\ntraining: 2/2 second\n"
