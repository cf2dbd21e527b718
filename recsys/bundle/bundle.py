"""The bundle directory: written whole or not at all, and read only if every byte is the one that was written."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from recsys.bundle.manifest import (
    MANIFEST,
    MANIFEST_BYTES,
    FileEntry,
    Manifest,
    build_manifest,
    is_name,
    parse_json,
    read_manifest,
)
from recsys.durable import sync
from recsys.errors import BundleError
from recsys.features.definition import FeatureDefinition
from recsys.features.encoder import Encoder

CONFIG = "config.yaml"
DEFINITION = "features.json"
ENCODER = "encoder.json"
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose files were all there, and unaltered, when it was loaded.

    What is read later is hashed again on the way, so an answer never rests on bytes that differ from the manifest's.
    """

    path: Path
    contents: Manifest

    @classmethod
    def load(cls, path: Path | str) -> "Bundle":
        """Open a bundle after checking every file of it.

        Raises BundleError naming the file if one is missing, altered, too large, a link or not in the manifest,
        or if the manifest is altered or of another schema.
        """
        root = Path(path)
        if not root.is_dir():
            raise BundleError(f"{root}: no such bundle (a directory that holds {MANIFEST})")
        if not (root / MANIFEST).is_file():
            raise BundleError(f"{root / MANIFEST}: missing, so this is not a whole bundle")
        try:
            found = dict(_listing(root))
            if found[MANIFEST] > MANIFEST_BYTES:
                raise BundleError(f"{root / MANIFEST}: larger than the {MANIFEST_BYTES:,} bytes that are read")
            manifest = read_manifest((root / MANIFEST).read_bytes(), str(root / MANIFEST))
        except OSError as error:
            raise BundleError(f"{error.filename}: cannot be read ({error.strerror})") from None
        declared = manifest.files
        if missing := sorted(set(declared) - set(found)):
            raise BundleError(f"{root / missing[0]}: missing, though the manifest names it")
        if extra := sorted(set(found) - set(declared) - {MANIFEST}):
            raise BundleError(f"{root / extra[0]}: not in the manifest; a bundle holds nothing else")
        for name, entry in sorted(declared.items()):
            _check_file(root / name, found[name], entry)
        return cls(root, manifest)

    @property
    def bundle_id(self) -> str:
        """The name that follows from the content, 16 hexadecimal digits."""
        return self.contents.bundle_id

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """`manifest.json` as it was read."""
        return self.contents.model_dump(mode="json", by_alias=True)

    def file(self, path: str) -> Path:
        """Where a file of the bundle lies; BundleError if the manifest does not name it."""
        self._entry(path)
        return self.path / path

    def read(self, path: str) -> bytes:
        """The content of a file, hashed again; BundleError if it is not what the manifest says."""
        entry = self._entry(path)
        try:
            with (self.path / path).open("rb") as stream:
                content = stream.read(entry.size + 1)
        except OSError as error:
            raise BundleError(f"{self.path / path}: cannot be read ({error.strerror})") from None
        if len(content) != entry.size or hashlib.sha256(content).hexdigest() != entry.sha256:
            raise BundleError(f"{self.path / path}: changed since the bundle was loaded")
        return content

    def json(self, path: str) -> Any:
        """The value of a JSON file."""
        return parse_json(self.read(path), str(self.path / path))

    def part(self, name: str) -> dict[str, bytes]:
        """The files of a part, as `write_bundle` takes them: how a part is carried over to another bundle."""
        if name not in self.contents.parts:
            raise BundleError(f"{self.path}: has no part {name!r}; it has {', '.join(sorted(self.contents.parts))}")
        return {path: self.read(path) for path in self.contents.parts[name].files}

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration that the bundle was trained with."""
        where = self.path / CONFIG
        try:
            value = yaml.safe_load(self.read(CONFIG))
        except (yaml.YAMLError, RecursionError) as error:
            raise BundleError(f"{where}: not valid YAML ({error})") from None
        if not isinstance(value, dict):
            raise BundleError(f"{where}: a mapping is expected, not {type(value).__name__}")
        return value

    @cached_property
    def definition(self) -> FeatureDefinition:
        """The feature definition; BundleError if it is not the one that the manifest names."""
        definition = self.parsed(DEFINITION, FeatureDefinition)
        if definition.hash() != self.contents.feature_hash:
            raise BundleError(
                f"{self.path / DEFINITION}: its hash is {definition.hash()[:16]}…, "
                f"but the manifest's feature_hash is {self.contents.feature_hash[:16]}…"
            )
        return definition

    @cached_property
    def encoder(self) -> Encoder:
        """The fitted encoder."""
        return self.parsed(ENCODER, Encoder)

    def parsed(self, path: str, model: type[Model]) -> Model:
        """A JSON file as a model; BundleError naming the field that does not fit."""
        try:
            return model.model_validate_json(self.read(path))
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            field = ".".join(str(step) for step in first["loc"])
            raise BundleError(f"{self.path / path}: {field}: {first['msg']}") from None

    def _entry(self, path: str) -> FileEntry:
        entry = self.contents.files.get(path)
        if entry is None:
            raise BundleError(f"{self.path / path}: not in the manifest of bundle {self.bundle_id}")
        return entry


def write_bundle(
    directory: Path | str,
    name: str,
    parts: Mapping[str, Mapping[str, bytes]],
    *,
    lake: Mapping[str, Any],
    feature_hash: str,
    seconds: Mapping[str, float],
    parents: Mapping[str, str] | None = None,
) -> Bundle:
    """Write `directory/<name>-<bundle_id>`, whole or not at all, and return it loaded.

    `parts` maps a part to its files (path inside the bundle → content); `parents` names, for a part that is carried
    over, the bundle it comes from; `lake` has `identity`, `version`, `source`, `as_of`.
    An intact bundle of the same content that is already there is returned as it stands.
    """
    if not is_name(name):
        raise BundleError(f"name: {name!r} cannot name a directory; use letters, digits, '_', '.', '-'")
    manifest = build_manifest(parts, parents or {}, lake, feature_hash, seconds)
    final = Path(directory) / f"{name}-{read_manifest(manifest, MANIFEST).bundle_id}"
    if final.exists():
        return _standing(final)
    Path(directory).mkdir(parents=True, exist_ok=True)
    draft = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}")
    try:
        draft.mkdir()
        for files in parts.values():
            for path, content in files.items():
                _write(draft / path, content)
        _write(draft / MANIFEST, manifest)
        for folder in sorted({draft, *(path for path in draft.rglob("*") if path.is_dir())}):
            sync(folder)
        loaded = Bundle.load(draft)
        try:
            draft.rename(final)
        except OSError:
            if not final.exists():
                raise
            return _standing(final)
        sync(final.parent)
        return Bundle(final, loaded.contents)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _standing(final: Path) -> Bundle:
    try:
        return Bundle.load(final)
    except BundleError as error:
        raise BundleError(f"{final}: already there, but damaged ({error}); move it away first") from None


def _listing(root: Path, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Path inside the bundle and size of everything in it; nothing but plain files in directories that hold some."""
    with os.scandir(root) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    if not found:
        raise BundleError(f"{root}: an empty directory; a bundle holds nothing that is not in its manifest")
    for entry in found:
        if entry.is_symlink():
            raise BundleError(f"{entry.path}: a symbolic link; a bundle holds plain files only")
        if entry.is_dir(follow_symlinks=False):
            if prefix.count("/") > 8:
                raise BundleError(f"{entry.path}: nested too deep for a bundle")
            yield from _listing(Path(entry.path), f"{prefix}{entry.name}/")
        elif entry.is_file(follow_symlinks=False):
            yield f"{prefix}{entry.name}", entry.stat(follow_symlinks=False).st_size
        else:
            raise BundleError(f"{entry.path}: neither a file nor a directory")


def _check_file(path: Path, size: int, entry: FileEntry) -> None:
    if size != entry.size:
        raise BundleError(f"{path}: changed since it was written ({size:,} bytes; the manifest says {entry.size:,})")
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})") from None
    if digest != entry.sha256:
        raise BundleError(f"{path}: changed since it was written (sha256 {digest[:16]}…, not {entry.sha256[:16]}…)")


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as stream:
        stream.write(content)
    sync(path)
