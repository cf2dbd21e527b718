"""Brings a day's rows into a lake: new rows are added, repeated ones dropped, changed ones put in place of the old."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import polars as pl

from recsys.errors import DataError
from recsys.lake.buckets import BUCKET
from recsys.lake.catalog import Catalog, read_catalog, refuse_violations, selected_tables
from recsys.lake.check import violations
from recsys.lake.conform import conform
from recsys.lake.contract import EVENT_TABLES, TABLES
from recsys.lake.delta import WHOLE
from recsys.lake.placement import HOMES, homes_of, place
from recsys.lake.store import DIGESTS, Lake, TableInfo, digest_of
from recsys.lake.update import LakeUpdate

Progress = Callable[[int, int, str], None] | None


@dataclass(frozen=True)
class Counts:
    """What became of one table's rows, counted by distinct key."""

    added: int = 0
    replaced: int = 0
    """Rows whose key was there with other values; the new values stand now."""
    repeated: int = 0
    """Rows that were there already."""


def append_catalog(
    lake: str | Path, catalog: Path, root: str | Path | None, progress: Progress = None
) -> tuple[Lake, dict[str, Counts]]:
    """Add the rows that a catalog selects, from the files below `root` or its database, to a lake, or none of them.

    The catalog's day is held in memory, and one bucket of one table beside it. Raises ConfigError and DataError as
    `import_catalog` does; DataError too if the catalog is of another source, currency or form than the lake, or if
    the lake would then break the contract; LakeError if another writer has the lake.
    """
    spec = read_catalog(catalog)
    with LakeUpdate(lake) as update:
        _refuse_another_source(update.lake, spec, catalog.name)
        frames = {name: pl.concat(parts) for name, parts in selected_tables(spec, root, catalog.name, progress)}
        changed = append(update, frames, spec.until or date.today(), progress)
        return update.lake, changed


def append(
    update: LakeUpdate, frames: Mapping[str, pl.DataFrame], until: date, progress: Progress = None
) -> dict[str, Counts]:
    """Add rows to the tables of a lake that is held, check what comes of it, and publish it.

    `until` is the last day that the rows' source knows. Without any new or changed row nothing is published.
    """
    lake = update.lake
    frames = _conformed(lake, _with_products(lake, frames))
    homes, moved = _homes(lake, frames.get("account_holders"))
    tables, counts = dict(lake.manifest.tables), {}
    touched: set[int] = set()
    for done, (name, rows) in enumerate(frames.items()):
        placed = place(name, rows, lake.buckets, homes)
        if TABLES[name].about == "account" and moved.height and name in lake.tables:
            _copy_to_new_homes(update, lake, name, moved, tables, touched)
        counts[name] = _merge(update, lake, name, placed, tables, touched)
        if progress:
            progress(done + 1, len(frames), f"{name} added")
    if moved.height:
        for name in lake.tables:
            if TABLES[name].about == "account" and name not in frames:
                _copy_to_new_homes(update, lake, name, moved, tables, touched)
    if tables == lake.manifest.tables:
        return counts
    last = [frames[n]["at"].max() for n in EVENT_TABLES if n in frames and "at" in frames[n].columns]
    days = [moment.date() for moment in last if moment is not None]  # type: ignore[union-attr]
    known = [lake.last_event] if lake.last_event else []
    candidate = update.candidate(tables, until=max(until, lake.until), last_event=max([*days, *known], default=None))
    refuse_violations(violations(candidate, progress, buckets=sorted(touched)))
    update.publish(candidate)
    return counts


def _refuse_another_source(lake: Lake, spec: Catalog, name: str) -> None:
    for what, has, says in (("source", lake.source, spec.name), ("currency", lake.currency, spec.currency)):
        if has != says:
            raise DataError(f"{name}: its {what} is {says!r}, the lake's is {has!r}; append from the lake's own source")
    for table in spec.columns:
        if table in lake.tables and set(spec.attributes(table)) != set(lake.attributes(table)):
            ours, theirs = ({a.name: a for a in listed} for listed in (lake.attributes(table), spec.attributes(table)))
            wrong = sorted(n for n in ours.keys() | theirs.keys() if ours.get(n) != theirs.get(n))
            raise DataError(
                f"{name}: columns.{table}.{wrong[0]}: differs from the lake's declaration "
                f"({_said(ours.get(wrong[0]))} there, {_said(theirs.get(wrong[0]))} here); import again to change it"
            )


def _said(attribute: object) -> str:
    return f"role {attribute.role}, kind {attribute.kind}" if attribute else "not declared"  # type: ignore[attr-defined]


def _with_products(lake: Lake, frames: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """With the products that no SELECT lists, as the import does where the lake knows nothing of them but their ids."""
    frames = dict(frames)
    if "products" not in frames and not lake.attributes("products"):
        named = [
            frame["product_id"].drop_nulls().cast(pl.String)
            for name, frame in frames.items()
            if name in ("interactions", "accounts") and "product_id" in frame.columns
        ]
        fresh = pl.concat([pl.Series("product_id", [], dtype=pl.String), *named]).unique().sort()
        fresh = fresh.filter(~fresh.is_in(lake.read("products")["product_id"].implode()))
        frames = {"products": fresh.to_frame(), **frames} if len(fresh) else frames
    return {name: frames[name] for name in TABLES if name in frames}


def _conformed(lake: Lake, frames: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Each frame in the form of its table in the lake; DataError if a column is missing or too many."""
    found = {}
    for name, frame in frames.items():
        rows = conform(name, frame, lake.attributes(name)).unique(maintain_order=True)
        has = lake.tables[name].columns if name in lake.tables else tuple(rows.columns)
        if set(rows.columns) != set(has):
            missing, extra = sorted(set(has) - set(rows.columns)), sorted(set(rows.columns) - set(has))
            wrong = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(extra)}, which the lake's has not"
            raise DataError(f"{name}: {wrong}; the lake's table has {', '.join(has)}; select the same columns")
        found[name] = rows.select(has)
    return found


def _homes(lake: Lake, holders: pl.DataFrame | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The homes of all accounts after the append, and those that accounts of the lake are given by it."""
    before = pl.DataFrame(schema=HOMES)
    if "account_holders" in lake.tables:
        before = homes_of(lake.scan("account_holders").select("account_id", "customer_id").collect(), lake.buckets)
    if holders is None:
        return before, before.clear()
    fresh = homes_of(holders, lake.buckets).join(before, on=list(HOMES), how="anti", maintain_order="left")
    moved = fresh.join(before.select("account_id").unique(), on="account_id", how="semi", maintain_order="left")
    return pl.concat([before, fresh]), moved


def _copy_to_new_homes(
    update: LakeUpdate, lake: Lake, table: str, moved: pl.DataFrame, tables: dict[str, TableInfo], touched: set[int]
) -> None:
    """The rows of joint accounts that gained a holder in another bucket, once more in that bucket."""
    rows = lake.scan(table).join(moved.lazy().rename({"bucket": "to"}), on="account_id", how="inner").collect()
    rows = rows.drop("bucket").unique(maintain_order=True).rename({"to": "bucket"})
    if rows.height:
        rows = rows.select(*lake.tables[table].columns, pl.col("bucket").cast(BUCKET))
        update.add(table, rows)
        touched.update(rows["bucket"].unique())
        tables[table] = _grown(update, table, tables[table], rows, rows.clear(), 0)


def _merge(
    update: LakeUpdate,
    lake: Lake,
    table: str,
    placed: pl.DataFrame,
    tables: dict[str, TableInfo],
    touched: set[int],
) -> Counts:
    """Commit one table's rows; buckets in which nothing is replaced only gain files."""
    if table not in lake.tables:
        columns = tuple(name for name in placed.columns if name != "bucket")
        info = TableInfo(0, 0, columns, ())
        distinct = placed.select(columns).unique().height
        if placed.height:
            update.add(table, placed)
            touched.update(_buckets_of(placed))
            tables[table] = _grown(update, table, info, placed, placed.clear(), distinct)
        return Counts(added=distinct)
    lake = lake.changed(replace(lake.manifest, tables=tables))  # with what was copied to new homes
    key = [name for name in TABLES[table].key if name in lake.tables[table].columns]
    statuses, fresh = [], []
    for bucket in _buckets_of(placed):
        here = placed if bucket == WHOLE else placed.filter(pl.col("bucket") == bucket)
        old = lake.rows(table, bucket).join(here.lazy().select(key), on=key, how="semi", nulls_equal=True).collect()
        known = here.join(old.select(key), on=key, how="semi", nulls_equal=True)
        same = known.join(old, on=list(old.columns), how="semi", nulls_equal=True) if old.height else known
        other = known.join(same.select(key), on=key, how="anti", nulls_equal=True)
        new = here.join(old.select(key), on=key, how="anti", nulls_equal=True, maintain_order="left")
        statuses += [part.select(key).with_columns(is_=pl.lit(i)) for i, part in enumerate((new, other, same))]
        fresh.append(new)
        if other.height:
            _replace(update, lake, table, bucket, other, key, tables)
            touched.add(bucket)
    added = pl.concat(fresh)
    by = pl.concat(statuses).unique().group_by("is_").len()
    count = dict(by.iter_rows())
    counts = Counts(count.get(0, 0), count.get(1, 0), count.get(2, 0))
    if added.height:
        update.add(table, added)
        touched.update(_buckets_of(added))
        tables[table] = _grown(update, table, tables[table], added, added.clear(), counts.added)
    return counts


def _replace(
    update: LakeUpdate,
    lake: Lake,
    table: str,
    bucket: int,
    rows: pl.DataFrame,
    key: Sequence[str],
    tables: dict[str, TableInfo],
) -> None:
    """Rewrite one bucket (or the whole of a table about nobody) with rows in place of those of the same key."""
    committed = lake.changed(replace(lake.manifest, tables=tables))
    before = committed.rows(table, bucket).collect()
    if bucket != WHOLE:
        before = before.with_columns(pl.lit(bucket, BUCKET).alias("bucket"))
    old = before.join(rows.select(key), on=list(key), how="semi", nulls_equal=True)
    kept = before.join(rows.select(key), on=list(key), how="anti", nulls_equal=True, maintain_order="left")
    update.replace(table, pl.concat([kept, rows.select(kept.columns)]), None if bucket == WHOLE else bucket)
    tables[table] = _grown(update, table, tables[table], rows.select(old.columns), old, 0)


def _grown(
    update: LakeUpdate, table: str, info: TableInfo, gained: pl.DataFrame, lost: pl.DataFrame, rows: int
) -> TableInfo:
    digest = (int(info.digest or "0", 16) + digest_of(gained) - digest_of(lost)) % DIGESTS
    return replace(info, delta_version=update.version_of(table), rows=info.rows + rows, digest=f"{digest:016x}")


def _buckets_of(placed: pl.DataFrame) -> list[int]:
    return placed["bucket"].unique().sort().to_list() if "bucket" in placed.columns else [WHOLE]
