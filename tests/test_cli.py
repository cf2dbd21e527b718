"""The command line: what it prints, where, how fast, and the exit code it leaves with."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from recsys import __main__ as cli

RECSYS = [sys.executable, "-m", "recsys"]
ALL_VERBS = [[verb] for verb in cli.VERBS]
ALL_VERBS += [[group, verb] for group, (_, verbs) in cli.GROUPS.items() for verb in verbs]


def recsys(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RECSYS, *words], capture_output=True, text=True, timeout=120)


@pytest.fixture
def verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Verb":
    return Verb(tmp_path, monkeypatch)


class Verb:
    """A verb `act` whose module has the given source; calling it runs `recsys act` in this process."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.module = folder / "acting.py"
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, "acting", raising=False)
        monkeypatch.setattr(cli, "VERBS", {"act": ("acting:act", "Act."), "rest": ("nowhere_at_all:rest", "Rest.")})

    def __call__(self, source: str, *words: str) -> int:
        self.module.write_text(source)
        with pytest.raises(SystemExit) as left:
            cli.main(["act", *words])
        sys.modules.pop("acting", None)
        code = left.value.code
        return 0 if code is None else int(code)


def test_help_names_every_verb() -> None:
    result = recsys("--help")
    assert result.returncode == 0
    for verb in [*cli.VERBS, *cli.GROUPS]:
        assert f"\n  {verb} " in result.stdout


@pytest.mark.parametrize("group", cli.GROUPS)
def test_help_of_a_group_names_its_verbs(group: str) -> None:
    result = recsys(group, "--help")
    assert result.returncode == 0
    for verb in cli.GROUPS[group][1]:
        assert f"\n  {verb} " in result.stdout


@pytest.mark.parametrize("words", ALL_VERBS, ids=" ".join)
def test_every_verb_has_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main([*words, "--help"])
    assert left.value.code == 0
    assert f"Usage: recsys {' '.join(words)}" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--help"], ["data", "--help"]], ids=" ".join)
def test_help_imports_no_library_that_is_slow_to_import(words: list[str]) -> None:
    program = (
        "import sys\nfrom recsys.__main__ import main\n"
        f"try:\n    main({words!r})\nfinally:\n    print(*sorted({{n.split('.')[0] for n in sys.modules}}))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    imported = set(result.stdout.splitlines()[-1].split())
    assert "typer" in imported
    assert imported.isdisjoint(
        {"numpy", "polars", "torch", "deltalake", "onnxruntime", "bentoml", "training", "serving"}
    )


def test_the_installed_script_and_the_module_are_the_same_program() -> None:
    script = subprocess.run([Path(sys.executable).with_name("recsys"), "--help"], capture_output=True, text=True)
    assert script.returncode == 0
    assert script.stdout == recsys("--help").stdout


def test_no_verb_shows_help_and_is_a_usage_error() -> None:
    result = recsys()
    assert result.returncode == 2
    assert "Usage: recsys" in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["tran"], "train"),
        (["data", "imprt"], "import"),
        (["verify"], "BUNDLE"),
        (["verify", "b", "--colour"], "--colour"),
    ],
    ids=["unknown verb", "unknown verb of a group", "missing argument", "unknown option"],
)
def test_a_usage_error_names_what_is_wrong_and_exits_2(words: list[str], named: str) -> None:
    result = recsys(*words)
    assert result.returncode == 2
    assert named in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_only_the_module_of_the_called_verb_is_imported(verb: Verb, capsys: pytest.CaptureFixture[str]) -> None:
    assert verb("def act(times: int = 1):\n    print('acted', times)\n", "--times", "2") == 0
    assert capsys.readouterr().out == "acted 2\n"


@pytest.mark.parametrize(("kind", "code"), [("ConfigError", 2), ("DataError", 1), ("LakeError", 1), ("BundleError", 1)])
def test_an_error_for_the_reader_is_one_line_and_its_exit_code(
    verb: Verb, capsys: pytest.CaptureFixture[str], kind: str, code: int
) -> None:
    source = f"from recsys.errors import {kind}\ndef act():\n    raise {kind}('interactions.at: 3 rows of 9 are bad')\n"
    assert verb(source) == code
    output = capsys.readouterr()
    assert output.err == "error: interactions.at: 3 rows of 9 are bad\n"
    assert output.out == ""


def test_an_unexpected_exception_keeps_its_traceback(verb: Verb) -> None:
    verb.module.write_text("def act():\n    raise ZeroDivisionError('by nought')\n")
    with pytest.raises(ZeroDivisionError, match="by nought"):
        cli.main(["act"])


def test_a_package_of_an_extra_that_is_not_installed_names_the_extra(
    verb: Verb, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cli.EXTRA_OF, "package_of_training", "train")
    assert verb("import package_of_training.deep\ndef act(): ...\n") == 2
    assert "package_of_training" in (message := capsys.readouterr().err)
    assert "recsys[train]" in message


def test_any_other_missing_module_is_a_defect_and_keeps_its_traceback(verb: Verb) -> None:
    verb.module.write_text("import recsys.not_there\ndef act(): ...\n")
    with pytest.raises(ModuleNotFoundError, match="not_there"):
        cli.main(["act"])


@pytest.mark.parametrize(
    "source", ["raise KeyboardInterrupt\n", "def act():\n    raise KeyboardInterrupt\n"], ids=["importing", "running"]
)
def test_an_interrupt_exits_130_without_a_traceback(
    verb: Verb, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    assert verb(source) == 130
    assert capsys.readouterr().err == ""


def test_ctrl_c_at_a_running_process_exits_130(tmp_path: Path) -> None:
    (tmp_path / "acting.py").write_text("import time\ndef act():\n    print('on', flush=True)\n    time.sleep(60)\n")
    program = "from recsys import __main__ as cli\ncli.VERBS = {'act': ('acting:act', '')}\ncli.main(['act'])"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "on\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == ""


def test_a_reader_that_has_gone_is_not_an_error_message() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        process = subprocess.run([*RECSYS, "--help"], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60)
    finally:
        os.close(writing)
    assert process.stderr == ""


def test_telemetry_is_off_before_any_verb_runs(
    verb: Verb, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "False")
    assert verb("import os\nat_import = os.environ['BENTOML_DO_NOT_TRACK']\ndef act():\n    print(at_import)\n") == 0
    assert capsys.readouterr().out == "True\n"


def test_a_machine_without_openmp_is_told_what_brings_it(verb: Verb, capsys: pytest.CaptureFixture[str]) -> None:
    missing = "libgomp.so.1: cannot open shared object file: No such file or directory"
    assert verb(f"raise OSError({missing!r})\ndef act(): ...\n") == 2
    assert "apt-get install libgomp1" in capsys.readouterr().err
