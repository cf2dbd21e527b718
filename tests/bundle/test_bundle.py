"""A bundle is written whole or not at all, and opened only if every byte is the one that was written."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import recsys.bundle.bundle as bundle_module
from recsys.bundle import Bundle
from recsys.errors import BundleError

Parts = dict[str, dict[str, bytes]]


def test_what_was_written_is_read(bundle: Bundle, parts: Parts, bank: Any) -> None:
    loaded = Bundle.load(bundle.path)
    assert loaded.bundle_id == bundle.bundle_id
    assert loaded.path.name == f"linear-{loaded.bundle_id}"
    assert loaded.config == {"name": "linear", "model": {"dim": 5}, "serving": {"exclude_held": True}}
    assert loaded.definition == bank.definition
    assert loaded.encoder == bank.encoder
    assert loaded.json("report/metrics.json") == {"ndcg@10": 0.5}
    assert loaded.file("recommender/rank.onnx").read_bytes() == parts["recommender"]["recommender/rank.onnx"]
    assert loaded.manifest["lake"] == {"identity": "ab" * 32, "version": 3, "source": "by hand", "as_of": "2024-01-01"}
    assert loaded.manifest == json.loads((bundle.path / "manifest.json").read_bytes())


def test_the_id_follows_from_the_content_alone(write: Callable[..., Bundle], parts: Parts, with_file: Any) -> None:
    first = write(parts)
    shutil.rmtree(first.path)
    later = write(dict(reversed(parts.items())), seconds={"fit": 99.0, "features": 3.0})
    other = write(with_file("report/metrics.json", b"{}\n"))
    assert later.bundle_id == first.bundle_id != other.bundle_id


def test_writing_the_same_again_keeps_what_is_there(write: Callable[..., Bundle], parts: Parts) -> None:
    first = write(parts)
    before = (first.path / "manifest.json").stat()
    again = write(parts, seconds={"fit": 7.0})
    assert again.path == first.path
    assert (again.path / "manifest.json").stat().st_mtime_ns == before.st_mtime_ns
    (first.path / "config.yaml").write_bytes(b"name: other\n")
    with pytest.raises(BundleError, match=r"already there, but damaged .*config\.yaml"):
        write(parts)


@pytest.mark.parametrize("broken", ["_write", "sync"])
def test_a_write_that_fails_leaves_nothing(
    write: Callable[..., Bundle], parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    calls = iter(range(100))
    original = getattr(bundle_module, broken)

    def fail_at_third(*arguments: Any) -> None:
        if next(calls) == 2:
            raise OSError("no space left on device")
        original(*arguments)

    monkeypatch.setattr(bundle_module, broken, fail_at_third)
    with pytest.raises(OSError, match="no space"):
        write(parts)
    assert list((tmp_path / "bundles").iterdir()) == []


def test_a_part_is_carried_over_with_its_parent(write: Callable[..., Bundle], parts: Parts) -> None:
    parent = write(parts)
    child = write(
        {"features": parent.part("features"), "report": {"report/metrics.json": b"[]\n"}},
        parents={"features": parent.bundle_id},
    )
    assert child.manifest["parts"]["features"]["parent"] == parent.bundle_id
    assert child.manifest["parts"]["features"]["hash"] == parent.manifest["parts"]["features"]["hash"]
    assert child.manifest["parts"]["report"]["parent"] is None
    with pytest.raises(BundleError, match="no part segments"):
        write(parts, parents={"segments": parent.bundle_id})


def test_one_flipped_byte_in_any_file_is_refused(bundle: Bundle) -> None:
    paths = sorted(path for path in bundle.path.rglob("*") if path.is_file())
    assert len(paths) == 13
    for path in paths:
        content = path.read_bytes()
        for place in {0, len(content) // 2, len(content) - 1}:
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            with pytest.raises(BundleError, match=path.name.replace(".", r"\.")):
                Bundle.load(bundle.path)
        path.write_bytes(content)
    Bundle.load(bundle.path)


@pytest.mark.parametrize("name", ["config.yaml", "recommender/customer.onnx", "parity/tables.json", "manifest.json"])
def test_a_missing_file_is_refused(bundle: Bundle, name: str) -> None:
    (bundle.path / name).unlink()
    with pytest.raises(BundleError, match=f"{name}: missing"):
        Bundle.load(bundle.path)


@pytest.mark.parametrize("name", ["notes.txt", "recommender/model.pkl", ".hidden"])
def test_a_file_too_many_is_refused(bundle: Bundle, name: str) -> None:
    (bundle.path / name).write_bytes(b"x")
    with pytest.raises(BundleError, match=f"{name}: not in the manifest"):
        Bundle.load(bundle.path)


def test_an_empty_directory_is_refused(bundle: Bundle) -> None:
    (bundle.path / "segments").mkdir()
    with pytest.raises(BundleError, match="segments: an empty directory"):
        Bundle.load(bundle.path)


@pytest.mark.parametrize("name", ["config.yaml", "recommender", "manifest.json"])
def test_links_are_refused_even_to_the_right_content(bundle: Bundle, tmp_path: Path, name: str) -> None:
    (bundle.path / name).rename(tmp_path / "elsewhere")
    (bundle.path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match=f"{name}: a symbolic link"):
        Bundle.load(bundle.path)


def test_a_pipe_is_refused_and_never_opened(bundle: Bundle) -> None:
    (bundle.path / "config.yaml").unlink()
    os.mkfifo(bundle.path / "config.yaml")
    with pytest.raises(BundleError, match="config.yaml: neither a file nor a directory"):
        Bundle.load(bundle.path)


def test_a_place_without_a_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such bundle"):
        Bundle.load(tmp_path / "nowhere")
    with pytest.raises(BundleError, match=r"manifest\.json: missing"):
        Bundle.load(tmp_path)


@pytest.mark.parametrize("path", ["../outside.txt", "/etc/hostname", "a/../../outside.txt", "a//b", ".", "a\\b", ""])
def test_no_path_leads_outside(bundle: Bundle, forge: Callable[..., None], path: str) -> None:
    (bundle.path.parent / "outside.txt").write_bytes(b"secret")

    def point(manifest: dict[str, Any]) -> None:
        files = manifest["parts"]["report"]["files"]
        files[path] = files.pop("report/metrics.json")

    forge(bundle, point)
    with pytest.raises(BundleError, match="not the path of a file inside the bundle"):
        Bundle.load(bundle.path)


@pytest.mark.parametrize("path", ["../x", "/x", ".hidden", "manifest.json"])
def test_nothing_is_written_outside(write: Callable[..., Bundle], tmp_path: Path, path: str) -> None:
    with pytest.raises(BundleError, match="not the path of a file inside the bundle"):
        write({"report": {path: b"x"}})
    assert not list(tmp_path.rglob("x"))


def test_a_file_that_changes_after_loading_is_noticed(bundle: Bundle) -> None:
    content = (bundle.path / "encoder.json").read_bytes()
    (bundle.path / "encoder.json").write_bytes(content[:-1] + b" ")
    with pytest.raises(BundleError, match=r"encoder\.json: changed since the bundle was loaded"):
        _ = bundle.encoder


def test_a_file_that_the_manifest_does_not_name_is_not_read(bundle: Bundle) -> None:
    for read in (bundle.file, bundle.read, bundle.json):
        with pytest.raises(BundleError, match="not in the manifest"):
            read("../secret")
    with pytest.raises(BundleError, match="no part 'segments'"):
        bundle.part("segments")


def test_files_of_another_version_are_named(write: Callable[..., Bundle], with_file: Any, bank: Any) -> None:
    newer = bank.encoder.model_dump_json().replace('{"customer":', '{"invented":1,"customer":', 1).encode()
    with pytest.raises(BundleError, match=r"encoder\.json: invented"):
        _ = write(with_file("encoder.json", newer)).encoder
    other = bank.definition.model_copy(update={"windows": (9,)}).model_dump_json().encode()
    with pytest.raises(BundleError, match=r"features\.json: its hash is"):
        _ = write(with_file("features.json", other)).definition
    with pytest.raises(BundleError, match=r"config\.yaml: not valid YAML"):
        _ = write(with_file("config.yaml", b"a: [")).config
    with pytest.raises(BundleError, match=r"config\.yaml: not valid YAML"):
        _ = write(with_file("config.yaml", b"!!python/object/apply:os.system ['true']")).config
    with pytest.raises(BundleError, match=r"config\.yaml: a mapping is expected, not list"):
        _ = write(with_file("config.yaml", b"- a")).config
