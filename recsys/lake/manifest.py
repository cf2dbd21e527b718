"""What `lake.json` says: which versions of the tables belong together, for each of the lake's last versions.

The file is replaced whole, and only by a writer that has read it as it is; never edited.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from typing import Any

from recsys.errors import LakeError
from recsys.lake.buckets import HASH
from recsys.lake.contract import Attribute
from recsys.lake.location import NAME, Location

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
    folder: str = ""
    """Where below the lake its tables lie; empty: directly there."""

    def as_json(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "buckets": self.buckets,
            "currency": self.currency,
            "source": self.source,
            "until": self.until.isoformat(),
            "last_event": self.last_event.isoformat() if self.last_event else None,
            "tables": {name: _table_json(info) for name, info in self.tables.items()},
            **({"folder": self.folder} if self.folder else {}),
        }

    def identity(self) -> str:
        """16 hex digits over the content: equal for equal rows, options and version, wherever the lake lies."""
        content = {**self.as_json(), "hash": HASH}
        content.pop("folder", None)
        return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _table_json(info: TableInfo) -> dict[str, Any]:
    return {
        "delta_version": info.delta_version,
        "rows": info.rows,
        "columns": list(info.columns),
        "attributes": [dict(vars(attribute)) for attribute in info.attributes],
        "digest": info.digest,
    }


@dataclass(frozen=True)
class Listing:
    """`lake.json` as it was read: all listed versions, the oldest first."""

    manifests: tuple[Manifest, ...]
    tag: str | None
    """Of the file's content; None where there is no file yet."""

    def version(self, place: Location, version: int | None = None) -> Manifest:
        """One version, the newest if none is asked for; LakeError if that one is not listed."""
        if version is None:
            return self.manifests[-1]
        found = next((manifest for manifest in self.manifests if manifest.version == version), None)
        if found is None:
            first, last = self.manifests[0].version, self.manifests[-1].version
            there = f"versions {first} to {last}" if first < last else f"version {last} only"
            raise LakeError(f"{place}: has no version {version}; lake.json lists {there}")
        return found


NOTHING = Listing((), None)
"""What a new lake follows."""


def publish(place: Location, manifest: Manifest, before: Listing) -> Listing:
    """Make the manifest the lake's newest, at once and durably; LakeError if lake.json is not any more what was read.

    The versions before it stay listed, up to `LISTED` in all.
    """
    listed = (*before.manifests, manifest)[-LISTED:]
    content = {"schema": SCHEMA, "hash": HASH, "versions": [other.as_json() for other in listed]}
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    return Listing(listed, place.replace(NAME, text.encode(), before.tag))


def read_listing(place: Location) -> Listing:
    """What `lake.json` lists; LakeError if there is no lake, a half-written one, or an unknown form."""
    held = place.read(NAME)
    if held is None:
        raise LakeError(f"{place}: {place.absent()}")
    path = place.uri(NAME)
    try:
        content = json.loads(held.data)
        schema, named = content["schema"], content["hash"]
    except (ValueError, TypeError, KeyError) as error:
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
    return Listing(tuple(found), held.tag)


def _parse(content: Mapping[str, Any]) -> Manifest:
    last = content["last_event"]
    return Manifest(
        version=int(content["version"]),
        buckets=int(content["buckets"]),
        currency=content["currency"],
        source=str(content["source"]),
        until=date.fromisoformat(content["until"]),
        last_event=date.fromisoformat(last) if last else None,
        folder=str(content.get("folder", "")),
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
