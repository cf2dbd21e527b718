"""Doubles the buckets of a lake: bucket b becomes b and b + B, and no customer moves anywhere else."""

from dataclasses import replace
from pathlib import Path

import polars as pl

from recsys.lake.buckets import BUCKET, check_buckets
from recsys.lake.contract import TABLES
from recsys.lake.placement import HOMES, homes_of, place
from recsys.lake.store import DIGESTS, Lake, digest_of
from recsys.lake.update import LakeUpdate
from recsys.progress import Progress


def split(path: str | Path, progress: Progress | None = None) -> Lake:
    """Write every partitioned table anew in twice as many buckets, as a new version; older versions stay readable.

    One bucket of one table is in memory at a time. Raises LakeError if another writer has the lake or its disk cannot
    be written, ConfigError beyond the largest number of buckets.
    """
    with LakeUpdate(path) as update:
        lake = update.lake
        buckets = check_buckets(2 * lake.buckets)
        tables = dict(lake.manifest.tables)
        names = [name for name in lake.tables if TABLES[name].about != "all"]
        for done, name in enumerate(names):
            digest, begun = 0, False
            for b in range(lake.buckets):
                rows = _halves(lake, name, b, buckets)
                digest = (digest + digest_of(rows)) % DIGESTS
                if rows.height and not begun:
                    update.replace(name, rows)
                elif rows.height:
                    update.add(name, rows)
                begun = begun or rows.height > 0
            tables[name] = replace(tables[name], delta_version=update.version_of(name), digest=f"{digest:016x}")
            if progress:
                progress(done + 1, len(names), f"{name} split")
        update.publish(update.candidate(tables, buckets=buckets))
        return update.lake


def _halves(lake: Lake, name: str, b: int, buckets: int) -> pl.DataFrame:
    """The rows of bucket b, each with the bucket of the two that it goes to; a joint account's may go to both."""
    rows = lake.rows(name, b).collect()
    homes = pl.DataFrame(schema=HOMES)
    if TABLES[name].about == "account" and "account_holders" in lake.tables:
        homes = homes_of(lake.rows("account_holders", b).collect(), buckets)
        homes = homes.filter(pl.col("bucket") % lake.buckets == b)
    if name == "account_holders":
        alone = rows.filter(pl.col("account_id").is_null())
        placed = place(name, rows.filter(pl.col("account_id").is_not_null()), buckets, homes)
        return pl.concat([placed, alone.with_columns(pl.lit(b, BUCKET).alias("bucket"))])
    placed = place(name, rows, buckets, homes)
    return placed.filter(pl.col("bucket") % lake.buckets == b)
