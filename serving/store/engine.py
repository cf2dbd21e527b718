"""How the store is reached: SQLite in one file or PostgreSQL by URL, durable commits, errors that say what to do."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from recsys.errors import ConfigError, DataError

BUSY_SECONDS = 5
"""How long a write waits for another process's write, and a connection for its database."""
QUICK_MILLISECONDS = 50
"""How long the writing back of a computed answer waits: it may be skipped, an event may not."""

_BEGIN = "recsys_begin"
"""The execution option with the statement by which SQLite's transactions begin."""


class StoreError(DataError):
    """A store that is absent, of another form, or loaded for something else."""


class StoreDown(StoreError):
    """The store cannot be reached or written now; nothing of the request was kept."""


def url_of(store: str) -> sa.URL:
    """The database of `--store`: a file for SQLite, or a URL of sqlite or postgresql. ConfigError for another."""
    if "://" not in store:
        return sa.URL.create("sqlite", database=str(Path(store).absolute()))
    try:
        url = sa.make_url(store)
        backend = url.get_backend_name()
    except SQLAlchemyError:
        backend = "unknown"
    if backend not in ("sqlite", "postgresql"):
        raise ConfigError(
            "--store: neither a file nor a URL of SQLite or PostgreSQL; write state.db, sqlite:////bank/state.db or "
            "postgresql://user:password@host/database"
        )
    if backend == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if not url.database or url.database == ":memory:":
        raise ConfigError("--store: SQLite in memory is lost at once, and no other process sees it; name a file")
    return url.set(drivername="sqlite", database=str(Path(url.database).absolute()))


def engine_of(url: sa.URL, *, durable: bool = True) -> sa.Engine:
    """Connections whose commits are on the disk when they return; without `durable`, soon after.

    What is not durable may be lost with the machine's power, never half written.
    """
    if url.get_backend_name() == "sqlite":
        engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS})
        sa.event.listen(engine, "connect", lambda raw, _: _prepare(raw, durable))
        sa.event.listen(engine, "begin", _begin)
        return engine
    milliseconds = BUSY_SECONDS * 1000
    options = f"-c statement_timeout={2 * milliseconds} -c lock_timeout={milliseconds}"
    if not durable:
        options += " -c synchronous_commit=off"
    arguments = {"connect_timeout": BUSY_SECONDS, "options": options, "application_name": "recsys"}
    return sa.create_engine(url, connect_args=arguments, pool_pre_ping=True, pool_timeout=BUSY_SECONDS)


def writing(engine: sa.Engine) -> sa.Engine:
    """The same connections, whose transactions take the right to write at their start (SQLite has one writer)."""
    return engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})


def reading(engine: sa.Engine) -> sa.Engine:
    """The same connections, whose transactions see one state of all tables."""
    if engine.dialect.name == "sqlite":
        return engine
    return engine.execution_options(isolation_level="REPEATABLE READ")


def looking_up(engine: sa.Engine) -> sa.Engine:
    """The same connections, for single statements that need no transaction around them."""
    if engine.dialect.name == "sqlite":
        return engine.execution_options(**{_BEGIN: None})
    return engine.execution_options(isolation_level="AUTOCOMMIT")


@contextmanager
def reaching(url: sa.URL) -> Iterator[None]:
    """Turn what a database says when it is down, full, locked or slow into StoreDown; its text may quote a row."""
    try:
        yield
    except PoolTimeout:
        raise StoreDown(f"{name_of(url)}: no connection was free in {BUSY_SECONDS} s; try again") from None
    except DBAPIError as error:
        if isinstance(error, sa.exc.IntegrityError | sa.exc.ProgrammingError | sa.exc.DataError):
            raise
        raise StoreDown(f"{name_of(url)}: {_reason(error)}") from None


def name_of(url: sa.URL) -> str:
    """What people call the store, without a password."""
    return str(url.database) if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)


def _reason(error: DBAPIError) -> str:
    text = str(error.orig).lower()
    if "full" in text or "no space" in text:
        return "the disk is full, so nothing was written; make room, it then goes on by itself"
    if "locked" in text or "timeout" in text:
        return f"others were writing for more than {BUSY_SECONDS} s; try again"
    if "readonly" in text or "read-only" in text:
        return "it can only be read; give the service the right to write, or name the primary"
    if "unable to open" in text:
        return "it cannot be opened; is the directory there, and may it be written?"
    return f"it cannot be reached now ({type(error.orig).__name__}); try again"


def _prepare(raw: Any, durable: bool) -> None:
    raw.isolation_level = None  # we say BEGIN ourselves: Python's module would begin too late
    cursor: sqlite3.Cursor = raw.cursor()
    wait = BUSY_SECONDS * 1000 if durable else QUICK_MILLISECONDS
    cursor.execute(f"PRAGMA busy_timeout = {wait}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA secure_delete = ON")  # what is erased is overwritten, not only unlinked
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    begin = connection.get_execution_options().get(_BEGIN, "BEGIN")
    if begin:
        connection.exec_driver_sql(begin)
