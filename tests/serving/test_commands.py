"""The verbs that read a bundle, as they are typed."""

import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from recsys.__main__ import main
from tests.serving.conftest import RECSYS, environment


def recsys(*words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [*RECSYS, *map(str, words)]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=120)


def test_score_prints_where_the_scores_lie(small_bundle: Path, small_lake: Path, tmp_path: Path) -> None:
    first = recsys("score", small_bundle, small_lake, "out", "--top", 3, folder=tmp_path)
    assert (first.returncode, first.stdout) == (0, "out\n"), first.stderr
    assert "scored: 600 customers, 1,800 rows" in first.stderr
    again = recsys("score", small_bundle, small_lake, "out", "--top", 3, folder=tmp_path)
    assert (again.returncode, "already complete" in again.stderr) == (0, True)
    other = recsys("score", small_bundle, small_lake, "out", folder=tmp_path)
    assert (other.returncode, other.stderr) == (
        1,
        "error: out: belongs to another run (--top 3 there, 10 now); name another directory\n",
    )


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("score", "{bundle}", "nowhere", "out"), 1, "nowhere"),
        (("score", "nothing", "{lake}", "out"), 1, "no such bundle"),
        (("score", "{bundle}", "{lake}", "out", "--as-of", "today"), 2, "YYYY-MM-DD"),
        (("score", "{bundle}", "{lake}", "out", "--top", "0"), 2, "--top"),
        (("serve", "nothing"), 1, "no such bundle"),
        (("serve", "{bundle}", "--lake", "nowhere"), 1, "nowhere"),
        (("serve", "{bundle}", "--host", "localhost"), 2, "127.0.0.1"),
        (("serve", "{bundle}", "--port", "0"), 2, "port"),
        (("report", "nothing"), 1, "no such bundle"),
        (("verify", "nothing"), 1, "no such bundle"),
    ],
)
def test_mistakes_end_with_one_line_and_their_exit_code(
    small_bundle: Path,
    small_lake: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    code: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert leave([word.format(bundle=small_bundle, lake=small_lake) for word in words]) == code
    printed = capsys.readouterr()
    assert says in printed.err + printed.out


def leave(words: list[str]) -> int:
    """The exit code of a command carried out in this process."""
    with pytest.raises(SystemExit) as exit:
        main(words)
    return int(exit.value.code or 0)


def test_a_port_in_use_is_said_before_anything_starts(small_bundle: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = recsys("serve", small_bundle, "--port", taken.getsockname()[1], folder=tmp_path)
    assert result.returncode == 2
    assert "name another address or port" in result.stderr


def test_verify_tells_a_sound_bundle_from_an_altered_one(small_bundle: Path, tmp_path: Path) -> None:
    sound = recsys("verify", small_bundle, folder=tmp_path)
    assert sound.returncode == 0, sound.stdout
    assert "FAILED" not in sound.stdout
    shutil.copytree(small_bundle, tmp_path / "altered")
    table = tmp_path / "altered" / "recommender" / "products.npy"
    content = bytearray(table.read_bytes())
    content[-1] ^= 1
    table.write_bytes(content)
    altered = recsys("verify", "altered", folder=tmp_path)
    assert altered.returncode == 1
    assert re.search(r"^FAILED .*products\.npy", altered.stdout, re.MULTILINE)


@pytest.mark.parametrize("verb", ["verify", "score", "serve", "report"])
def test_help_says_what_each_verb_is_for(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert leave([verb, "--help"]) == 0
    assert len(capsys.readouterr().out) > 300
