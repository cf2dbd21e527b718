"""Fewer, larger files for a lake that grew day by day, and removal of what no listed version names."""

from dataclasses import dataclass, replace
from pathlib import Path

from deltalake import DeltaTable

from recsys.lake.manifest import read_manifests
from recsys.lake.store import Lake, files_of
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
            held = files_of(update.path / name)
            DeltaTable(update.path / name).optimize.compact()
            now = files_of(update.path / name)
            before, after = before + len(held), after + len(now)
            if now != held:
                tables[name] = replace(info, delta_version=update.version_of(name))
            if progress:
                progress(done + 1, len(tables), f"{name} compacted")
        if tables != update.manifest.tables:
            update.publish(update.candidate(tables))
        removed, freed = _remove_unlisted(update.path)
        return Compacted(update.lake, before, after, removed, freed)


def _remove_unlisted(path: Path) -> tuple[int, int]:
    """Delete the data files that no listed version of the lake names; how many, and their bytes."""
    listed: dict[str, set[Path]] = {}
    for manifest in read_manifests(path):
        for name, info in manifest.tables.items():
            listed[name] = listed.get(name, set()) | files_of(path / name, info.delta_version)
    removed = freed = 0
    for name, named in listed.items():
        for file in (path / name).rglob("*.parquet"):
            if "_delta_log" not in file.relative_to(path).parts and file not in named:
                freed += file.stat().st_size
                file.unlink()
                removed += 1
    return removed, freed
