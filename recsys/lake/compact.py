"""Fewer, larger files for a lake that grew day by day, and removal of what no listed version names."""

from dataclasses import dataclass, replace
from pathlib import Path

from recsys.lake.contract import TABLES
from recsys.lake.delta import listed_files
from recsys.lake.location import Location
from recsys.lake.manifest import read_listing
from recsys.lake.store import Lake
from recsys.lake.update import LakeUpdate
from recsys.progress import Progress


@dataclass(frozen=True)
class Compacted:
    """What a compaction did."""

    lake: Lake
    files_before: int
    """Files that the newest version consisted of."""
    files_after: int
    removed: int
    """Files of forgotten versions and of killed writers that were deleted."""
    freed: int
    """Their size in bytes."""


def compact(path: str | Path, progress: Progress | None = None) -> Compacted:
    """Rewrite the many small files of each bucket as few, as a new version of the lake, then free unlisted files.

    Rows stay as they are. The versions that lake.json lists stay readable; what is removed are files that none of
    them names. Raises LakeError if another writer has the lake or its disk cannot be written.
    """
    with LakeUpdate(path) as update:
        tables, before, after = dict(update.manifest.tables), 0, 0
        for done, (name, info) in enumerate(update.manifest.tables.items()):
            held, now = update.compact(name)
            before, after = before + held, after + now
            if held != now:
                tables[name] = replace(info, delta_version=update.version_of(name))
            if progress:
                progress(done + 1, len(tables), f"{name} compacted")
        if tables != update.manifest.tables:
            update.publish(update.candidate(tables))
        removed, freed = _remove_unlisted(update.place)
        return Compacted(update.lake, before, after, removed, freed)


def _remove_unlisted(place: Location) -> tuple[int, int]:
    """Delete the data files that no listed version names and no writer at work has written; how many, their bytes."""
    before = place.unused_before()
    listing = read_listing(place)
    removed = freed = 0
    for name in TABLES:
        versions = {m.tables[name].delta_version for m in listing.manifests if name in m.tables}
        folder = listing.manifests[-1].folder
        table = f"{folder}/{name}" if folder else name
        named = listed_files(place, table, versions)
        unlisted = [file for file in place.files(table) if file.path not in named and file.modified < before]
        place.remove(table, [file.path for file in unlisted])
        removed, freed = removed + len(unlisted), freed + sum(file.size for file in unlisted)
    return removed, freed
