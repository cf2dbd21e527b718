"""Finds every violation of the contract in a lake, bucket by bucket, each with a count and a first example."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from recsys.lake.buckets import bucket_of
from recsys.lake.conform import type_name
from recsys.lake.contract import EARLIEST, LATEST, TABLES, Attribute, Column, Table
from recsys.lake.delta import WHOLE
from recsys.lake.store import Lake

Progress = Callable[[int, int, str], None] | None

GLOBAL_KEYS = ("transactions", "contacts", "decisions", "exposures", "outcomes")
"""Tables whose key may recur in another bucket, so that no bucket alone can tell."""

KEYS_AT_ONCE = 25_000_000
"""How many 64-bit hashes of keys are sorted at once (400 MB with the copy); larger tables take several passes."""


@dataclass(frozen=True)
class Violation:
    """Rows of one table that break one rule of one column, and the first of them by key."""

    table: str
    column: str
    rule: str
    count: int
    total: int
    example: str = ""

    def __str__(self) -> str:
        where = f"{self.table}.{self.column}" if self.column else self.table
        if not self.total:
            return f"{where}: {self.rule}"
        verb, of = ("is" if self.count == 1 else "are"), ("row" if self.total == 1 else "rows")
        first = f" (first: {self.example})" if self.example else ""
        return f"{where}: {self.count:,} of {self.total:,} {of} {verb} {self.rule}{first}"


@dataclass(frozen=True)
class _Rule:
    column: str
    phrase: str
    broken: pl.Expr


class _Found:
    """Violations counted over the buckets; the example is the first by key of all of them."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._violations: dict[tuple[str, str, str], tuple[Violation, tuple[str, ...]]] = {}

    def add(self, table: str, rule: _Rule, rows: pl.DataFrame) -> None:
        """Count `rows`, all of which break the rule."""
        key = [name for name in TABLES[table].key if name in rows.columns]
        by = [pl.col(name).cast(pl.String) for name in key]
        first = rows.sort(by, nulls_last=True).row(0, named=True)
        order = tuple(str(first[name]) for name in key)
        place = (table, rule.column, rule.phrase)
        fresh = Violation(*place, rows.height, self._lake.tables[table].rows, _example(first, key, rule.column))
        if place in self._violations:
            old, before = self._violations[place]
            example = old.example if before <= order else fresh.example
            fresh, order = replace(fresh, count=old.count + fresh.count, example=example), min(before, order)
        self._violations[place] = (fresh, order)

    def all(self) -> list[Violation]:
        names = list(TABLES)
        found = [violation for violation, _ in self._violations.values()]
        return sorted(found, key=lambda violation: names.index(violation.table))


def violations(lake: Lake, progress: Progress = None, buckets: Sequence[int] | None = None) -> list[Violation]:
    """Every violation in the lake; memory is bounded by one bucket, the catalogue and `KEYS_AT_ONCE` keys.

    With `buckets` only those are read, besides the keys that must be unique over all: for a lake of which the other
    buckets are as they were when they were checked. A negative number stands for what is in no bucket.
    """
    wrong = [violation for table in lake.tables for violation in _wrong_types(lake, table)]
    if wrong:
        return wrong
    empty = [
        Violation(name, "", "the table is empty; it must have at least one row", 0, 0)
        for name in ("customers", "products")
        if name in lake.tables and not lake.tables[name].rows
    ]
    known = {"products": _ids(lake, "products", WHOLE), "campaigns": _ids(lake, "campaigns", WHOLE)}
    found = _Found(lake)
    for name in lake.tables:
        if TABLES[name].about == "all":
            _check_rows(lake, TABLES[name], lake.rows(name, WHOLE).collect(), known, found)
    looked_at = [b for b in (range(lake.buckets) if buckets is None else buckets) if b != WHOLE]
    for done, b in enumerate(looked_at):
        _check_bucket(lake, b, known, found)
        if progress:
            progress(done + 1, len(looked_at), "buckets checked")
    for name in GLOBAL_KEYS:
        if name in lake.tables:
            _check_global_key(lake, TABLES[name], found)
    return empty + found.all()


def _check_bucket(lake: Lake, b: int, products: dict[str, pl.Series], found: _Found) -> None:
    known = products | {name: _ids(lake, name, b) for name in ("customers", "accounts", "account_holders", "decisions")}
    names = [name for name in lake.tables if TABLES[name].about != "all"]
    for name, rows in lake.bucket(b, [name for name in names if name != "account_holders"], once=True).items():
        _check_rows(lake, TABLES[name], rows, known, found)
    if "account_holders" in lake.tables:
        # A joint account's holders stand in several buckets; each is looked at where the customer is.
        holders = lake.rows("account_holders", b).collect()
        here = bucket_of(holders["customer_id"].fill_null(""), lake.buckets) == b
        own = holders.filter(here | holders["customer_id"].is_null())
        _check_rows(lake, TABLES["account_holders"], own, known, found)
    customers = lake.rows("customers", b).select("customer_id").collect()
    strayed = customers.filter(bucket_of(customers["customer_id"].fill_null(""), lake.buckets) != b)
    if strayed.height:
        found.add("customers", _Rule("customer_id", "in another bucket than their id's", pl.lit(True)), strayed)


def _check_rows(lake: Lake, table: Table, rows: pl.DataFrame, known: dict[str, pl.Series], found: _Found) -> None:
    rules = [*_rules(lake, table, known)]
    absent = [
        pl.lit(None, column.dtype).alias(column.name) for column in table.columns if column.name not in rows.columns
    ]
    rows = rows.with_columns(absent)
    counts = rows.select(rule.broken.fill_null(False).sum().alias(str(i)) for i, rule in enumerate(rules)).row(0)
    for rule, count in zip(rules, counts, strict=True):
        if count:
            found.add(table.name, rule, rows.filter(rule.broken.fill_null(False)))
    if table.name not in GLOBAL_KEYS:
        later = rows.filter(pl.struct(table.key).is_first_distinct().not_())
        if later.height:
            found.add(table.name, _repeated(table), later)


def _repeated(table: Table) -> _Rule:
    return _Rule(table.key[0], f"duplicate in the key ({', '.join(table.key)})", pl.lit(True))


def _rules(lake: Lake, table: Table, known: dict[str, pl.Series]) -> Iterator[_Rule]:
    """The rules of every column that the lake has, then those of whole rows."""
    present = lake.tables[table.name].columns
    for column in table.columns:
        if column.name in present:
            yield from _column_rules(lake, column, known)
    for attribute in lake.attributes(table.name):
        yield from _attribute_rules(attribute)
    for rule in table.rules:
        yield _Rule(rule.column, rule.phrase, rule.broken())


def _column_rules(lake: Lake, column: Column, known: dict[str, pl.Series]) -> Iterator[_Rule]:
    name, value = column.name, pl.col(column.name)
    if column.required:
        yield _Rule(name, "null, which this column may never be", value.is_null())
    if isinstance(column.dtype, pl.String):
        yield _Rule(name, "blank or padded with spaces", (value == "") | (value != value.str.strip_chars()))
    if column.values:
        yield _Rule(name, f"none of {', '.join(column.values)}", ~value.is_in(column.values))
    if isinstance(column.dtype, pl.Float64):
        yield _Rule(name, "not a finite number", ~value.is_finite())
    if column.low is not None:
        yield _Rule(name, f"less than {column.low:,g}", value < column.low)
    if column.above is not None:
        yield _Rule(name, f"not greater than {column.above:,g}", value <= column.above)
    if column.high is not None:
        yield _Rule(name, f"greater than {column.high:,g}", value > column.high)
    if column.dtype.is_temporal():
        yield _day_rule(name)
    if column.past:
        phrase = f"after {lake.until}, the last day that the source knows"
        yield _Rule(name, phrase, (value.cast(pl.Date) > lake.until) & (value.cast(pl.Date) <= LATEST))
    if column.refers_to and _can_refer(lake, column):
        phrase = f"without a row in {column.refers_to}"
        yield _Rule(name, phrase, ~value.is_in(known[column.refers_to].implode()))


def _can_refer(lake: Lake, column: Column) -> bool:
    """Campaigns, accounts and decisions may be known by id alone; a customer, a product, a holder may not."""
    return column.refers_to in lake.tables or column.refers_to in ("products", "account_holders")


def _attribute_rules(attribute: Attribute) -> Iterator[_Rule]:
    name, value = attribute.name, pl.col(attribute.name)
    if attribute.kind == "number":
        yield _Rule(name, "not a finite number", ~value.is_finite())
    if attribute.kind == "date":
        yield _day_rule(name)
    if attribute.kind == "tags":
        yield _Rule(
            name,
            "with a null or blank tag",
            value.list.eval(pl.element().is_null() | (pl.element().str.strip_chars() == "")).list.any(),
        )


def _day_rule(name: str) -> _Rule:
    phrase = f"before {EARLIEST} or after {LATEST} (write null where a day is unknown)"
    return _Rule(name, phrase, ~pl.col(name).cast(pl.Date).is_between(EARLIEST, LATEST))


def _ids(lake: Lake, table: str, b: int) -> pl.Series:
    """The distinct ids that references to a table may name, in one bucket."""
    name = TABLES[table].key[0]
    if table not in lake.tables:
        return pl.Series(name, [], dtype=pl.String)
    return lake.rows(table, b).select(name).collect()[name].drop_nulls().unique()


def _check_global_key(lake: Lake, table: Table, found: _Found) -> None:
    """Keys met twice anywhere: first by 64-bit hash, then exactly for the few whose hashes recur."""
    key = table.key[0]
    keys = [lake.rows(table.name, b, once=True).select(key) for b in range(lake.buckets)]
    passes = -(-lake.tables[table.name].rows // KEYS_AT_ONCE)
    for p in range(passes):
        hashes = [
            frame.select(pl.col(key).hash().alias("h")).filter(pl.col("h") % passes == p).collect()["h"].to_numpy()
            for frame in keys
        ]
        ordered = np.concatenate(hashes)
        del hashes
        ordered.sort()
        again = pl.Series(np.unique(ordered[1:][ordered[1:] == ordered[:-1]]), dtype=pl.UInt64)
        if again.len():
            suspects = pl.concat([f.filter(pl.col(key).hash().is_in(again.implode())).collect() for f in keys])
            later = suspects.filter(pl.col(key).is_first_distinct().not_() & pl.col(key).is_not_null())
            if later.height:
                found.add(table.name, _repeated(table), later)


def _wrong_types(lake: Lake, table: str) -> Iterator[Violation]:
    """Columns of the stored table that are missing or of another type than the contract's."""
    stored = lake.log(table).schema
    rows = lake.tables[table].rows
    for name, dtype in lake.schema(table).items():
        if name not in stored:
            yield Violation(table, name, "without this column, which lake.json names", rows, rows)
        elif stored[name] != dtype:
            rule = f"of the wrong type: {type_name(stored[name])}, must be {type_name(dtype)}"
            yield Violation(table, name, rule, rows, rows)


def _example(row: dict[str, Any], key: list[str], column: str) -> str:
    """`customer_id C0042, at 2024-07-02` for the row's key and the column in question."""
    names = [*key, *([column] if column in row and column not in key else [])]
    return ", ".join(f"{name} {_shown(row[name])}" for name in names if row[name] is not None or name == column)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        text = value if len(value) <= 40 else f"{value[:40]}…"
        return text if text and text == text.strip() else repr(text)
    return "null" if value is None else f"{value:,}" if isinstance(value, int) and abs(value) > 9999 else str(value)
