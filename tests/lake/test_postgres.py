"""A bank in a real PostgreSQL comes in as its files would; whatever breaks is said, without the password."""

import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import polars as pl
import pytest

from recsys.errors import ConfigError, DataError, RecsysError
from recsys.lake.append import append_catalog
from recsys.lake.catalog import import_catalog
from recsys.lake.postgres import secrets_in
from recsys.lake.store import Lake
from tests.lake.postgres_server import PASSWORD, Server

CATALOG = """
name: bank
title: A small bank
source: nobody
licence: none
good_for: a test
currency: EUR
until: 2024-12-31
buckets: 4
{where}
tables:
  customers: SELECT client AS customer_id, born, income FROM client
  account_holders: SELECT account AS account_id, client AS customer_id FROM holder
  accounts: SELECT account AS account_id, product AS product_id, CAST(opened AS DATE) AS opened FROM account
  transactions: |
    SELECT id AS event_id, account AS account_id, CAST("at" AS TIMESTAMP) AS at, CAST(amount AS BIGINT) AS amount
    FROM payment
columns:
  customers:
    born: {{role: feature, kind: date}}
    income: {{role: feature, kind: number}}
"""
TABLES = {
    "client": "client text, born date, income float8",
    "holder": "account text, client text",
    "account": "account text, product text, opened date",
    "payment": "id text, account text, at timestamp, amount bigint",
}
FROM_DATABASE = "database: {url_env: BANK_URL, connect_timeout: 3, statement_timeout: 20}"


@pytest.fixture(scope="module")
def files(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bank as Parquet files, and the same rows in the database."""
    root = tmp_path_factory.mktemp("files")
    numbers = pl.int_range(200, eager=True)
    frames = {
        "client": pl.select(
            client=pl.lit("C") + numbers.cast(pl.String),
            born=pl.date(1950, 1, 1) + pl.duration(days=numbers * 97),
            income=pl.when(numbers % 7 > 0).then(numbers * 12.5),
        ),
        "holder": pl.select(
            account=pl.lit("A") + (numbers // 2 * 2).cast(pl.String), client=pl.lit("C") + numbers.cast(pl.String)
        ),
        "account": pl.select(
            account=pl.lit("A") + numbers.gather_every(2).cast(pl.String),
            product=pl.lit("giro ü"),
            opened=pl.date(2020, 2, 29),
        ),
        "payment": pl.select(
            id=pl.int_range(5000).cast(pl.String),
            account=pl.lit("A") + (pl.int_range(5000) * 2 % 200).cast(pl.String),
            at=pl.datetime(2024, 1, 1) + pl.duration(minutes=pl.int_range(5000) * 90),
            amount=pl.int_range(5000) * 1001 - 2_500_000,
        ),
    }
    for name, frame in frames.items():
        frame.write_parquet(root / f"{name}.parquet")
        frame.write_csv(root / f"{name}.csv")
        rows = (root / f"{name}.csv").read_text().split("\n", 1)[1]
        server.execute(f"CREATE TABLE {name} ({TABLES[name]});\nCOPY {name} FROM STDIN (FORMAT csv);\n{rows}\\.\n")
    return root


@pytest.fixture(autouse=True)
def url(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANK_URL", server.url)


def catalog(folder: Path, where: str = FROM_DATABASE, change: tuple[str, str] = ("", "")) -> Path:
    path = folder / "bank.yaml"
    path.write_text(CATALOG.format(where=where).replace(*change))
    return path


def refused(folder: Path, change: tuple[str, str] = ("", ""), where: str = FROM_DATABASE) -> RecsysError:
    """The error of an import that must leave nothing, and never the password."""
    with pytest.raises(RecsysError) as error:
        import_catalog(catalog(folder, where, change), folder / "lake", None)
    assert not (folder / "lake").exists()
    assert not any(secret in str(error.value) for secret in (PASSWORD, "s3cr%40t"))
    return error.value


def test_the_database_gives_the_lake_that_its_files_give(files: Path, tmp_path: Path) -> None:
    listed = ", ".join(f"{name}: {{path: {name}.parquet, format: parquet}}" for name in TABLES)
    (tmp_path / "f").mkdir()
    ours = import_catalog(catalog(tmp_path), tmp_path / "lake", None)
    theirs = import_catalog(catalog(tmp_path / "f", f"files: {{{listed}}}"), tmp_path / "f" / "lake", files)
    assert {name: info.rows for name, info in ours.tables.items()} == {
        "customers": 200,
        "products": 1,
        "account_holders": 200,
        "accounts": 100,
        "transactions": 5000,
    }
    for name in theirs.tables:
        assert ours.read(name).equals(theirs.read(name)), name
    assert ours.identity() == theirs.identity()


def test_a_day_is_appended_from_the_database(server: Server, files: Path, tmp_path: Path) -> None:
    import_catalog(catalog(tmp_path), tmp_path / "lake", None)
    server.execute("INSERT INTO payment VALUES ('N1', 'A0', '2024-12-24 10:00', 5)")
    try:
        lake, counts = append_catalog(tmp_path / "lake", catalog(tmp_path), None)
    finally:
        server.execute("DELETE FROM payment WHERE id = 'N1'")
    assert (counts["transactions"].added, counts["transactions"].repeated, lake.version) == (1, 5000, 2)


def test_all_tables_are_of_one_moment(server: Server, files: Path, tmp_path: Path) -> None:
    seen = []

    def meanwhile(done: int, total: int, what: str) -> None:
        if what == "customers read":
            server.execute("INSERT INTO payment VALUES ('N2', 'A0', '2024-12-24 10:00', 5)")
            seen.append(what)

    try:
        lake = import_catalog(catalog(tmp_path), tmp_path / "lake", None, progress=meanwhile)
    finally:
        server.execute("DELETE FROM payment WHERE id = 'N2'")
    assert seen and lake.tables["transactions"].rows == 5000


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (("amount AS BIGINT", "sum AS BIGINT"), ConfigError, 'tables.transactions: column "sum" does not exist'),
        (("FROM payment", "FROM payments"), ConfigError, 'relation "payments" does not exist'),
        (
            ("CAST(amount AS BIGINT)", "CAST(amount AS NUMERIC)"),
            DataError,
            "transactions.amount: is text, must be a whole",
        ),
        (
            ('CAST("at" AS TIMESTAMP)', "\"at\" AT TIME ZONE 'UTC'"),
            DataError,
            "transactions.at: is a time with the zone",
        ),
        (("CAST(amount AS BIGINT)", "CAST(amount / 0 AS BIGINT)"), DataError, "division by zero"),
        (("FROM payment", "FROM payment; DROP TABLE payment"), ConfigError, "cannot insert multiple commands"),
        (("born, income", "born"), DataError, "customers.income: declared as an attribute"),
    ],
)
def test_a_select_that_does_not_fit_is_named(
    files: Path, tmp_path: Path, change: tuple[str, str], kind: type[RecsysError], said: str
) -> None:
    error = refused(tmp_path, change)
    assert isinstance(error, kind) and said in str(error), str(error)


def test_nothing_can_be_written(files: Path, tmp_path: Path) -> None:
    writes = (
        "SELECT client AS customer_id, born, income FROM client",
        "DELETE FROM client RETURNING client, born, income",
    )
    assert "read-only transaction" in str(refused(tmp_path, writes))


def test_a_wrong_password_a_dead_server_and_a_missing_variable_are_told_apart(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BANK_URL", server.url.replace("s3cr%40t", "wrong-word"))
    said = str(refused(tmp_path))
    assert "password authentication failed" in said and "wrong-word" not in said
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("BANK_URL", server.url.replace(str(server.port), str(closed.getsockname()[1])))
        assert re.search("BANK_URL: connection to server .* failed", str(refused(tmp_path)))
    monkeypatch.setenv("BANK_URL", f"postgresql://bank:{PASSWORD} x@127.0.0.1/postgres")
    assert "cannot be read as a URL" in str(refused(tmp_path))
    monkeypatch.setenv("BANK_URL", "mysql://bank:pass@127.0.0.1/bank")
    assert "must begin with postgresql://" in str(refused(tmp_path))
    monkeypatch.delenv("BANK_URL")
    assert "export BANK_URL=postgresql://USER:PASSWORD" in str(refused(tmp_path))


@pytest.mark.parametrize("password", ["to@p", "to/p", "to?p", "t:o@p", "a@b@top"])
def test_a_password_that_ends_early_is_refused_before_its_rest_becomes_a_host(
    password: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BANK_URL", f"postgresql://bank:{password}@127.0.0.1:1/postgres")
    said = str(refused(tmp_path))
    assert "cannot be read as a URL" in said and "top" not in said and "p@" not in said


def test_every_form_of_a_password_is_a_secret() -> None:
    assert {"s3/cr", "s3%2Fcr"} < set(secrets_in("postgresql://bank:s3%2Fcr@127.0.0.1/bank"))
    assert {"s3/cr", "s3%2Fcr"} < set(secrets_in("postgresql://127.0.0.1/bank?user=bank&password=s3%2Fcr"))


def test_a_slow_select_is_given_up(files: Path, tmp_path: Path) -> None:
    slow = FROM_DATABASE.replace("20}", "1}")
    said = str(refused(tmp_path, ("FROM payment", "FROM payment, pg_sleep(30)"), slow))
    assert "took longer than 1 s" in said and "database.statement_timeout" in said


def test_a_server_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("BANK_URL", f"postgresql://bank:x@127.0.0.1:{silent.getsockname()[1]}/postgres")
        assert "timeout" in str(refused(tmp_path))


def test_a_connection_that_breaks_midway_leaves_nothing(server: Server, files: Path, tmp_path: Path) -> None:
    endless = ("FROM payment", "FROM payment, generate_series(1, 100000) AS again")
    before = {path.name for path in tmp_path.iterdir()}

    ended = threading.Event()

    def cut() -> None:
        streaming = "query LIKE '%generate_series%' AND pid <> pg_backend_pid()"
        while not ended.wait(1.5):
            server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {streaming}")

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        error = refused(tmp_path, endless)
    finally:
        ended.set()
        cutter.join()
    assert isinstance(error, DataError) and "broke off; nothing was written" in str(error), str(error)
    assert {path.name for path in tmp_path.iterdir()} - before == {"bank.yaml"}


def test_the_command_never_prints_the_password(server: Server, files: Path, tmp_path: Path) -> None:
    path = str(catalog(tmp_path, FROM_DATABASE, ("FROM payment", "FROM nowhere")))
    command = [sys.executable, "-m", "recsys", "data", "import", path, str(tmp_path / "lake")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "BANK_URL": server.url})
    assert done.returncode == 2 and 'relation "nowhere" does not exist' in done.stderr
    assert PASSWORD not in done.stdout + done.stderr and "s3cr%40t" not in done.stdout + done.stderr
    good = str(catalog(tmp_path))
    done = subprocess.run([*command[:5], good, str(tmp_path / "lake")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Lake.open(tmp_path / "lake").source == "bank"
    for file in (tmp_path / "lake").rglob("*.json"):
        assert PASSWORD not in file.read_text() and "s3cr%40t" not in file.read_text()


def test_files_and_database_exclude_each_other(tmp_path: Path) -> None:
    assert "exactly one of them" in str(refused(tmp_path, where=""))
    both = FROM_DATABASE + "\nfiles: {client: {path: c.csv, format: csv}}"
    assert "exactly one of them" in str(refused(tmp_path, where=both))
    only = "files: {client: {path: c.csv, format: csv}}"
    assert "--root is missing" in str(refused(tmp_path, where=only))
