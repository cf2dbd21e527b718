"""The manifest refuses what it does not know, and limits what will be read."""

from collections.abc import Callable
from typing import Any

import pytest

from recsys.bundle import Bundle
from recsys.bundle.manifest import BUNDLE_BYTES, FILE_BYTES, MANIFEST_BYTES, canonical_json, read_manifest
from recsys.errors import BundleError

Change = Callable[[dict[str, Any]], object]


def test_canonical_json_is_one_way_to_write_a_value() -> None:
    assert canonical_json({"b": 1, "a": [0.1, None, "é"]}) == '{"a":[0.1,null,"é"],"b":1}\n'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


def test_a_forged_manifest_that_changes_nothing_else_loads(bundle: Bundle, forge: Callable[..., None]) -> None:
    forge(bundle, lambda manifest: manifest["seconds"].update(fit=2.0))
    assert Bundle.load(bundle.path).manifest["seconds"] == {"fit": 2.0}


def test_a_flipped_bit_anywhere_is_refused(bundle: Bundle) -> None:
    content = (bundle.path / "manifest.json").read_bytes()
    for place in range(len(content)):
        flipped = bytes([content[place] ^ (1 << place % 8)])
        with pytest.raises(BundleError, match=r"^manifest\.json: "):
            read_manifest(content[:place] + flipped + content[place + 1 :], "manifest.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema=2), "schema 2 is not known; this version reads schema 1"),
        (lambda m: m.pop("schema"), "schema None is not known"),
        (lambda m: m.update(author="me"), "author: Extra inputs are not permitted"),
        (lambda m: m.pop("lake"), "lake: Field required"),
        (lambda m: m["lake"].update(as_of="yesterday"), "lake.as_of: "),
        (lambda m: m.update(created="soon"), "created: String should match"),
        (lambda m: m.update(feature_hash="ABC"), "feature_hash: String should match"),
        (lambda m: m["parts"]["report"].update(parent="../x"), "parts.report.parent: String should match"),
        (lambda m: m["parts"]["report"].update(files={}), "parts.report.files: "),
        (lambda m: m["parts"].update({"Report!": m["parts"].pop("report")}), "parts.Report!.*: String should match"),
        (
            lambda m: m["parts"]["report"]["files"].update({"config.yaml": {"sha256": "0" * 64, "bytes": 1}}),
            "two parts",
        ),
    ],
)
def test_what_is_not_known_is_refused(bundle: Bundle, forge: Callable[..., None], change: Change, message: str) -> None:
    forge(bundle, change)
    with pytest.raises(BundleError, match=message):
        Bundle.load(bundle.path)


def test_files_above_the_bound_are_refused_before_reading(bundle: Bundle, forge: Callable[..., None]) -> None:
    forge(bundle, lambda m: m["parts"]["report"]["files"]["report/metrics.json"].update(bytes=FILE_BYTES + 1))
    with (bundle.path / "report" / "metrics.json").open("r+b") as stream:
        stream.truncate(FILE_BYTES + 1)
    with pytest.raises(BundleError, match=r"metrics\.json\.bytes: Input should be less than or equal"):
        Bundle.load(bundle.path)


def test_a_bundle_above_the_bound_is_refused_before_reading(bundle: Bundle, forge: Callable[..., None]) -> None:
    def enlarge(manifest: dict[str, Any]) -> None:
        entry = {"sha256": "0" * 64, "bytes": FILE_BYTES}
        many = {f"report/{i}.bin": entry for i in range(BUNDLE_BYTES // FILE_BYTES)}
        manifest["parts"]["report"]["files"].update(many)

    forge(bundle, enlarge)
    with pytest.raises(BundleError, match="at most 1,000 files and 4,294,967,296 bytes are read"):
        Bundle.load(bundle.path)


def test_too_many_files_are_refused(bundle: Bundle, forge: Callable[..., None]) -> None:
    entry = {"sha256": "0" * 64, "bytes": 1}
    forge(bundle, lambda m: m["parts"]["report"]["files"].update({f"report/{i}.bin": entry for i in range(1000)}))
    with pytest.raises(BundleError, match="1,012 files"):
        Bundle.load(bundle.path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b'{"schema": NaN}', "NaN is not a JSON number"),
        (b"[]", "an object is expected"),
        (b"{" + b" " * MANIFEST_BYTES + b"}", "larger than the 1,048,576 bytes"),
    ],
)
def test_what_is_no_manifest_is_refused(bundle: Bundle, content: bytes, message: str) -> None:
    (bundle.path / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match=message):
        Bundle.load(bundle.path)


def test_formatting_and_repeated_keys_are_changes(bundle: Bundle) -> None:
    path = bundle.path / "manifest.json"
    content = path.read_bytes()
    for altered in (content + b"\n", content.replace(b'{\n  "bundle_id"', b'{\n  "bundle_id": "x",\n  "bundle_id"', 1)):
        assert altered != content
        path.write_bytes(altered)
        with pytest.raises(BundleError, match="changed since it was written"):
            Bundle.load(bundle.path)
