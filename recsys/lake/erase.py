"""A lake without some persons: written anew from the newest version, so that no file of it ever held them."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsys.errors import DataError
from recsys.lake.catalog import refuse_violations
from recsys.lake.check import violations
from recsys.lake.contract import TABLES
from recsys.lake.delta import WHOLE
from recsys.lake.store import Lake, LakeWriter
from recsys.progress import Progress

HOLDERS = "account_holders"


@dataclass(frozen=True)
class Erased:
    """What became of a lake."""

    lake: Lake
    """The new one."""
    persons: int
    """Of those named, how many were in the lake."""
    rows: dict[str, int]
    """Rows that the new lake does not have, by table, each counted once."""


def erase(lake: Lake, out: str | Path, ids: Collection[str], progress: Progress | None = None) -> Erased:
    """Write the rows of a lake's version to a new place, all but those about these customers.

    Gone are their rows in every table, and the rows of accounts that nobody else holds; who holds an account with them
    keeps it. One bucket of one table is in memory at a time, beside who holds which account. The lake that is read
    stays as it is, with its versions: delete it when the new one has taken its place.

    Raises DataError if none of the customers is in the lake or nobody else is, or if the new lake broke the contract;
    LakeError if `out` is not empty or cannot be written.
    """
    gone = pl.Series("customer_id", sorted(set(ids)), dtype=pl.String).implode()
    there = everyone = 0
    for b in range(lake.buckets):
        here = _ids(lake, b)
        there, everyone = there + int(here.is_in(gone).sum()), everyone + len(here)
    if not there:
        raise DataError(f"{lake.path}: has none of the {len(set(ids)):,} customers named; nothing was written")
    if there == everyone:
        raise DataError(f"{lake.path}: nobody is left without the customers named; delete the lake in its place")
    attributes = {table: lake.attributes(table) for table in lake.tables}
    with LakeWriter(
        out,
        buckets=lake.buckets,
        currency=lake.currency,
        source=lake.source,
        until=lake.until,
        attributes={table: listed for table, listed in attributes.items() if listed},
        last_event=lake.last_event,
    ) as writer:
        orphans = pl.Series("account_id", [], dtype=pl.String).implode()
        if HOLDERS in lake.tables:
            orphans = _orphans(lake, gone)
        tables = [HOLDERS, *(name for name in TABLES if name != HOLDERS)]
        names = [name for name in tables if name in lake.tables]
        for done, name in enumerate(names):
            for b in [WHOLE] if TABLES[name].about == "all" else range(lake.buckets):
                writer.append(name, _kept(lake, name, b, gone, orphans))
            if progress:
                progress(done + 1, len(names), f"{name} written")
        made = writer.uncommitted()
        refuse_violations(violations(made, progress))
    found = Lake.open(out)
    rows = {name: info.rows - found.tables[name].rows for name, info in lake.tables.items()}
    return Erased(found, there, rows)


def _ids(lake: Lake, b: int) -> pl.Series:
    return lake.rows("customers", b).select(pl.col("customer_id").unique()).collect()["customer_id"]


def _orphans(lake: Lake, gone: pl.Series) -> pl.Series:
    """The accounts that nobody but these customers holds, as one list."""
    account, here = pl.col("account_id"), pl.col("customer_id").is_in(gone).fill_null(False)
    every = lake.scan(HOLDERS).group_by(account).agg(here.all().alias("theirs"))
    return every.filter(pl.col("theirs")).select(account).drop_nulls().collect()["account_id"].implode()


def _kept(lake: Lake, name: str, b: int, gone: pl.Series, orphans: pl.Series) -> pl.DataFrame:
    """The rows of a bucket of a table that are about others, each row in one bucket only."""
    rows = lake.rows(name, b, once=True)
    for column, those in (("customer_id", gone), ("account_id", orphans)):
        if column in lake.tables[name].columns:
            rows = rows.filter(~pl.col(column).is_in(those).fill_null(False))
    return rows.collect()
