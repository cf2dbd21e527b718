"""Workers are started side by side, replaced when they die, and stopped together."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.serving.conftest import environment

SCRIPT = Path(__file__).with_name("supervised.py")


@contextmanager
def supervised(count: int, folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(SCRIPT), str(count), str(folder)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, env=environment(), text=True, **pipes)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def awaited(found: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < until
        time.sleep(0.02)


def pid(folder: Path, number: int) -> int:
    path = folder / f"pid-{number}"
    return int(path.read_text() or 0) if path.exists() else 0


def lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_killed_worker_is_replaced_while_the_other_goes_on_and_all_end_together(tmp_path: Path) -> None:
    with supervised(2, tmp_path) as process:
        awaited(lambda: pid(tmp_path, 1) and pid(tmp_path, 2))
        first, second = pid(tmp_path, 1), pid(tmp_path, 2)
        os.kill(first, signal.SIGKILL)
        awaited(lambda: pid(tmp_path, 1) not in (0, first))
        assert pid(tmp_path, 2) == second and lives(second)
        process.send_signal(signal.SIGTERM)
        said, told = process.communicate(timeout=30)
        assert process.returncode == 0
        assert said.split() in (["ready", "1"], ["ready", "2"]), "said once"
        assert told == "Worker 1: it ended by signal 9; started again now\n"
        assert not lives(pid(tmp_path, 1)) and not lives(second)


def test_what_stops_the_first_start_is_raised_with_its_words_and_exit_code(tmp_path: Path) -> None:
    (tmp_path / "fail-1").write_text("--rules x.yaml: there is no such file")
    with supervised(1, tmp_path) as process:
        told = process.communicate(timeout=60)[1]
    assert told == "2: --rules x.yaml: there is no such file\n"


def test_a_worker_that_cannot_start_any_more_is_tried_again_later_while_the_other_serves(tmp_path: Path) -> None:
    with supervised(2, tmp_path) as process:
        awaited(lambda: pid(tmp_path, 1) and pid(tmp_path, 2))
        (tmp_path / "fail-1").write_text("the disk is away")
        first, second = pid(tmp_path, 1), pid(tmp_path, 2)
        os.kill(first, signal.SIGKILL)
        assert process.stderr is not None
        assert process.stderr.readline() == "Worker 1: it ended by signal 9; started again now\n"
        assert process.stderr.readline() == "Worker 1: the disk is away; started again in 0.5 s\n"
        (tmp_path / "fail-1").unlink()
        awaited(lambda: pid(tmp_path, 1) not in (0, first))
        assert lives(second)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
