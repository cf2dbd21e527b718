"""The registry: what may enter, what is in force, what was, and that a killed or second writer breaks nothing."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from recsys.__main__ import main
from recsys.errors import BundleError, ConfigError, DataError
from serving import registry as module
from serving.registry import Registry
from tests.serving.conftest import environment


def leave(words: list[str]) -> int:
    with pytest.raises(SystemExit) as exit:
        main(words)
    return int(exit.value.code or 0)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry.create(tmp_path / "registry")


def test_promote_and_rollback_go_forth_and_back_and_the_history_keeps_all(two: tuple[Registry, str, str]) -> None:
    registry, first, second = two
    assert registry.read().promoted is None
    registry.promote(first, by="ann", why="the first")
    registry.promote(second, by="bob")
    assert registry.rollback(by="cy", why="complaints") == first
    assert registry.read().promoted == first
    told = [(c.action, c.bundle_id, c.previous, c.by, c.why) for c in registry.read().history]
    assert told == [
        ("add", first, None, "ann", ""),
        ("add", second, None, "ann", ""),
        ("promote", first, None, "ann", "the first"),
        ("promote", second, first, "bob", ""),
        ("rollback", first, second, "cy", "complaints"),
    ]
    with pytest.raises(ConfigError, match="nothing was in force before"):
        registry.rollback(by="cy")


def test_a_copy_does_not_need_the_original_and_a_second_add_does_nothing(
    registry: Registry, small_bundle: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_bundle, tmp_path / "made")
    bundle_id = registry.add(tmp_path / "made", by="ann")
    assert registry.add(tmp_path / "made", by="ann") == bundle_id
    shutil.rmtree(tmp_path / "made")
    assert registry.load(bundle_id).bundle_id == bundle_id
    assert len(registry.read().history) == 1


def altered(bundle: Path) -> None:
    table = bundle / "recommender" / "products.npy"
    content = bytearray(table.read_bytes())
    content[-1] ^= 1
    table.write_bytes(content)


def test_an_altered_bundle_neither_enters_nor_is_put_into_force(
    two: tuple[Registry, str, str], small_bundle: Path, tmp_path: Path
) -> None:
    registry, first, second = two
    shutil.copytree(small_bundle, tmp_path / "made")
    altered(tmp_path / "made")
    with pytest.raises(BundleError, match="products.npy"):
        registry.add(tmp_path / "made", by="ann")
    registry.promote(second, by="ann")
    altered(registry.where(first))
    with pytest.raises(BundleError, match="products.npy"):
        registry.promote(first, by="ann")
    assert registry.read().promoted == second
    assert registry.add(small_bundle, by="ann") == first  # a damaged copy is replaced by a sound one
    registry.promote(first, by="ann")


def test_another_bundle_in_the_place_of_one_that_was_added_is_refused(
    registry: Registry, small_bundle: Path, holding_bundle: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_bundle, tmp_path / "made")
    bundle_id = registry.add(tmp_path / "made", by="ann", refer=True)
    shutil.rmtree(tmp_path / "made")
    shutil.copytree(holding_bundle, tmp_path / "made")
    with pytest.raises(BundleError, match="not the bundle"):
        registry.promote(bundle_id, by="ann")


def test_two_persons_are_asked_for(tmp_path: Path, small_bundle: Path) -> None:
    registry = Registry.create(tmp_path / "registry", two_person=True)
    bundle_id = registry.add(small_bundle, by="ann")
    for approver in (None, "ann"):
        with pytest.raises(ConfigError, match="somebody other than ann"):
            registry.promote(bundle_id, by="ann", approved_by=approver)
    registry.promote(bundle_id, by="ann", approved_by="bob")
    assert registry.read().history[-1].approved_by == "bob"


def test_a_second_writer_waits_and_then_says_so(
    two: tuple[Registry, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, first, second = two
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.2)
    with (registry.path / module.LOCK).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process is changing the registry"):
            registry.promote(first, by="ann")
        assert registry.read().promoted is None  # readers never wait
    registry.promote(first, by="ann")


def test_a_promotion_that_is_killed_has_not_happened_and_can_be_repeated(two: tuple[Registry, str, str]) -> None:
    registry, first, second = two
    killed = textwrap.dedent(
        f"""
        import os, signal
        from serving import registry
        registry.rename = lambda partial, path: os.kill(os.getpid(), signal.SIGKILL)
        registry.Registry({str(registry.path)!r}).promote({first!r}, by="ann")
        """
    )
    done = subprocess.run([sys.executable, "-c", killed], env=environment(), timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert registry.read().promoted is None
    registry.promote(first, by="ann")
    assert registry.read().promoted == first


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("registry", "promote", "{dir}", "ffff"), 2, "no bundle has this id"),
        (("registry", "promote", "{dir}", ""), 2, "no bundle has this id"),
        (("registry", "rollback", "{dir}"), 2, "nothing was in force before"),
        (("registry", "list", "nowhere"), 2, "recsys registry create"),
        (("registry", "create", "{dir}"), 2, "not an empty directory"),
        (("registry", "add", "{dir}", "nowhere"), 1, "no such bundle"),
        (("deploy", "{bundle}", "--registry", "{dir}"), 2, "nothing is in force"),
        (("serve", "--registry", "{dir}"), 2, "nothing is in force"),
        (("serve",), 2, "--registry"),
        (("serve", "{bundle}", "--registry", "{dir}"), 2, "--registry"),
    ],
)
def test_mistakes_end_with_one_line_and_their_exit_code(
    registry: Registry,
    small_bundle: Path,
    words: tuple[str, ...],
    code: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert leave([word.format(dir=registry.path, bundle=small_bundle) for word in words]) == code
    assert says in capsys.readouterr().err


def test_a_file_that_is_no_registry_is_refused_with_its_field(registry: Registry) -> None:
    (registry.path / "registry.json").write_text('{"schema": 2}')
    with pytest.raises(DataError, match="schema"):
        registry.read()
    (registry.path / "registry.json").write_text('{"schema": 1')
    with pytest.raises(DataError, match="backup"):
        registry.read()


def test_list_tells_people_and_programs(two: tuple[Registry, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    registry, first, second = two
    registry.promote(first, by="ann", why="spring")
    assert leave(["registry", "list", str(registry.path)]) == 0
    told = capsys.readouterr().out
    assert f"{first}  in force" in told
    assert "by ann: spring" in told
    assert leave(["registry", "list", str(registry.path), "--json"]) == 0
    assert f'"promoted": "{first}"' in capsys.readouterr().out
    assert os.listdir(registry.path / "workers") == []
