"""A PostgreSQL database as a source: each SELECT runs there, in one snapshot, and its rows stream in."""

import os
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from recsys.errors import ConfigError, DataError, RecsysError

BATCH_BYTES = 8 << 20
"""How much of a SELECT's result is fetched at once."""
QUERY_STATES = ("42", "0A", "25006", "26")
"""SQLSTATE classes of a SELECT that cannot be carried out as it is written."""
LOST_STATES = ("08", "57P01", "57P02", "57P03")
"""SQLSTATE classes of a connection that broke off."""
LOST_WORDS = ("terminating connection", "server closed the connection", "no connection", "connection has been closed")
"""What is said instead where the driver passes no SQLSTATE on: in the middle of a result."""
DRIVER_WORDS = (
    "[libpq]",
    "Failed to connect:",
    "Failed to prepare query:",
    "ERROR:",
    "FATAL:",
    "C Data interface error:",
    "Execution error",
    "[PGRES_FATAL_ERROR]:",
)


class DatabaseSource(BaseModel):
    """A database in place of files; its tables and views are named in the SELECTs, in its own SQL."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    url_env: str = Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$")
    """The environment variable with the URL, postgresql://USER:PASSWORD@HOST:PORT/DATABASE, which is never printed."""
    connect_timeout: int = Field(10, ge=1, le=600)
    """Seconds to wait for the connection."""
    statement_timeout: int = Field(3600, ge=1)
    """Seconds that one SELECT may take."""


class Database:
    """An open database; all SELECTs see it as it was when it was opened, and none can write."""

    def __init__(self, source: DatabaseSource, catalog: str) -> None:
        self._source = source
        self._catalog = catalog
        self._open: list[Any] = []

    def __enter__(self) -> "Database":
        import adbc_driver_manager as adbc
        from adbc_driver_postgresql import connect

        self._errors = adbc.Error
        self._statement = adbc.AdbcStatement
        url = self._url()
        try:
            self._database = connect(url)
            self._connection = adbc.AdbcConnection(self._database)
        except adbc.Error as error:
            raise self._no_connection(error, url) from None
        self._secrets = secrets_in(url)
        try:
            self._run("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            self._run(f"SET LOCAL statement_timeout = {self._source.statement_timeout * 1000}")
        except adbc.Error as error:
            self._close()
            raise DataError(f"{self._where()}: {self._said(error)}") from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._close()

    def select(self, table: str, sql: str) -> Iterator[pl.DataFrame]:
        """The rows of one SELECT, in parts, at least one part even if there are no rows.

        Raises ConfigError for a SELECT that the database refuses, DataError for a value that it cannot compute, a
        SELECT that takes too long, and a connection that breaks off.
        """
        from arro3.core import RecordBatchReader

        where = f"{self._catalog}: tables.{table}"
        statement = self._statement(self._connection)
        self._open.append(statement)
        try:
            statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
            statement.set_sql_query(sql.strip().rstrip(";"))
            batches = RecordBatchReader.from_stream(statement.execute_query()[0])
            empty = True
            for batch in batches:
                empty = False
                yield _plain(pl.DataFrame(batch))
            if empty:
                yield _plain(pl.DataFrame(batches.schema.empty_table()))
        except (RecsysError, pl.exceptions.PolarsError, GeneratorExit):
            raise
        except Exception as error:  # the stream's own errors have no common class
            raise self._failed(error, where) from None
        finally:
            self._open.remove(statement)
            with suppress(self._errors, RuntimeError):  # closed already, with its connection
                statement.close()

    def _run(self, sql: str) -> None:
        statement = self._statement(self._connection)
        try:
            statement.set_sql_query(sql)
            statement.execute_update()
        finally:
            statement.close()

    def _close(self) -> None:
        for opened in (*self._open, self._connection, self._database):
            # A connection that broke off, or one with a result that was left half read, refuses to be closed.
            with suppress(self._errors, RuntimeError):
                opened.close()

    def _where(self) -> str:
        return f"{self._catalog}: database.url_env {self._source.url_env}"

    def _url(self) -> str:
        """The URL with the time limit of the connection; ConfigError if there is none, or one of another database."""
        name = self._source.url_env
        url = os.environ.get(name, "")
        if not url:
            raise ConfigError(
                f"{self._where()}: the environment variable is not set; "
                f"export {name}=postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
            )
        if not url.startswith(("postgresql://", "postgres://")):
            raise ConfigError(f"{self._where()}: must begin with postgresql://; only PostgreSQL can be read")
        if ambiguous(url):
            raise self._unreadable()
        limits = {"connect_timeout": str(self._source.connect_timeout), "keepalives_idle": "30"}
        wanted = [f"{key}={value}" for key, value in limits.items() if f"{key}=" not in url]
        return url + ("&" if "?" in url else "?") + "&".join(wanted) if wanted else url

    def _no_connection(self, error: Exception, url: str) -> RecsysError:
        self._secrets = secrets_in(url)
        text = self._said(error)
        if "could not" not in text and "connection to server" not in text and "timeout" not in text:
            return self._unreadable()  # what libpq says of a URL that it cannot read quotes the URL
        return DataError(f"{self._where()}: {text}")

    def _unreadable(self) -> ConfigError:
        return ConfigError(f"{self._where()}: cannot be read as a URL; characters such as @ or / in it need %XX")

    def _failed(self, error: Exception, where: str) -> RecsysError:
        state = str(getattr(error, "sqlstate", None) or _state_in(str(error)))
        text = self._said(error)
        if state == "57014" or "statement timeout" in text:
            return DataError(
                f"{where}: took longer than {self._source.statement_timeout} s; "
                "make the SELECT faster, or raise database.statement_timeout"
            )
        if state.startswith(LOST_STATES) or any(words in text for words in LOST_WORDS):
            return DataError(f"{where}: the connection to the database broke off; nothing was written ({text})")
        if state.startswith(QUERY_STATES):
            return ConfigError(f"{where}: {text}")
        return DataError(f"{where}: {text}")

    def _said(self, error: Exception) -> str:
        """The database's message in one line, without the query, the driver's own words, and every secret."""
        text = str(error).split("Query was:")[0]
        for words in DRIVER_WORDS:
            text = text.replace(words, " ")
        head, _, rest = text.partition(": ")
        text = rest if head.isupper() else text
        for secret in self._secrets:
            text = text.replace(secret, "…")
        lines = [line.strip() for line in text.splitlines() if line.strip() and not set(line) <= {"^", " "}]
        return " ".join(" ".join(lines).split())[:600]


def ambiguous(url: str) -> bool:
    """Whether the password may hold an @, / or other character that ends it early, so that its rest would be a host."""
    _, _, rest = url.partition("://")
    before, at, _ = rest.rpartition("@")
    return bool(at) and not rest.startswith("/") and any(mark in before for mark in "@/?#")


def secrets_in(url: str) -> list[str]:
    """What must not be printed: the URL and the passwords in it, as they are written and as they are meant."""
    found = {url}
    try:
        parts = urlsplit(url)
        passwords = [parts.password, *(text for key, text in parse_qsl(parts.query) if "password" in key)]
    except ValueError:
        passwords = []
    for password in filter(None, passwords):
        found |= {password, unquote(password), quote(unquote(password), safe="")}
    return sorted(found, key=len, reverse=True)


def _state_in(text: str) -> str:
    _, found, state = text.rpartition("SQLSTATE: ")
    return state.strip().rstrip(".")[:5] if found else ""


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """With NUMERIC, which comes as text under a name of its own, as plain text: the check of types says what to do."""
    opaque = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.BaseExtension)]
    return frame.with_columns(frame[name].ext.storage().alias(name) for name in opaque) if opaque else frame
