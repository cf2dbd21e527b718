"""What may go wrong around a store: loads cut short, other forms, a full disk, a database that is down."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from recsys.__main__ import main
from recsys.errors import ConfigError
from recsys.lake.store import Lake
from serving.answers import Answers
from serving.online import customer, erasure, events
from serving.request import BadRequest
from serving.store import Store, StoreError, schema
from serving.store.engine import engine_of, url_of, writing
from serving.store.load import load
from serving.store.migrate import MIGRATIONS, migrate
from serving.store.schema import HEAD, metadata
from serving.store.suppression import KEY
from tests.conftest import SmallBank, called
from tests.lake.postgres_server import Server
from tests.serving.store.conftest import SECRET, Open, Place


def post(answers: Answers, *ids: str) -> dict[str, Any]:
    rows = [{"event_id": i, "customer_id": "C0000", "kind": "login", "at": "2025-06-20T08:00:00"} for i in ids]
    return events(answers, json.dumps({"interactions": rows}).encode(), {})


def event_ids(answers: Answers) -> list[str]:
    return [event["event_id"] for event in customer(answers, b"", {"id": "C0000"})["events"]]


def contents(name: str) -> dict[str, list[Any]]:
    """The rows of what a load writes, without versions."""
    store = Store.open(name)
    found = {}
    with store.reads() as connection:
        for table in (schema.stored_rows, schema.holders, schema.seen, schema.bank):
            columns = [column for column in table.columns if column.name != "version"]
            found[table.name] = connection.execute(sa.select(*columns).order_by(*table.primary_key)).all()
    store.close()
    return found


def test_a_load_that_was_cut_short_continues_to_the_same_end(place: Place, filled: str, whole_bank: SmallBank) -> None:
    name, bundle, lake = place.empty(), str(whole_bank.bundle), str(whole_bank.lake)

    def stop(done: int, total: int, what: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(bundle, lake, name, threads=1, progress=stop)
    with pytest.raises(StoreError, match="cut short"):
        Answers.open(bundle, None, None, None, Store.open(name))
    begun: list[int] = []
    again = load(bundle, lake, name, threads=1, progress=lambda done, total, what: begun.append(done))
    assert (again.customers, again.already) == (600, False)
    assert contents(name) == contents(filled)
    assert load(bundle, lake, name, threads=1).already


def test_a_load_for_tomorrow_leaves_today_as_it_is(state: Open) -> None:
    lake = Lake.open(state.bank.lake)
    assert lake.as_of is not None
    tomorrow = lake.as_of + timedelta(days=1)
    bundle = Answers.open(state.bank.bundle, None, None).bundle.bundle_id
    load(str(state.bank.bundle), lake.path, state.name, as_of=tomorrow, threads=1)
    store = state.store()
    for day in (lake.as_of, tomorrow):
        looked = store.look("C0000", bundle, day, None)
        assert looked is not None and looked.stored is not None
    assert len(store.vectors(bundle)[0]) == 600 and store.vectors(bundle)[1].shape[0] == 600
    assert store.known(["C0000", "nobody"]) == {"C0000"}


def test_another_day_makes_stored_answers_stale_and_another_source_is_refused(state: Open, tmp_path: Path) -> None:
    lake = Lake.open(state.bank.lake)
    earlier = Answers.open(state.bank.bundle, None, date(2025, 3, 1), None, state.store())
    beside = Answers.open(state.bank.bundle, state.bank.lake, date(2025, 3, 1))
    assert earlier.segment({"customer_id": "C0000"}) == beside.segment({"customer_id": "C0000"})
    shutil.copytree(state.bank.lake, tmp_path / "other")
    listing = next((tmp_path / "other").glob("lake.json"))
    listing.write_text(listing.read_text().replace(f'"{lake.source}"', '"elsewhere"'))
    with pytest.raises(StoreError, match="same source"):
        load(str(state.bank.bundle), str(tmp_path / "other"), state.name, threads=1)


def test_the_migrations_make_the_tables_that_the_code_declares(place: Place) -> None:
    name = place.empty()
    url = url_of(name)
    assert migrate(url) == (None, HEAD) and migrate(url) == (HEAD, HEAD)
    engine = engine_of(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD
    with pytest.raises(StoreError, match="state load"):
        Store.open(name).loaded()
    assert called("state", "migrate", name) == [f"form {HEAD}"]


def test_a_name_that_is_no_store_is_not_made_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["state", "migrate", str(tmp_path / "sate.db")])
    assert "sate.db: no such file; recsys state load makes a store" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("form", "right"), [("0000", "state migrate"), ("9999", "newer release")])
def test_a_store_of_another_form_says_what_to_do(state: Open, form: str, right: str) -> None:
    with state.store().writes() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :form"), {"form": form})
    with pytest.raises(StoreError, match=right):
        state.store()


def test_what_is_no_store_is_refused_in_one_line(tmp_path: Path, place: Place) -> None:
    for name in ("mysql://host/database", "sqlite://", "://"):
        with pytest.raises(ConfigError, match="--store"):
            Store.open(name)
    with pytest.raises(StoreError, match="state load"):
        Store.open(place.empty())


@contextmanager
def full(store: Store) -> Iterator[None]:
    """A store in a file whose disk has no room for another page."""

    def limit(raw: Any, *_: Any) -> None:
        pages = raw.execute("PRAGMA page_count").fetchone()[0]
        raw.execute(f"PRAGMA max_page_count = {pages}")

    store.engine.dispose()
    sa.event.listen(store.engine, "connect", limit)
    yield
    sa.event.remove(store.engine, "connect", limit)
    store.engine.dispose()


def test_a_full_disk_is_said_and_nothing_is_acknowledged(whole_bank: SmallBank, tmp_path: Path) -> None:
    name = str(tmp_path / "full.db")
    load(str(whole_bank.bundle), str(whole_bank.lake), name, threads=1)
    store = Store.open(name)
    answers = Answers.open(whole_bank.bundle, None, None, None, store)
    post(answers, "before")
    with full(store):
        taken = []
        with pytest.raises(BadRequest) as refused:
            for number in range(500):
                many = [f"{number}-{i}-{'x' * 100}" for i in range(20)]
                post(answers, *many)
                taken += many
        assert (refused.value.status, refused.value.retry_after) == (503, 1)
        assert "disk is full" in refused.value.message and "nothing was written" in refused.value.message
        assert answers.segment({"customer_id": "C0001"})
    assert event_ids(answers) == ["before", *taken]
    assert post(answers, "after")["new"] == 1  # by itself, once there is room
    store.close()


def test_a_database_that_is_down_is_said_and_comes_back_by_itself(
    server: Server, whole_bank: SmallBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, SECRET)
    server.execute("CREATE DATABASE falls")
    name = server.url.rsplit("/", 1)[0] + "/falls"
    load(str(whole_bank.bundle), str(whole_bank.lake), name, threads=1)
    store = Store.open(name)
    answers = Answers.open(whole_bank.bundle, None, None, None, store)
    assert post(answers, "before")["new"] == 1
    kept = answers.segment({"customer_id": "C0001"})
    server.control("-m", "immediate", "stop")
    for ask in (lambda: post(answers, "during"), lambda: answers.segment({"customer_id": "C0001"})):
        with pytest.raises(BadRequest) as refused:
            ask()
        assert (refused.value.status, refused.value.retry_after) == (503, 1)
        assert "s3cr" not in refused.value.message
    options = f"-p {server.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
    server.control("-o", options, "-l", str(server.folder / "log"), "start")
    assert answers.segment({"customer_id": "C0001"}) == kept
    assert event_ids(answers) == ["before"]
    assert post(answers, "during")["new"] == 1
    store.close()


def test_without_a_key_apart_from_the_database_a_store_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(KEY, raising=False)
    with pytest.raises(ConfigError, match=KEY):
        Store.open("postgresql://bank@127.0.0.1/nothing")
    migrate(url_of(str(tmp_path / "state.db")))
    assert Store.open(str(tmp_path / "state.db")).hash_of("C1") == Store.open(str(tmp_path / "state.db")).hash_of("C1")
    key = tmp_path / "state.db.key"
    assert key.stat().st_mode & 0o077 == 0 and len(key.read_text()) == 64


def test_an_erasure_that_fails_erases_nothing(
    whole_bank: SmallBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.store.engine.BUSY_SECONDS", 1)
    name = str(tmp_path / "whole.db")
    load(str(whole_bank.bundle), str(whole_bank.lake), name, threads=1)
    store = Store.open(name)
    answers = Answers.open(whole_bank.bundle, None, None, None, store)
    with writing(engine_of(url_of(name))).begin():
        with pytest.raises(BadRequest) as refused:
            erasure(answers, b"", {"id": "C0000"})
        assert refused.value.status == 503 and "others were writing" in refused.value.message
    assert answers.segment({"customer_id": "C0000"})
    assert erasure(answers, b"", {"id": "C0000"})["erased"]
    store.close()
