"""Writers that are killed, collide or run out of disk leave the old lake or the new one, never one between."""

import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from multiprocessing.synchronize import Event
from pathlib import Path

import polars as pl
import pytest

from recsys.errors import LakeError
from recsys.features.definition import FeatureConfig, define
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.append import append
from recsys.lake.buckets import bucket_of
from recsys.lake.check import violations
from recsys.lake.compact import compact
from recsys.lake.split import split
from recsys.lake.store import Lake
from recsys.lake.update import LakeUpdate
from tests.lake.bank import CUSTOMERS, UNTIL, tables, write

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.lake.test_update"])


def a_day(n: int = 0) -> dict[str, pl.DataFrame]:
    """A new customer with an account held together with C010, a correction, and a few new rows."""
    new, account, at = f"N{n:03d}", f"B{n:03d}", pl.lit(datetime(2024, 6, 20)).cast(pl.Datetime("us"))
    held = tables()
    return {
        "customers": held["customers"].head(1).with_columns(customer_id=pl.lit(new)),
        "account_holders": pl.DataFrame({"account_id": [account, account], "customer_id": [new, "C010"]}),
        "accounts": held["accounts"].head(1).with_columns(account_id=pl.lit(account)),
        "interactions": held["interactions"].head(1).with_columns(customer_id=pl.lit(new), at=at),
        "transactions": pl.concat(
            [
                held["transactions"].head(1).with_columns(event_id=pl.lit(f"D{n}"), account_id=pl.lit(account), at=at),
                held["transactions"].slice(7 + n, 1).with_columns(amount=pl.lit(-4)),
            ]
        ),
    }


def do_import(path: Path) -> None:
    write(path, tables())


def do_append(path: Path) -> None:
    with LakeUpdate(path) as update:
        append(update, a_day(), UNTIL)


def do_compact(path: Path) -> None:
    compact(path)


def do_split(path: Path) -> None:
    split(path)


def run(action: Callable[[Path], None], path: Path, started: Event) -> None:
    started.set()
    action(path)


def content(path: Path) -> dict[str, object]:
    """Everything that a reader sees, or only that there is no lake."""
    try:
        lake = Lake.open(path)
    except LakeError:
        return {}
    rows = {name: lake.read(name).hash_rows(seed=1).sum() for name in lake.tables}
    return {"version": lake.version, "buckets": lake.buckets, **rows}


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of a few small commits."""
    path = tmp_path_factory.mktemp("kills") / "lake"
    write(path, tables())
    for n in range(1, 4):
        with LakeUpdate(path) as update:
            append(update, a_day(n), UNTIL)
    return path


@pytest.mark.parametrize(("action", "kills"), [(do_import, 8), (do_append, 12), (do_compact, 6), (do_split, 6)])
def test_kills_leave_the_old_lake_or_the_new_one(
    action: Callable[[Path], None], kills: int, grown: Path, tmp_path: Path
) -> None:
    def fresh(name: str) -> Path:
        path = tmp_path / name
        if action is not do_import:
            shutil.copytree(grown, path)
        return path

    calm = fresh("calm")
    old = content(calm)
    seconds = _run_and_kill(action, calm, None)[1]
    new = content(calm)
    assert new != old
    rng, stopped = random.Random(action.__name__), 0
    for i in range(kills):
        path = fresh(f"killed{i}")
        killed, _ = _run_and_kill(action, path, rng.uniform(0, 1.1) * seconds)
        stopped += killed
        assert content(path) in (old, new), f"kill {i}"
        if action is do_import:
            if not content(path):
                write(path, tables())
            assert content(path) == new
        else:
            with LakeUpdate(path) as update:
                counts = append(update, a_day(9), UNTIL)
            assert counts["customers"].added == 1
            after = Lake.open(path)
            assert after.tables["customers"].rows == after.read("customers").height
            if i % 5 == 0:
                assert not violations(after)
        shutil.rmtree(path)
    assert stopped, "no kill came in time"


def _run_and_kill(action: Callable[[Path], None], path: Path, delay: float | None) -> tuple[bool, float]:
    """Run in a process of its own and kill it after the delay; whether it died of that, and how long it ran."""
    started = CONTEXT.Event()
    process = CONTEXT.Process(target=run, args=(action, path, started))
    process.start()
    assert started.wait(60)
    began = time.perf_counter()
    if delay is not None:
        time.sleep(delay)
        with suppress(ProcessLookupError):  # it may have ended well before
            os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert delay is not None or process.exitcode == 0
    return process.exitcode == -signal.SIGKILL, time.perf_counter() - began


def test_what_a_killed_writer_committed_is_never_published(grown: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(grown, tmp_path / "lake"))
    before = content(path)
    held = LakeUpdate(path)
    held.__enter__()
    ghost = tables()["transactions"].head(1).with_columns(event_id=pl.lit("GHOST"))
    held.add("transactions", ghost.with_columns(bucket_of(pl.Series(["C000"]), 4)))
    held._let_go()  # as if the process had died here
    assert content(path) == before
    with LakeUpdate(path) as update:
        append(update, a_day(7), UNTIL)
    assert not Lake.open(path).read("transactions")["event_id"].is_in(["GHOST"]).any()


def test_two_writers_at_once_the_second_is_refused(grown: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(grown, tmp_path / "lake"))
    with LakeUpdate(path) as first:
        for second in (do_append, do_compact, do_split):
            with pytest.raises(LakeError, match="another writer is changing it at this moment"):
                second(path)
        append(first, a_day(), UNTIL)
    do_compact(path)


def test_a_reader_keeps_its_version_through_appends_compaction_and_split(grown: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(grown, tmp_path / "lake"))
    reader, expected = Lake.open(path), content(path)
    files = {str(file) for file in path.rglob("*.parquet")}
    for action in (do_append, do_compact, do_split):
        action(path)
    rows = {name: reader.read(name).hash_rows(seed=1).sum() for name in reader.tables}
    assert {"version": reader.version, "buckets": reader.buckets, **rows} == expected
    assert files <= {str(file) for file in path.rglob("*.parquet")}, "every version is still listed"
    assert Lake.open(path).version == reader.version + 3


def test_compaction_joins_files_keeps_rows_and_frees_what_nothing_names(tmp_path: Path) -> None:
    path = tmp_path / "lake"
    write(path, tables())
    for n in range(31):
        day = a_day(n) if n % 5 == 0 else {"customers": a_day(n)["customers"]}
        with LakeUpdate(path) as update:
            append(update, day, UNTIL)
    before = content(path)
    orphan = path / "transactions" / "bucket=0" / "part-orphan.parquet"
    tables()["transactions"].write_parquet(orphan)
    done = compact(path)
    assert done.files_after < done.files_before / 3 and done.removed > 1 and done.freed > 0
    assert not orphan.exists()
    assert {**content(path), "version": 0} == {**before, "version": 0}
    for version in range(Lake.open(path).version - 29, Lake.open(path).version + 1):
        assert Lake.open(path, version).read("customers").height == 40 + min(version - 1, 31)
    again = compact(path)
    assert (again.removed, again.files_before) == (0, done.files_after)


def test_a_split_moves_each_customer_to_one_of_two_buckets_and_changes_no_feature(grown: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(grown, tmp_path / "lake"))
    before = Lake.open(path)
    after = split(path)
    assert (after.buckets, after.version) == (8, before.version + 1)
    assert not violations(after)
    definition = define(before, FeatureConfig())
    for b in range(4):
        ids = before.bucket(b)["customers"]["customer_id"]
        halves = [after.bucket(n)["customers"]["customer_id"] for n in (b, b + 4)]
        assert sorted(pl.concat(halves)) == sorted(ids)
        examples = scoring_examples(ids.sort(), before.as_of)
        old = features(before.bucket(b), examples, definition)
        both = [features(after.bucket(n), examples, definition) for n in (b, b + 4)]
        places = bucket_of(examples["customer_id"], 8)
        assert set(places) <= {b, b + 4}
        for n, rows in zip((b, b + 4), both, strict=True):
            assert rows.filter(places == n).equals(old.filter(places == n))
    assert after.customers(CUSTOMERS)["transactions"].height == before.customers(CUSTOMERS)["transactions"].height


def test_a_full_disk_leaves_the_lake_as_it_was(grown: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(grown, tmp_path / "lake"))
    before = content(path)
    many = tables()["transactions"].sample(60_000, with_replacement=True, seed=0)
    many = many.with_columns(event_id=pl.lit("F") + pl.int_range(pl.len()).cast(pl.String))
    many.write_parquet(tmp_path / "many.parquet")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path), str(tmp_path / "many.parquet")], capture_output=True, text=True
    )
    assert "stays as it was" in done.stdout, done.stdout + done.stderr
    assert content(path) == before
    do_append(path)
    assert content(path) != before


FULL = f"""
import resource, signal, sys
import polars as pl
from datetime import date
from pathlib import Path
from recsys.errors import LakeError
from recsys.lake.append import append
from recsys.lake.update import LakeUpdate
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
rows = pl.read_parquet(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, {resource.RLIM_INFINITY}))
try:
    with LakeUpdate(Path(sys.argv[1])) as update:
        append(update, {{"transactions": rows}}, date(2024, 6, 30))
except LakeError as error:
    print(error)
"""
