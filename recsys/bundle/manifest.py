"""The manifest of a bundle: what each file must be, whole and unaltered, and what the bundle is called."""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from recsys.errors import BundleError

SCHEMA = 1
MANIFEST = "manifest.json"
MANIFEST_BYTES = 1 << 20
FILE_BYTES = 1 << 30
BUNDLE_BYTES = 4 << 30
FILES = 1000

_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


def is_name(text: str) -> bool:
    """Whether a text can be the name of a file or a directory: letters, digits, `_`, `.`, `-`, no leading dot."""
    return _COMPONENT.fullmatch(text) is not None


def _inside(path: str) -> str:
    if len(path) > 300 or path == MANIFEST or not all(is_name(part) for part in path.split("/")):
        raise ValueError(f"{path[:300]!r} is not the path of a file inside the bundle")
    return path


InnerPath = Annotated[str, AfterValidator(_inside)]
PartName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,49}$")]
BundleId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class FileEntry(_Section):
    """One file: its hash and its size."""

    sha256: Sha256
    size: int = Field(alias="bytes", ge=0, le=FILE_BYTES)


class Part(_Section):
    """Files that were made together."""

    hash: Sha256
    """SHA-256 over the sorted (path, sha256) of the files."""
    parent: BundleId | None
    """The bundle that this part was carried over from unchanged; None if it was made for this one."""
    files: dict[InnerPath, FileEntry] = Field(min_length=1)


class LakeSource(_Section):
    """The lake that the bundle was trained on."""

    identity: str
    version: int
    source: str
    as_of: date | None


class Manifest(_Section):
    """`manifest.json`: every file by part, and the name that follows from their content."""

    schema_version: Literal[1] = Field(alias="schema")
    bundle_id: BundleId
    """First 16 digits of the SHA-256 over the parts' hashes; times and durations stay outside."""
    created: str = Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$")
    seconds: dict[str, float]
    lake: LakeSource
    feature_hash: Sha256
    parts: dict[PartName, Part] = Field(min_length=1)
    manifest_sha256: Sha256
    """SHA-256 over the canonical JSON of all the other fields: it guards what `bundle_id` leaves out."""

    @property
    def files(self) -> dict[str, FileEntry]:
        """Every file of every part, by path."""
        return {path: entry for part in self.parts.values() for path, entry in part.files.items()}


def canonical_json(value: Any, indent: int | None = None) -> bytes:
    """The one way a value is written: sorted keys, UTF-8, no NaN, a newline at the end."""
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators)
    return f"{text}\n".encode()


def parse_json(content: bytes, where: str) -> Any:
    """The value of a JSON file; BundleError naming `where` if it is none."""
    try:
        return json.loads(content, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: not valid JSON ({error})") from None


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a JSON number")


def build_manifest(
    parts: Mapping[str, Mapping[str, bytes]],
    parents: Mapping[str, str],
    lake: Mapping[str, Any],
    feature_hash: str,
    seconds: Mapping[str, float],
) -> bytes:
    """The bytes of the manifest for these files; BundleError if it would not be a valid one."""
    if unknown := sorted(set(parents) - set(parts)):
        raise BundleError(f"parents: the bundle has no part {', '.join(unknown)}; it has {', '.join(sorted(parts))}")
    entries = {
        part: {
            path: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for path, content in files.items()
        }
        for part, files in parts.items()
    }
    hashes = {
        part: _part_hash({path: str(e["sha256"]) for path, e in files.items()}) for part, files in entries.items()
    }
    day = lake.get("as_of")
    value = {
        "schema": SCHEMA,
        "bundle_id": _bundle_id(hashes),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": {name: float(spent) for name, spent in seconds.items()},
        "lake": {**lake, "as_of": day.isoformat() if isinstance(day, date) else day},
        "feature_hash": feature_hash,
        "parts": {
            part: {"hash": hashes[part], "parent": parents.get(part), "files": files} for part, files in entries.items()
        },
    }
    content = canonical_json({**value, "manifest_sha256": _self_hash(value)}, indent=2)
    read_manifest(content, MANIFEST)
    return content


def read_manifest(content: bytes, where: str) -> Manifest:
    """The manifest in these bytes, checked against itself; BundleError naming `where` and what is wrong if altered."""
    value = parse_json(content, where)
    if not isinstance(value, dict):
        raise BundleError(f"{where}: an object is expected, not {type(value).__name__}")
    if value.get("schema") != SCHEMA:
        raise BundleError(f"{where}: schema {value.get('schema')!r} is not known; this version reads schema {SCHEMA}")
    if content != canonical_json(value, indent=2):
        raise BundleError(f"{where}: changed since it was written (not in canonical form)")
    try:
        manifest = Manifest.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(step) for step in first["loc"])
        raise BundleError(f"{where}: {field}: {first['msg']}") from None
    if manifest.manifest_sha256 != _self_hash(value):
        raise BundleError(f"{where}: changed since it was written (manifest_sha256 does not match its content)")
    _check_names(manifest, where)
    return manifest


def _check_names(manifest: Manifest, where: str) -> None:
    """Hashes and limits that span several fields."""
    for name, part in manifest.parts.items():
        if part.hash != _part_hash({path: entry.sha256 for path, entry in part.files.items()}):
            raise BundleError(f"{where}: parts.{name}.hash does not match the files of the part")
    if manifest.bundle_id != _bundle_id({name: part.hash for name, part in manifest.parts.items()}):
        raise BundleError(f"{where}: bundle_id does not match the hashes of the parts")
    count = sum(len(part.files) for part in manifest.parts.values())
    if count != len(manifest.files):
        raise BundleError(f"{where}: a file belongs to two parts")
    size = sum(entry.size for entry in manifest.files.values())
    if count > FILES or size > BUNDLE_BYTES:
        raise BundleError(
            f"{where}: {count:,} files of {size:,} bytes; at most {FILES:,} files and {BUNDLE_BYTES:,} bytes are read"
        )


def _part_hash(files: Mapping[str, str]) -> str:
    return hashlib.sha256(canonical_json(sorted(files.items()))).hexdigest()


def _bundle_id(hashes: Mapping[str, str]) -> str:
    return hashlib.sha256(canonical_json(dict(hashes))).hexdigest()[:16]


def _self_hash(value: Mapping[str, Any]) -> str:
    rest = {name: field for name, field in value.items() if name != "manifest_sha256"}
    return hashlib.sha256(canonical_json(rest)).hexdigest()
