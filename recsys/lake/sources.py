"""The files of a source: found, checked for alteration, transcoded to UTF-8, and put before DuckDB as views."""

import csv
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
from arro3.core import RecordBatchReader

from recsys.errors import ConfigError, DataError
from recsys.lake.contract import nearest
from recsys.lake.text_file import read_text_file

if TYPE_CHECKING:
    from recsys.lake.catalog import SourceFile

Progress = Callable[[int, int, str], None] | None

OBJECT_BYTES = 1 << 30
"""The largest single JSON object that is read."""

LINE_BYTES = 1 << 26
"""The longest line of a text file that is read."""


class Sources:
    """An open source: its files are views, and nothing but these files can be read, nor anything be loaded."""

    def __init__(self, files: "Mapping[str, SourceFile]", root: Path, catalog: str, progress: Progress = None) -> None:
        self._files = files
        self._root = root
        self._catalog = catalog
        self._progress = progress

    def __enter__(self) -> "Sources":
        self._copies = Path(tempfile.mkdtemp(prefix="recsys-import-"))
        try:
            self._open()
        except BaseException:
            shutil.rmtree(self._copies)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._connection.close()
        shutil.rmtree(self._copies)

    def select(self, table: str, sql: str) -> Iterator[pl.DataFrame]:
        """The rows of one SELECT, in parts, at least one part even if there are no rows."""
        where = f"{self._catalog}: tables.{table}"
        try:
            statements = self._connection.extract_statements(sql)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise ConfigError(f"{where}: must be one SELECT, found {len(statements)} statements or another kind")
            batches = RecordBatchReader.from_stream(self._connection.cursor().sql(sql))
            empty = True
            for batch in batches:
                empty = False
                yield pl.DataFrame(batch)
            if empty:
                yield pl.DataFrame(batches.schema.empty_table())
        except _QUERY_ERRORS as error:
            raise ConfigError(f"{where}: {_shortened(error)}{self._views(error)}") from None
        except duckdb.Error as error:
            raise DataError(f"{where}: {_shortened(error)}{self._place_of_value(error)}") from None

    def _open(self) -> None:
        read = {}
        for done, (name, file) in enumerate(self._files.items()):
            read[name] = self._read(name, file)
            if self._progress:
                self._progress(done + 1, len(self._files), f"{file.path} read")
        self._connection = duckdb.connect(
            config={
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "temp_directory": str(self._copies / "spilled"),
            }
        )
        try:
            allowed = _literal([str(path) for paths in read.values() for path in paths])
            self._connection.execute(f"SET allowed_paths = {allowed}")
            self._connection.execute("SET enable_external_access = false")
            for name, paths in read.items():
                self._view(name, self._files[name], paths)
            self._connection.execute("SET lock_configuration = true")
            for name, file in self._files.items():
                self._check(name, file)
        except BaseException:
            self._connection.close()
            raise

    def _read(self, name: str, file: "SourceFile") -> list[Path]:
        """The file's paths, readable as UTF-8, after its checksum was found right."""
        paths = sorted(self._root.glob(file.path)) if "*" in file.path else [self._root / file.path]
        paths = [path for path in paths if path.is_file()]
        if not paths:
            raise DataError(
                f"{self._root / file.path}: no such file, which the catalog {self._catalog} needs as {name}; "
                f"{_folder(self._root)}"
            )
        if file.checks.sha256 and len(paths) > 1:
            raise ConfigError(
                f"{self._catalog}: files.{name}.checks.sha256: {len(paths)} files match {file.path}; "
                "a checksum is of one file"
            )
        readable: list[Path] = []
        for path in paths:
            copy = self._copies / f"{name}-{len(readable)}{path.suffix}"
            text = file.format != "parquet"
            found = read_text_file(path, file.encoding if text else None, copy, hashed=file.checks.sha256 is not None)
            if file.checks.sha256 and file.checks.sha256 not in found.sha256:
                raise DataError(
                    f"{path}: this copy is altered: sha256 expected {file.checks.sha256}, "
                    f"found {found.sha256[0]} ({path.stat().st_size:,} bytes){self._more(file, path)}"
                )
            readable.append(found.path.resolve())
        return readable

    def _more(self, file: "SourceFile", path: Path) -> str:
        if file.format not in ("csv", "lines") or file.checks.rows is None:
            return ""
        with path.open("rb") as opened:
            lines = sum(1 for line in opened if line.strip()) - (file.format == "csv" and file.header is True)
        return f"; rows expected {file.checks.rows:,}, found about {lines:,}"

    def _view(self, name: str, file: "SourceFile", paths: list[Path]) -> None:
        listed = _literal([str(path) for path in paths])
        try:
            if file.format == "parquet":
                rows = f"SELECT * FROM read_parquet({listed})"
            elif file.format == "json" and file.layout == "object":
                entries = "map_entries(CAST(CAST(content AS JSON) AS MAP(VARCHAR, JSON)))"
                rows = (
                    f"SELECT entry.key, entry.value FROM (SELECT unnest({entries}) AS entry FROM read_text({listed}))"
                )
            elif file.format == "json":
                rows = f"SELECT * FROM read_json({listed}, maximum_object_size = {OBJECT_BYTES}, sample_size = -1)"
            elif file.format == "lines":
                rows = _csv(listed, ["line"], separator="\x01", quote="", header=False, nulls=[])
            else:
                names = self._header(file, paths) if file.header is True else file.header
                rows = _csv(listed, names, file.separator, file.quote, file.header is True, file.nulls)
            self._connection.execute(f'CREATE VIEW "{name}" AS {rows}')
        except duckdb.Error as error:
            raise DataError(f"{self._root / file.path}: {_shortened(error)}") from None

    def _header(self, file: "SourceFile", paths: list[Path]) -> list[str]:
        headers = []
        for path in paths:
            with path.open(encoding="utf-8", newline="") as opened:
                options: Any = {"quotechar": file.quote} if file.quote else {"quoting": csv.QUOTE_NONE}
                first = next(csv.reader(opened, delimiter=file.separator, **options), [])
            headers.append([name.strip() or f"column{i}" for i, name in enumerate(first)])
        twice = [name for name in headers[0] if [n.lower() for n in headers[0]].count(name.lower()) > 1]
        if not headers[0] or twice:
            what = f"the header names {twice[0]!r} twice" if twice else "is empty, it has no header"
            raise DataError(f"{self._root / file.path}: {what}; every column needs a name of its own")
        for path, header in zip(paths, headers, strict=True):
            if header != headers[0]:
                raise DataError(f"{path.name}: its header differs from that of {paths[0].name}: {header}, {headers[0]}")
        return headers[0]

    def _check(self, name: str, file: "SourceFile") -> None:
        """Compare the number of rows and the sums of columns with what the catalog says."""
        differences = []
        try:
            if file.checks.rows is not None:
                rows = self._value(f'SELECT count(*) FROM "{name}"')
                if rows != file.checks.rows:
                    differences.append(f"rows expected {file.checks.rows:,}, found {rows:,}")
            for column, expected in file.checks.sums.items():
                columns = self._columns(name)
                if column not in columns:
                    raise ConfigError(
                        f"{self._catalog}: files.{name}.checks.sums.{column}: no such column{nearest(column, columns)}"
                    )
                total = self._value(f'SELECT sum(CAST("{column}" AS DECIMAL(38, 6))) FROM "{name}"')
                if total is None or total != Decimal(str(expected)):
                    differences.append(f"sum of {column} expected {expected}, found {_plain(total)}")
        except duckdb.Error as error:
            raise DataError(f"{self._root / file.path}: {_shortened(error)}{self._place_of_value(error)}") from None
        if differences:
            raise DataError(f"{self._root / file.path}: this copy is altered: {'; '.join(differences)}")

    def _value(self, sql: str) -> Any:
        return self._connection.execute(sql).fetchall()[0][0]

    def _columns(self, name: str) -> list[str]:
        return [str(row[0]) for row in self._connection.cursor().execute(f'DESCRIBE "{name}"').fetchall()]

    def _views(self, error: duckdb.Error) -> str:
        return f" (files: {', '.join(self._files)})" if isinstance(error, duckdb.CatalogException) else ""

    def _place_of_value(self, error: duckdb.Error) -> str:
        """Where the value that could not be read stands first: file, row and column."""
        value = re.search(r"""(?:string|format:) ['"](.*?)['"](?=[\s,.]|$)""", str(error), re.DOTALL)
        if not value or not value[1]:
            return ""
        for name, file in self._files.items():
            if file.format == "csv" and (place := self._first(name, value[1])):
                row, column = place
                return f"; first in {file.path}, row {row:,}, column {column}"
        return ""

    def _first(self, name: str, value: str) -> tuple[int, str] | None:
        """Row (from 1, without the header) and column in which a value stands first."""
        try:
            columns = self._columns(name)
            quoted = ", ".join('"{}"'.format(column.replace('"', '""')) for column in columns)
            numbered = f'SELECT row_number() OVER () AS "row number", * FROM "{name}"'
            sql = f'SELECT "row number", {quoted} FROM ({numbered}) WHERE ? IN ({quoted}) ORDER BY 1 LIMIT 1'
            found = self._connection.cursor().execute(sql, [value]).fetchall()
        except duckdb.Error:
            return None
        return (found[0][0], columns[found[0][1:].index(value)]) if found else None


_QUERY_ERRORS = (
    duckdb.ParserException,
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.SyntaxException,
    duckdb.PermissionException,
)


def _csv(listed: str, names: list[str], separator: str, quote: str, header: bool, nulls: list[str]) -> str:
    options = {
        "auto_detect": "false",
        "columns": "{" + ", ".join(f"{_literal(name)}: 'VARCHAR'" for name in names) + "}",
        "header": str(header).lower(),
        "delim": _literal(separator),
        "quote": _literal(quote),
        "escape": _literal(quote),
        "max_line_size": LINE_BYTES,
        **({"nullstr": _literal(nulls)} if nulls else {}),
    }
    return f"SELECT * FROM read_csv({listed}, {', '.join(f'{name} = {value}' for name, value in options.items())})"


def _literal(value: str | list[str]) -> str:
    """A text, or a list of texts, as SQL."""
    if isinstance(value, list):
        return f"[{', '.join(_literal(text) for text in value)}]"
    return "'{}'".format(value.replace("'", "''"))


def _shortened(error: duckdb.Error) -> str:
    """The first sentences of DuckDB's message, in one line, without its advice on its own settings."""
    lines = [line.strip() for line in str(error).split("\n\n")[0].splitlines() if line.strip()]
    return " ".join(line for line in lines if not set(line) <= {"^", " "})[:600]


def _plain(total: Decimal | None) -> str:
    return "nothing" if total is None else f"{total.normalize():f}"


def _folder(root: Path) -> str:
    if not root.is_dir():
        return f"{root} is no folder; --root names the folder that holds the source's files"
    entries = sorted(path.name for path in root.iterdir())
    listed = ", ".join(entries[:8]) + (" …" if len(entries) > 8 else "")
    return f"--root {root} holds {listed or 'nothing'}"
