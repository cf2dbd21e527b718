"""What `lake.json` says: which versions of the tables belong together, for each of the lake's last versions.

The file is replaced whole, by rename, never edited.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

from recsys.durable import rename
from recsys.errors import LakeError
from recsys.lake.buckets import HASH
from recsys.lake.contract import Attribute

NAME = "lake.json"
UNFINISHED = "lake.unfinished"
"""The file that stands in a lake's folder while it is being written, and stays if the writer is killed."""
SCHEMA = 2
LISTED = 30
"""How many versions of a lake can be read, the newest included."""


@dataclass(frozen=True)
class TableInfo:
    """One table of one version of a lake; `rows` counts distinct keys, `digest` changes when any row changes."""

    delta_version: int
    rows: int
    columns: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    digest: str = ""


@dataclass(frozen=True)
class Manifest:
    """One version of a lake, as `lake.json` lists it."""

    version: int
    buckets: int
    currency: str | None
    source: str
    until: date
    last_event: date | None
    tables: Mapping[str, TableInfo] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "buckets": self.buckets,
            "currency": self.currency,
            "source": self.source,
            "until": self.until.isoformat(),
            "last_event": self.last_event.isoformat() if self.last_event else None,
            "tables": {name: _table_json(info) for name, info in self.tables.items()},
        }

    def identity(self) -> str:
        """16 hex digits over the content: equal for equal rows, options and version."""
        content = {**self.as_json(), "hash": HASH}
        return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _table_json(info: TableInfo) -> dict[str, Any]:
    return {
        "delta_version": info.delta_version,
        "rows": info.rows,
        "columns": list(info.columns),
        "attributes": [dict(vars(attribute)) for attribute in info.attributes],
        "digest": info.digest,
    }


def write_manifest(lake: Path, manifest: Manifest) -> None:
    """Make the manifest the lake's newest, at once and durably: temporary file, fsync, rename, fsync of the folder.

    The versions before it stay listed, up to `LISTED` in all.
    """
    before = read_manifests(lake) if (lake / NAME).exists() else []
    listed = [*(other for other in before if other.version < manifest.version), manifest][-LISTED:]
    content = {"schema": SCHEMA, "hash": HASH, "versions": [other.as_json() for other in listed]}
    temporary = lake / f"{NAME}.tmp"
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    rename(temporary, lake / NAME)


def read_manifest(lake: Path, version: int | None = None) -> Manifest:
    """One version's manifest, the newest if none is asked for; LakeError if there is no such lake or version."""
    listed = read_manifests(lake)
    if version is None:
        return listed[-1]
    found = next((manifest for manifest in listed if manifest.version == version), None)
    if found is None:
        first, last = listed[0].version, listed[-1].version
        there = f"versions {first} to {last}" if first < last else f"version {last} only"
        raise LakeError(f"{lake}: has no version {version}; lake.json lists {there}")
    return found


def read_manifests(lake: Path) -> list[Manifest]:
    """All listed versions, the oldest first; LakeError if there is no lake, a half-written one, or an unknown form."""
    path = lake / NAME
    if not path.is_file():
        raise LakeError(_no_lake(lake))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        schema, named = content["schema"], content["hash"]
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise LakeError(f"{path}: cannot be read as a lake's manifest ({error!r}); import the lake again") from error
    if schema not in (1, SCHEMA) or named != HASH:
        raise LakeError(
            f"{path}: schema {schema!r} with hash {named!r}; this version reads schemas 1 and {SCHEMA}, {HASH!r}"
        )
    try:
        found = [_parse(one) for one in ([content] if schema == 1 else content["versions"])]
    except (ValueError, TypeError, KeyError) as error:
        raise LakeError(f"{path}: a part of the manifest is missing or wrong ({error!r}); import again") from error
    if not found:
        raise LakeError(f"{path}: lists no version; import again")
    return found


def _no_lake(lake: Path) -> str:
    if not lake.exists():
        return f"{lake}: no such lake; make one with `recsys data import` or `recsys data synth`"
    if (lake / UNFINISHED).exists():
        return f"{lake}: half written, its import did not end; import again to the same folder, which starts over"
    return f"{lake}: not a lake, it has no {NAME}; a lake is a folder made by `recsys data import` or `data synth`"


def _parse(content: Mapping[str, Any]) -> Manifest:
    last = content["last_event"]
    return Manifest(
        version=int(content["version"]),
        buckets=int(content["buckets"]),
        currency=content["currency"],
        source=str(content["source"]),
        until=date.fromisoformat(content["until"]),
        last_event=date.fromisoformat(last) if last else None,
        tables={
            name: TableInfo(
                delta_version=int(info["delta_version"]),
                rows=int(info["rows"]),
                columns=tuple(info["columns"]),
                attributes=tuple(Attribute(**attribute) for attribute in info["attributes"]),
                digest=str(info["digest"]),
            )
            for name, info in content["tables"].items()
        },
    )
