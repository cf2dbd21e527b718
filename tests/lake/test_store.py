"""A lake is seen whole or not at all; a bucket and a customer come with all their rows, each once."""

import json
import multiprocessing
import os
import signal
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from recsys.errors import ConfigError, DataError, LakeError
from recsys.lake.buckets import bucket_of
from recsys.lake.contract import TABLES
from recsys.lake.store import Attribute, Lake, LakeWriter
from tests.lake.bank import CUSTOMERS, UNTIL, tables, write


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return write(tmp_path_factory.mktemp("bank") / "lake", tables())


def test_what_was_written_is_read(lake: Lake) -> None:
    assert (lake.version, lake.buckets, lake.currency, lake.source, lake.until) == (1, 4, "GBP", "test", UNTIL)
    for name, frame in tables().items():
        read = lake.read(name)
        key = [column for column in TABLES[name].key if column in frame.columns]
        assert read.equals(frame.sort(key).select(read.columns)), name
        assert lake.tables[name].rows == frame.height, name
    assert lake.attributes("products") == (Attribute("tags", "feature", "tags"),)
    assert lake.attributes("campaigns") == ()


def test_last_event_gives_the_day_from_which_all_is_known(lake: Lake, tmp_path: Path) -> None:
    assert lake.last_event == tables()["transactions"]["at"].max().date()  # type: ignore[union-attr]
    assert lake.as_of is not None and (lake.as_of - lake.last_event).days == 1
    undated = {name: frame for name, frame in tables().items() if name in ("customers", "products")}
    assert write(tmp_path / "undated", undated).as_of is None


def test_buckets_hold_their_customers_and_all_rows_of_their_accounts(lake: Lake) -> None:
    seen: list[str] = []
    for b in range(lake.buckets):
        frames = lake.bucket(b)
        assert all("bucket" not in frame.columns for frame in frames.values())
        assert frames["products"].height == 2
        ids = frames["customers"]["customer_id"]
        assert (bucket_of(ids, 4) == b).all()
        seen += ids.to_list()
        accounts = tables()["account_holders"].filter(pl.col("customer_id").is_in(ids.implode()))["account_id"]
        expected = tables()["transactions"].filter(pl.col("account_id").is_in(accounts.implode()))
        assert set(frames["transactions"]["event_id"]) == set(expected["event_id"])
        once = lake.bucket(b, ["transactions"], once=True)["transactions"]
        assert set(once["event_id"]) <= set(expected["event_id"])
    assert sorted(seen) == CUSTOMERS
    assert set(lake.bucket(0, ["customers", "consents"])) == {"customers"}
    with pytest.raises(LakeError, match="no bucket 4"):
        lake.bucket(4)


def test_joint_accounts_stand_with_every_holder_and_count_once(lake: Lake) -> None:
    copies = lake.scan("transactions").collect()
    apart = [
        a for a, c in (("A000", "C001"), ("A002", "C003")) if bucket_of(pl.Series([c, f"C{a[1:]}"]), 4).n_unique() == 2
    ]
    assert apart, "choose customers of different buckets"
    assert copies.height == 80 + 2 * len(apart)
    assert lake.read("transactions").height == lake.tables["transactions"].rows == 80


def test_one_customer_comes_with_accounts_and_co_holders_only(lake: Lake) -> None:
    frames = lake.customers(["C001"])
    assert frames["customers"]["customer_id"].to_list() == ["C001"]
    assert set(frames["accounts"]["account_id"]) == {"A000", "A001"}
    assert set(frames["account_holders"]["customer_id"]) == {"C000", "C001"}
    assert frames["transactions"].height == 4
    assert frames["interactions"].height == 1
    assert frames["products"].height == 2


def test_joint_holders_asked_for_together_get_each_row_once(lake: Lake) -> None:
    frames = lake.customers(CUSTOMERS)
    for name, frame in tables().items():
        assert frames[name].height == frame.height, name
    assert lake.customers(["C000", "C001", "C000"])["transactions"]["event_id"].is_unique().all()


def test_unknown_customers_have_no_rows(lake: Lake) -> None:
    frames = lake.customers(["nobody"])
    assert frames["customers"].height == frames["transactions"].height == 0
    assert frames["transactions"].schema == lake.bucket(0)["transactions"].schema
    assert lake.customers([])["customers"].height == 0


def test_empty_buckets_keep_the_columns(tmp_path: Path) -> None:
    few = {name: frame.head(1) for name, frame in tables().items()}
    lake = write(tmp_path / "lake", few, buckets=8)
    empty = next(b for b in range(8) if not lake.bucket(b)["customers"].height)
    assert lake.bucket(empty)["transactions"].schema == lake.schema("transactions")


def test_rows_given_with_their_bucket_give_the_same_lake(lake: Lake, tmp_path: Path) -> None:
    attributes = {name: lake.attributes(name) for name in ("customers", "products")}
    with LakeWriter(
        tmp_path / "lake", buckets=4, currency="GBP", source="test", until=UNTIL, attributes=attributes
    ) as w:
        w.append("products", lake.read("products"))
        for b in reversed(range(4)):
            for name, frame in lake.bucket(b).items():
                if name != "products":
                    w.append(name, frame.with_columns(bucket=pl.lit(b)))
    again = Lake.open(tmp_path / "lake")
    assert {name: info.rows for name, info in again.tables.items()} == {n: i.rows for n, i in lake.tables.items()}
    assert again.identity() == lake.identity()


def test_identity_follows_the_rows(lake: Lake, tmp_path: Path) -> None:
    assert write(tmp_path / "same", tables()).identity() == lake.identity()
    changed = tables()
    changed["transactions"] = changed["transactions"].with_columns(
        amount=pl.when(pl.col("event_id") == "T007").then(-1251).otherwise("amount")
    )
    assert write(tmp_path / "changed", changed).identity() != lake.identity()


def test_absent_foreign_and_unknown_lakes_are_refused(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="no such lake"):
        Lake.open(tmp_path / "none")
    with pytest.raises(LakeError, match="not a lake"):
        Lake.open(tmp_path)
    content = json.loads((Path(lake.path) / "lake.json").read_text())
    for changed, message in (
        (content | {"schema": 99}, "schema 99"),
        (content | {"hash": "crc"}, "'crc'"),
        ({k: v for k, v in content.items() if k != "versions"}, "missing or wrong"),
        (content | {"versions": []}, "lists no version"),
    ):
        (tmp_path / "lake.json").write_text(json.dumps(changed))
        with pytest.raises(LakeError, match=message):
            Lake.open(tmp_path)
    (tmp_path / "lake.json").write_text("{")
    with pytest.raises(LakeError, match="cannot be read"):
        Lake.open(tmp_path)


def test_a_table_that_vanished_is_named(tmp_path: Path) -> None:
    lake = write(tmp_path / "lake", tables())
    (tmp_path / "lake" / "transactions" / "_delta_log" / f"{0:020}.json").unlink()
    with pytest.raises(LakeError, match="version 0 of the table transactions"):
        Lake.open(lake.path).bucket(0)


def test_a_file_that_vanished_is_named(tmp_path: Path) -> None:
    lake = write(tmp_path / "lake", tables())
    for file in (tmp_path / "lake" / "transactions").rglob("*.parquet"):
        file.unlink()
    for ask in (lambda: lake.bucket(0), lambda: lake.customers(["C001"])):
        with pytest.raises(LakeError, match="cannot be read: .*parquet"):
            ask()


def test_a_later_append_to_a_table_is_not_seen(tmp_path: Path) -> None:
    from deltalake import write_deltalake

    lake = write(tmp_path / "lake", tables())
    rows = lake.scan("customers").collect()
    write_deltalake(tmp_path / "lake" / "customers", rows, mode="append", partition_by=["bucket"])
    assert Lake.open(tmp_path / "lake").read("customers").height == 40


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), LakeWriter(tmp_path / "lake") as writer:
        writer.append("customers", pl.DataFrame({"customer_id": ["C"]}))
        raise RuntimeError
    assert not (tmp_path / "lake").exists()
    (tmp_path / "empty").mkdir()
    with (
        pytest.raises(DataError, match="customers: the lake has no such table"),
        LakeWriter(tmp_path / "empty") as writer,
    ):
        writer.append("products", pl.DataFrame({"product_id": ["P"]}))
    assert list((tmp_path / "empty").iterdir()) == []


def test_lakes_and_foreign_folders_are_not_overwritten(lake: Lake, tmp_path: Path) -> None:
    before = (Path(lake.path) / "lake.json").read_bytes()
    with pytest.raises(LakeError, match="is a lake already"), LakeWriter(lake.path):
        pass
    assert (Path(lake.path) / "lake.json").read_bytes() == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(LakeError, match=r"not empty and no unfinished lake \(holds notes.txt\)"), LakeWriter(tmp_path):
        pass
    (tmp_path / "lake.unfinished").touch()
    with pytest.raises(LakeError, match="holds notes.txt"), LakeWriter(tmp_path):
        pass
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(LakeError, match="is a file"), LakeWriter(tmp_path / "notes.txt"):
        pass


def _killed_before_commit(path: Path) -> None:
    writer = LakeWriter(path, buckets=4, until=UNTIL)
    writer.__enter__()
    writer.append("customers", pl.DataFrame({"customer_id": ["lost"]}))
    writer.append("products", pl.DataFrame({"product_id": ["P0"]}))
    writer.uncommitted()
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_writer_leaves_a_half_written_lake_that_the_next_starts_over(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_killed_before_commit, args=(tmp_path / "lake",))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert (tmp_path / "lake" / "customers" / "_delta_log").is_dir()
    with pytest.raises(LakeError, match="half written"):
        Lake.open(tmp_path / "lake")
    assert write(tmp_path / "lake", tables()).read("customers")["customer_id"].to_list() == CUSTOMERS
    assert not (tmp_path / "lake" / "lake.unfinished").exists()


def test_two_writers_do_not_share_a_folder(tmp_path: Path) -> None:
    with LakeWriter(tmp_path / "lake", buckets=4, until=UNTIL) as first:
        first.append("customers", pl.DataFrame({"customer_id": ["C"]}))
        with pytest.raises(LakeError, match="another import is writing it"), LakeWriter(tmp_path / "lake"):
            pass
        first.append("products", pl.DataFrame({"product_id": ["P"]}))
    assert Lake.open(tmp_path / "lake").read("customers").height == 1


@pytest.mark.parametrize("folder", ["a bank", "année=1", "#1 {x}", "客"])
def test_folders_of_any_name(folder: str, tmp_path: Path) -> None:
    lake = write(tmp_path / folder / "lake", tables())
    assert lake.read("transactions").height == 80
    assert lake.scan("customers").collect().height == lake.customers(CUSTOMERS)["customers"].height == 40


@pytest.mark.parametrize("folder", ["a[1]", "50%", "a|b"])
def test_folders_that_delta_cannot_open_are_refused(folder: str, tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="choose another"):
        write(tmp_path / folder / "lake", tables())
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_comes_in_the_order_of_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.lake.store.FLUSH_BYTES", 20_000)
    numbers = list(range(1, 5_001))
    events = pl.DataFrame({"position": numbers, "customer_id": [CUSTOMERS[(i * 7) % 40] for i in numbers]})
    with LakeWriter(tmp_path / "lake", buckets=4, until=UNTIL) as writer:
        writer.append("customers", tables()["customers"].select("customer_id"))
        writer.append("products", tables()["products"].select("product_id"))
        for part in events.iter_slices(250):
            writer.append("interactions", part.with_columns(kind=pl.lit("viewed"), product_id=pl.lit("P0")))
    lake = Lake.open(tmp_path / "lake")
    assert lake.tables["interactions"].delta_version > 2
    for b in range(4):
        assert lake.bucket(b)["interactions"]["position"].is_sorted()


def test_wrong_options_and_changing_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="power of two"):
        LakeWriter(tmp_path / "lake", buckets=5)
    with pytest.raises(DataError, match="customers: appended with columns"), LakeWriter(tmp_path / "lake") as writer:
        writer.append("customers", pl.DataFrame({"customer_id": ["C"]}))
        writer.append("customers", pl.DataFrame({"customer_id": ["D"], "valid_from": [date(2024, 1, 1)]}))
    with pytest.raises(DataError, match="before any other table of accounts"), LakeWriter(tmp_path / "lake") as writer:
        writer.append("accounts", pl.DataFrame({"account_id": ["A"]}))
        writer.append("account_holders", pl.DataFrame({"account_id": ["A"], "customer_id": ["C"]}))
