"""Catalog files: a YAML that brings a bank's or a public source's files in as a lake, without code."""

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from recsys.errors import ConfigError, DataError
from recsys.lake.buckets import check_buckets
from recsys.lake.check import Violation, violations
from recsys.lake.contract import TABLES, Attribute, Kind, Role, check_attributes, table_of
from recsys.lake.postgres import Database, DatabaseSource
from recsys.lake.sources import Sources
from recsys.lake.store import Lake, LakeWriter
from recsys.strict_yaml import read_yaml, validate

Progress = Callable[[int, int, str], None] | None

DEFAULT_BUCKETS = 16


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Checks(Strict):
    """What a faithful copy of a file must satisfy; a copy that does not is refused, saying what differs."""

    rows: int | None = Field(None, ge=0)
    """Number of rows, without the header."""
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    """SHA-256 of the bytes; a text file passes with Windows line ends too."""
    sums: dict[str, int | float] = {}
    """The sum of a column's numbers, for each column named."""


class SourceFile(Strict):
    """One file of the source, or several of the same form: a view of this name in the SELECTs."""

    path: str
    """Relative to --root; `*` stands for any text within a file's name: several files of one form."""
    format: Literal["csv", "parquet", "json", "lines"]
    """csv (all columns text), parquet, json, or lines (one text column `line`)."""
    separator: str = Field(",", min_length=1, max_length=1)
    """csv: the character between two values."""
    quote: str = Field('"', max_length=1)
    """csv: the character around a value that holds a separator; empty for none."""
    header: Literal[True] | Annotated[list[str], Field(min_length=1)] = True
    """csv: true if the first line names the columns, otherwise the list of their names."""
    nulls: list[str] = [""]
    """csv: the values that mean unknown."""
    encoding: str = "utf-8"
    """csv, json, lines: the encoding, by its Python name: utf-8, cp1252, latin-1, cp1250, utf-16 …"""
    layout: Literal["records", "object"] = "records"
    """json: records (an array, or one object per line) or object (one row `key`, `value` per entry)."""
    checks: Checks = Checks()
    """What a faithful copy must satisfy."""

    @field_validator("path")
    @classmethod
    def _below_root(cls, path: str) -> str:
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise ValueError("must be relative to --root and stay below it")
        return path

    @field_validator("encoding")
    @classmethod
    def _known(cls, encoding: str) -> str:
        try:
            "".encode(encoding)
        except LookupError:
            raise ValueError("unknown encoding; write its Python name, such as utf-8, cp1252 or latin-1") from None
        return encoding

    @model_validator(mode="after")
    def _keys_of_the_format(self) -> "SourceFile":
        own = {
            "csv": {"separator", "quote", "header", "nulls", "encoding"},
            "lines": {"encoding"},
            "json": {"encoding", "layout"},
            "parquet": set(),
        }
        extra = self.model_fields_set - own[self.format] - {"path", "format", "checks"}
        if extra:
            raise ValueError(f"{', '.join(sorted(extra))}: not for the format {self.format}")
        if self.checks.sums and self.format == "lines":
            raise ValueError("checks.sums: lines have no columns to sum")
        return self


class AttributeSpec(Strict):
    """What one attribute column is for, and how it is read."""

    role: Role
    """feature, label, outcome, group, protected or identifier."""
    kind: Kind
    """category, number, flag, date, tags or text."""
    description: str = ""
    """What it means, for readers and reports."""


class Catalog(Strict):
    """Everything that is said about a source."""

    name: str = Field(pattern="^[a-z][a-z0-9_]*$")
    """Short name: letters, digits and underscores; the lake keeps it as its source."""
    title: str
    """One line for readers."""
    source: str
    """The official source: who publishes it, and where."""
    licence: str
    """Its licence, or that none is stated."""
    good_for: str
    """What one can learn from it."""
    notes: str = ""
    """What a reader must know: traps, what was left out and why."""
    currency: str | None = Field(None, pattern="^[A-Z]{3}$")
    """ISO 4217 code of all money; money is stored in its minor units (GBP: pence)."""
    until: date | None = None
    """The last day that the source knows; later dates are errors. Without it, the day of the import."""
    buckets: int = DEFAULT_BUCKETS
    """Number of buckets, a power of two: about 1,000 to 25,000 customers each."""
    files: dict[Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$")], SourceFile] = {}
    """The files by the name that the SELECTs use."""
    database: DatabaseSource | None = None
    """A PostgreSQL database in place of files."""
    tables: dict[str, str] = Field(min_length=1)
    """One SELECT for each table of the lake, in DuckDB's SQL, or in the database's own."""
    columns: dict[str, dict[str, AttributeSpec]] = {}
    """Role and kind of every attribute: of every selected column that the contract does not declare."""

    @field_validator("buckets")
    @classmethod
    def _power_of_two(cls, buckets: int) -> int:
        try:
            return check_buckets(buckets)
        except ConfigError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _one_source(self) -> "Catalog":
        if bool(self.files) == (self.database is not None):
            raise ValueError("files or database: exactly one of them says where the data is")
        return self

    @model_validator(mode="after")
    def _tables_of_the_contract(self) -> "Catalog":
        try:
            for table in self.tables:
                table_of(table)
            for table in self.columns:
                check_attributes(table, self.attributes(table))
        except DataError as error:
            raise ValueError(str(error)) from None
        for table in set(self.columns) - set(self.tables):
            raise ValueError(f"columns.{table}: attributes are declared, but tables.{table} has no SELECT")
        if "customers" not in self.tables:
            raise ValueError("tables.customers: this SELECT is missing and compulsory")
        return self

    def attributes(self, table: str) -> tuple[Attribute, ...]:
        listed = self.columns.get(table, {})
        return tuple(Attribute(name, spec.role, spec.kind, spec.description) for name, spec in listed.items())


def read_catalog(path: Path) -> Catalog:
    """The catalog in a YAML file; ConfigError naming each wrong key and the nearest valid one."""
    return validate(Catalog, read_yaml(path), path.name)


def import_catalog(
    catalog: Path, out: str | Path, root: str | Path | None, buckets: int | None = None, progress: Progress = None
) -> Lake:
    """The lake written to `out` from the files below `root`, or from the database, whole or not at all.

    Raises ConfigError for a catalog or a SELECT that cannot be carried out, DataError for files that are missing,
    altered or in another encoding, for values that cannot be cast, and for every violation of the contract.
    """
    spec = read_catalog(catalog)
    attributes = {table: spec.attributes(table) for table in spec.columns}
    options = {"currency": spec.currency, "source": spec.name, "until": spec.until, "attributes": attributes}
    with LakeWriter(out, buckets=buckets or spec.buckets, **options) as writer:  # type: ignore[arg-type]
        _write_tables(spec, root, catalog.name, writer, progress)
        refuse_violations(violations(writer.uncommitted(), progress))
    return Lake.open(out)


def selected_tables(
    spec: Catalog, root: str | Path | None, name: str, progress: Progress
) -> Iterator[tuple[str, Iterator[pl.DataFrame]]]:
    """Each table of a catalog in the order in which a writer needs them, with the parts of its SELECT's rows.

    The one place where a source is opened; a table's parts are to be read before the next table is asked for.
    """
    tables = [table for table in TABLES if table in spec.tables]
    if spec.database is None and root is None:
        raise ConfigError(f"{name}: --root is missing: the folder that holds {', '.join(spec.files)}")
    source = Database(spec.database, name) if spec.database else Sources(spec.files, Path(root or ""), name, progress)
    with source as opened:
        for done, table in enumerate(tables):
            yield table, opened.select(table, spec.tables[table])
            if progress:
                progress(done + 1, len(tables), f"{table} read")


def _write_tables(spec: Catalog, root: str | Path | None, name: str, writer: LakeWriter, progress: Progress) -> None:
    products: dict[str, None] = {}
    for table, frames in selected_tables(spec, root, name, progress):
        for frame in frames:
            writer.append(table, frame)
            products |= dict.fromkeys(_products(table, frame))
    if "products" not in spec.tables and products:
        writer.append("products", pl.DataFrame({"product_id": sorted(products)}))


def _products(table: str, frame: pl.DataFrame) -> Iterator[str]:
    """The product ids that a frame of interactions or accounts names."""
    if table in ("interactions", "accounts") and "product_id" in frame.columns:
        yield from frame["product_id"].drop_nulls().cast(pl.String).unique()


def refuse_violations(found: Sequence[Violation]) -> None:
    """DataError that lists the violations, if there are any."""
    if found:
        lines = "\n".join(f"  {violation}" for violation in found)
        raise DataError(f"the data breaks {_count(len(found), 'rule')} of the contract; nothing was written\n{lines}")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
