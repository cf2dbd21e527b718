"""A lake in an object store is the lake in a folder: same rows, same versions; two writers never mix."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import obstore
import polars as pl
import pytest
from obstore.store import S3Store
from typer.testing import CliRunner

from recsys.__main__ import application
from recsys.errors import ConfigError, DataError, LakeError
from recsys.lake import object_store
from recsys.lake.append import Counts, append
from recsys.lake.check import violations
from recsys.lake.compact import compact
from recsys.lake.location import location
from recsys.lake.split import split
from recsys.lake.store import Lake, LakeWriter
from recsys.lake.update import LakeUpdate
from serving.answers import Answers
from tests.conftest import QUICK, SmallBank
from tests.lake.bank import CUSTOMERS, UNTIL, tables, write
from tests.lake.s3_server import BUCKET, SECRET, Server, running
from tests.lake.test_append import CATALOG
from tests.lake.test_update import a_day
from tests.ports import free_port


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as started:
        yield started


@pytest.fixture
def url(server: Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A prefix of its own for each test."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{request.node.name.split('[')[0]}/lake"


def objects(url: str) -> dict[str, int]:
    """What lies below an address, and its size, asked for without any code of ours."""
    store = S3Store(BUCKET, prefix=url.removeprefix(f"s3://{BUCKET}/"))
    return {found["path"]: found["size"] for chunk in obstore.list(store) for found in chunk}


def put(url: str, name: str, data: bytes) -> None:
    obstore.put(S3Store(BUCKET, prefix=url.removeprefix(f"s3://{BUCKET}/")), name, data)


def grow(place: str | Path, frames: dict[str, pl.DataFrame]) -> dict[str, Counts]:
    with LakeUpdate(place) as update:
        return append(update, frames, UNTIL)


def rows(lake: Lake) -> dict[str, list[tuple[object, ...]]]:
    return {name: lake.read(name).rows() for name in lake.tables}


def test_the_same_lake_as_in_a_folder(url: str, tmp_path: Path) -> None:
    there, here = write(url, tables()), write(tmp_path / "lake", tables())
    assert there.path == url
    assert there.identity() == here.identity()
    assert rows(there) == rows(here)
    for b in range(4):
        assert {name: frame.rows() for name, frame in there.bucket(b).items()} == {
            name: frame.rows() for name, frame in here.bucket(b).items()
        }
    assert there.customers(["C001"])["transactions"].height == 4
    assert not violations(there)
    assert not any(name.endswith("lake.unfinished") for name in objects(url))


def test_three_days_appended_are_the_rows_imported_at_once(url: str, tmp_path: Path) -> None:
    held = tables()
    events = held["transactions"]
    day = events["at"].dt.month().clip(3, 5) - 2
    for place in (url, tmp_path / "grown"):
        write(place, {**held, "transactions": events.filter(day == 1)})
        assert grow(place, {"transactions": events.filter(day <= 2)}) == {
            "transactions": Counts(added=(day == 2).sum(), repeated=(day == 1).sum())
        }
        late = events.filter(day == 3).with_columns(amount=pl.lit(-7))
        assert grow(place, {"transactions": late}) == {"transactions": Counts(added=late.height)}
        assert grow(place, {"transactions": events.tail(9)})["transactions"].added == 0
        grow(place, {"transactions": events.filter(day == 3)})
    there, here = Lake.open(url), Lake.open(tmp_path / "grown")
    assert there.identity() == here.identity()
    assert rows(there) == rows(here) == rows(write(tmp_path / "once", held))
    assert Lake.open(url, 1).read("transactions").height == (day == 1).sum()
    with pytest.raises(LakeError, match="has no version 9; lake.json lists versions 1 to"):
        Lake.open(url, 9)
    assert not violations(there)


def test_a_new_table_a_new_holder_and_a_correction_arrive(url: str) -> None:
    start = {name: frame for name, frame in tables().items() if name != "transactions"}
    write(url, start)
    grow(url, {"transactions": tables()["transactions"]})
    grow(url, a_day())
    lake = Lake.open(url)
    assert lake.version == 3 and not violations(lake)
    assert lake.read("transactions").filter(pl.col("amount") == -4).height == 1
    assert "transactions" not in Lake.open(url, 1).tables


def few() -> dict[str, pl.DataFrame]:
    """What an account and its transactions need."""
    return {name: frame for name, frame in tables().items() if name not in ("accounts", "interactions")}


def a_row(n: int) -> dict[str, pl.DataFrame]:
    """One more transaction of C000's and C001's joint account."""
    return {"transactions": tables()["transactions"].head(1).with_columns(event_id=pl.lit(f"N{n:03d}"))}


def events(lake: Lake) -> pl.Series:
    return lake.read("transactions")["event_id"]


def test_of_two_writers_one_is_refused_and_nothing_is_mixed(url: str) -> None:
    write(url, few())
    with LakeUpdate(url) as first:
        with pytest.raises(LakeError, match="another writer is changing it"), LakeUpdate(url) as second:
            append(first, a_row(1), UNTIL)
            append(second, a_row(2), UNTIL)
        assert first.lake.version == 2
    lake = Lake.open(url)
    assert "N001" in events(lake) and "N002" not in events(lake)
    assert lake.tables["transactions"].rows == 81 == len(events(lake)) and not violations(lake)
    grow(url, a_row(2))
    assert len(events(Lake.open(url))) == 82 and not violations(Lake.open(url))


def test_a_writer_that_comes_while_another_commits_fences_it_off(url: str) -> None:
    """The second cannot know that the first still lives: it undoes its commits, and the first must not go on."""
    write(url, few())
    with pytest.raises(LakeError, match="another writer is changing it"), LakeUpdate(url) as first:
        first.add("transactions", _ghost())
        grow(url, a_row(2))
        first.add("transactions", _ghost())
    lake = Lake.open(url)
    assert lake.version == 2 and not violations(lake)
    assert "N002" in events(lake) and "GHOST" not in events(lake)


def test_a_writer_does_not_publish_over_what_was_published_meanwhile(url: str) -> None:
    write(url, few())
    with pytest.raises(LakeError, match="another writer is changing it"), LakeUpdate(url) as first:
        candidate = first.candidate(first.manifest.tables)
        grow(url, a_row(3))
        expected = rows(Lake.open(url))
        first.publish(candidate)
    assert rows(Lake.open(url)) == expected and Lake.open(url).version == 2


def test_appends_in_parallel_threads_never_mix(url: str) -> None:
    write(url, few())
    said: list[str] = []

    def one(n: int) -> None:
        try:
            grow(url, a_row(n))
            said.append("done")
        except LakeError as error:
            said.append(str(error))

    threads = [threading.Thread(target=one, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(text == "done" or "another writer is changing it" in text for text in said), said
    lake = Lake.open(url)
    assert not violations(lake)
    assert lake.version == 1 + said.count("done")
    assert len(events(lake)) == lake.tables["transactions"].rows == 80 + said.count("done")
    grow(url, a_row(9))
    assert Lake.open(url).version == lake.version + 1


def _ghost() -> pl.DataFrame:
    ghost = tables()["transactions"].head(1).with_columns(event_id=pl.lit("GHOST"))
    return ghost.with_columns(bucket=pl.lit(0, pl.Int32))


def test_what_a_killed_append_committed_is_never_published(url: str) -> None:
    start = {name: frame for name, frame in tables().items() if name != "interactions"}
    write(url, start)
    before = rows(Lake.open(url))
    held = LakeUpdate(url)
    held.__enter__()
    held.add("transactions", _ghost())
    held.add("interactions", tables()["interactions"].head(3).with_columns(bucket=pl.lit(0, pl.Int32)))
    # as if the process had died here
    assert rows(Lake.open(url)) == before
    grow(url, {"interactions": tables()["interactions"], "transactions": tables()["transactions"].tail(5)})
    lake = Lake.open(url)
    assert lake.read("transactions").equals(Lake.open(url, 1).read("transactions"))
    assert lake.read("interactions").height == 40 and not violations(lake)


def test_a_killed_import_starts_over(url: str) -> None:
    dead = LakeWriter(url, buckets=4, until=UNTIL)
    dead.__enter__()
    dead.append("customers", pl.DataFrame({"customer_id": ["lost"]}))
    dead.append("products", pl.DataFrame({"product_id": ["P0"]}))
    dead.uncommitted()
    with pytest.raises(LakeError, match="half written"):
        Lake.open(url)
    left = set(objects(url))
    lake = write(url, tables())
    assert lake.read("customers")["customer_id"].to_list() == CUSTOMERS
    assert not left & set(objects(url)), "what the killed import left is gone"
    with pytest.raises(LakeError):  # had it only been slow, it would be refused now
        dead.__exit__(None, None, None)
    assert Lake.open(url).read("customers").height == 40


def test_an_import_that_fails_leaves_nothing(url: str) -> None:
    with pytest.raises(DataError, match="customers: the lake has no such table"), LakeWriter(url) as writer:
        writer.append("products", pl.DataFrame({"product_id": ["P"]}))
    assert objects(url) == {}
    with pytest.raises(LakeError, match="no such lake"):
        Lake.open(url)


def test_lakes_and_foreign_prefixes_are_not_overwritten(url: str) -> None:
    put(url, "notes.txt", b"mine")
    with pytest.raises(LakeError, match=r"not empty and no unfinished lake \(holds notes.txt\)"), LakeWriter(url):
        pass
    with pytest.raises(LakeError, match=r"not a lake, it has no lake.json"):
        Lake.open(url)
    assert set(objects(url)) == {"notes.txt"}
    write(f"{url}/inner", tables())
    before = objects(f"{url}/inner")
    with pytest.raises(LakeError, match="is a lake already"), LakeWriter(f"{url}/inner"):
        pass
    assert objects(f"{url}/inner") == before


def test_compaction_joins_files_and_spares_those_of_a_writer_at_work(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(url, few())
    for n in range(2):
        grow(url, a_row(n))
    before = rows(Lake.open(url))
    folder = Lake.open(url).manifest.folder
    put(url, f"{folder}/transactions/bucket=0/part-orphan.parquet", b"of a killed writer")
    done = compact(url)
    assert done.files_after < done.files_before and done.removed == 0, (
        "what is as young as the last publication may belong to a writer at work"
    )
    assert rows(Lake.open(url)) == before and Lake.open(url).version == 4
    monkeypatch.setattr(object_store, "CLOCKS", -object_store.CLOCKS)
    assert compact(url).removed == 1, "every other file is named by a listed version"
    for version in range(1, 5):
        assert len(events(Lake.open(url, version))) == 80 + min(version - 1, 2)
    assert not violations(Lake.open(url))


def test_a_split_moves_nobody_elsewhere(url: str, tmp_path: Path) -> None:
    write(url, tables())
    write(tmp_path / "lake", tables())
    after, here = split(url), split(tmp_path / "lake")
    assert (after.buckets, after.version, after.identity()) == (8, 2, here.identity())
    assert rows(after) == rows(here) and Lake.open(url, 1).buckets == 4


def test_a_store_that_ignores_conditions_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    careless = location(f"{url}/x")
    monkeypatch.setattr(careless, "_put", lambda name, data, tag: "some tag")
    with pytest.raises(LakeError, match="ignores conditions on puts"):
        careless.claim()


def test_a_put_that_meets_itself_has_succeeded(url: str) -> None:
    place = location(url)
    tag = place.replace("lake.json", b"1", None)
    assert place.replace("lake.json", b"1", None) == tag
    with pytest.raises(LakeError, match="another writer"):
        place.replace("lake.json", b"2", None)
    assert place.replace("lake.json", b"2", tag) != tag


@pytest.mark.parametrize(
    "wrong",
    ["gs://bank/lake", "s3://", "s3:///lake", "s3://bank/a b", "s3://bank/../lake", "s3://bank/a//b", "http://x/y"],
)
def test_other_addresses_are_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match="not an address of a lake; write a folder, or s3://bucket/prefix"):
        Lake.open(wrong)


def recsys(*words: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "recsys", *words]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=240,
        env=os.environ | environment,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr and "Traceback" not in done.stderr
    return done


def test_errors_say_what_to_do_and_name_no_secret(url: str, server: Server) -> None:
    assert "no such lake" in recsys("data", "check", url, code=1).stderr
    assert "s3://nobody/lake: there is no such bucket" in recsys("data", "versions", "s3://nobody/lake", code=1).stderr
    synth = ("data", "synth", "s3://nobody/lake", "--customers", "5", "--buckets", "1")
    assert "there is no such bucket" in recsys(*synth, code=1).stderr
    server.ask("POST", "/moto-api/reset-auth", b"0")
    try:
        refused = recsys("data", "check", url, code=1).stderr
    finally:
        server.ask("POST", "/moto-api/reset-auth", b"inf")
    assert "the object store refuses access (InvalidAccessKeyId); check AWS_ACCESS_KEY_ID" in refused
    assert server.environment["AWS_ACCESS_KEY_ID"] not in refused
    nowhere = f"http://127.0.0.1:{free_port()}"
    down = recsys("data", "check", url, code=1, AWS_ENDPOINT_URL=nowhere)
    assert "cannot be reached or used; check AWS_ENDPOINT_URL" in down.stderr and len(down.stderr.splitlines()) == 1


def test_without_the_extra_the_command_names_it(url: str, tmp_path: Path) -> None:
    (tmp_path / "obstore.py").write_text("raise ModuleNotFoundError('No module named obstore', name='obstore')\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = recsys("data", "check", url, code=2, PYTHONPATH=path)
    assert done.stderr == "error: the package obstore is not installed; pip install 'recsys[objects]' brings it\n"


def test_import_append_compact_split_and_check_by_command(url: str, tmp_path: Path) -> None:
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    for day, text in (("one", "a,x,2024-01-01\nb,x,2024-01-01\n"), ("two", "b,x,2024-01-01\na,y,2024-01-02\n")):
        (tmp_path / day).mkdir()
        (tmp_path / day / "took.csv").write_text(f"customer,product,day\n{text}")
    catalog = str(tmp_path / "catalog.yaml")

    def run(*words: str) -> str:
        return CliRunner().invoke(application(list(words)), list(words), catch_exceptions=False).stdout

    assert run("data", "import", catalog, url, "--root", str(tmp_path / "one")).splitlines()[-1] == url
    said = run("data", "append", url, catalog, "--root", str(tmp_path / "two"))
    assert "1 added          0 replaced          1 repeated" in said and f"{url}: version 2" in said
    assert "version 3" in run("data", "compact", url) and "32 buckets" in run("data", "split", url)
    assert [line.split()[0] for line in run("data", "versions", url).splitlines()] == ["1", "2", "3", "4"]
    assert run("data", "check", url, "--version", "2") == f"{url}: keeps its contract\n"


def test_a_bank_is_made_trained_on_scored_and_served_there(url: str, small_bank: SmallBank, tmp_path: Path) -> None:
    def run(*words: str) -> str:
        result = CliRunner().invoke(application(list(words)), list(words), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    run("data", "synth", url, "--customers", "300", "--seed", "1", "--buckets", "2")
    assert Lake.open(url).identity() == Lake.open(small_bank.lake).identity()
    truth = {path.name for path in Path(f"{small_bank.lake}.truth").iterdir()}
    assert set(objects(f"{url}.truth")) == truth
    assert f"lake {url}, version 1" in run("check", "demo", "--lake", url, *QUICK)
    bundle = run("train", "demo", "--lake", url, "--out", str(tmp_path / "bundles"), *QUICK).splitlines()[-1]
    assert Path(bundle).name == small_bank.bundle.name, "the same lake gives the same bundle, by its content"
    for place, out in ((url, "there"), (str(small_bank.lake), "here")):
        run("score", bundle, place, str(tmp_path / out))
    files = [path.name for path in sorted((tmp_path / "here").glob("bucket=*"))]
    assert len(files) == 2
    for name in files:
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    report = run("report", bundle, "--lake", url, "--scores", str(tmp_path / "there"))
    assert f"Lake {url}" in report and f"recsys serve {bundle} --lake {url}" in report
    customer = pl.read_parquet(tmp_path / "here" / files[0])["customer_id"][0]
    question = json.dumps({"customer_id": customer, "k": 3}).encode()
    there, here = (Answers.open(bundle, place, None).recommend(question) for place in (url, small_bank.lake))
    assert there["items"] == here["items"] and len(there["items"]) == 3
