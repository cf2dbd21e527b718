"""The form of a store: made where there is none, checked where there is one, changed only when asked."""

from pathlib import Path

import sqlalchemy as sa

from serving.store.engine import StoreError, engine_of, name_of, reaching, writing
from serving.store.schema import HEAD

MIGRATIONS = Path(__file__).resolve().parent / "migrations"
_LOCK = 7_236_401
"""PostgreSQL's advisory lock while the form is made or changed: several workers may start at once."""


def form_of(engine: sa.Engine) -> str | None:
    """The migration that a database is at; None where it has never been a store."""
    with reaching(engine.url), engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def check(engine: sa.Engine) -> None:
    """StoreError, saying what to do, unless the store has the form that this release reads."""
    form, name = form_of(engine), name_of(engine.url)
    if form is None:
        raise StoreError(f"{name}: holds no state; fill it with recsys state load BUNDLE LAKE --store …")
    if form > HEAD:
        raise StoreError(f"{name}: has form {form}, made by a newer release that this one ({HEAD}) cannot read")
    if form < HEAD:
        raise StoreError(f"{name}: has form {form}, this release reads {HEAD}; run recsys state migrate first")


def migrate(url: sa.URL) -> tuple[str | None, str]:
    """Bring a database to the newest form, or make it; the form before and after. Raises StoreDown, StoreError."""
    from alembic import command
    from alembic.config import Config

    engine = engine_of(url)
    before = form_of(engine)
    if before is not None and before >= HEAD:
        check(engine)
        engine.dispose()
        return before, before
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with reaching(url), writing(engine).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    engine.dispose()
    return before, HEAD
