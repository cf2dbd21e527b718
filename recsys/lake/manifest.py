"""What `lake.json` says: which version of each table belongs together; replaced whole, by rename, never edited."""

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
SCHEMA = 1


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
    """The content of `lake.json`."""

    version: int
    buckets: int
    currency: str | None
    source: str
    until: date
    last_event: date | None
    tables: Mapping[str, TableInfo] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "version": self.version,
            "hash": HASH,
            "buckets": self.buckets,
            "currency": self.currency,
            "source": self.source,
            "until": self.until.isoformat(),
            "last_event": self.last_event.isoformat() if self.last_event else None,
            "tables": {name: _table_json(info) for name, info in self.tables.items()},
        }

    def identity(self) -> str:
        """16 hex digits over the content: equal for equal rows, options and version."""
        return sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()[:16]


def _table_json(info: TableInfo) -> dict[str, Any]:
    return {
        "delta_version": info.delta_version,
        "rows": info.rows,
        "columns": list(info.columns),
        "attributes": [dict(vars(attribute)) for attribute in info.attributes],
        "digest": info.digest,
    }


def write_manifest(lake: Path, manifest: Manifest) -> None:
    """Make the manifest the lake's, at once and durably: temporary file, fsync, rename, fsync of the folder."""
    temporary = lake / f"{NAME}.tmp"
    content = json.dumps(manifest.as_json(), indent=1, ensure_ascii=False) + "\n"
    temporary.write_text(content, encoding="utf-8")
    rename(temporary, lake / NAME)


def read_manifest(lake: Path) -> Manifest:
    """The lake's manifest; LakeError if there is no lake, a half-written one, or one of an unknown form."""
    path = lake / NAME
    if not path.is_file():
        raise LakeError(_no_lake(lake))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        schema, named = content["schema"], content["hash"]
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise LakeError(f"{path}: cannot be read as a lake's manifest ({error!r}); import the lake again") from error
    if schema != SCHEMA or named != HASH:
        raise LakeError(f"{path}: schema {schema!r} with hash {named!r}; this version reads schema {SCHEMA}, {HASH!r}")
    try:
        return _parse(content)
    except (ValueError, TypeError, KeyError) as error:
        raise LakeError(f"{path}: a part of the manifest is missing or wrong ({error!r}); import again") from error


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
