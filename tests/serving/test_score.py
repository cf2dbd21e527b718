"""Batch scoring: what it writes, and that no kill changes a byte of it."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from recsys.errors import ConfigError, DataError
from recsys.lake.parts import PROGRAM, BucketReader, table_bytes
from recsys.lake.store import Lake, LakeWriter
from serving.buckets import COPIES
from serving.score import score
from tests.serving.conftest import ROOT, environment
from tests.serving.small_bank import BUCKETS, CUSTOMERS

KILLS = 10


@pytest.fixture(scope="module")
def undisturbed(small_bundle: Path, small_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "scores"
    score(small_bundle, small_lake, out)
    return out


def content(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def rows(out: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted(out.glob("bucket=*.parquet"))])


def test_every_customer_is_there_in_order_under_the_final_names(undisturbed: Path, small_lake: Path) -> None:
    names = {f"bucket={bucket:04d}.parquet" for bucket in range(BUCKETS)}
    assert set(content(undisturbed)) == names | {"manifest.json", ".run.json"}
    scored = rows(undisturbed)
    assert scored.columns == ["customer_id", "rank", "product_id", "score", "bundle_id"]
    assert set(scored["customer_id"]) == set(Lake.open(small_lake).read("customers")["customer_id"])
    for path in undisturbed.glob("bucket=*.parquet"):
        frame = pl.read_parquet(path)
        assert frame.equals(frame.sort("customer_id", "rank"))
        per_customer = frame.group_by("customer_id").agg(
            (pl.col("rank") == pl.int_range(1, pl.len() + 1)).all().alias("counted"),
            (pl.col("score").diff().fill_null(0) <= 0).all().alias("falling"),
        )
        assert per_customer["counted"].all() and per_customer["falling"].all()


def test_the_manifest_says_what_was_scored(undisturbed: Path, small_bundle: Path, small_lake: Path) -> None:
    manifest = json.loads((undisturbed / "manifest.json").read_text())
    lake = Lake.open(small_lake)
    assert small_bundle.name.endswith(manifest["bundle_id"])
    assert manifest["lake"] == {"identity": lake.identity(), "version": 1, "source": "small"}
    assert manifest["as_of"] == lake.as_of.isoformat() == "2025-06-24"
    assert (manifest["top"], manifest["customers"], manifest["rows"]) == (10, CUSTOMERS, rows(undisturbed).height)
    assert rows(undisturbed)["bundle_id"].unique().to_list() == [manifest["bundle_id"]]


def test_what_a_customer_holds_is_not_recommended(undisturbed: Path, small_lake: Path) -> None:
    held = Lake.open(small_lake).read("interactions").filter(pl.col("kind") == "acquired")
    assert rows(undisturbed).join(held, on=["customer_id", "product_id"]).is_empty()
    nothing = rows(undisturbed).filter(pl.col("customer_id") == "C0099")
    assert nothing["rank"].to_list() == list(range(1, 11))


def test_held_products_come_when_the_configuration_says_so(
    holding_bundle: Path, small_lake: Path, tmp_path: Path
) -> None:
    score(holding_bundle, small_lake, tmp_path / "scores", top=12)
    assert rows(tmp_path / "scores").height == CUSTOMERS * 12


def test_the_same_run_gives_the_same_bytes(
    undisturbed: Path, small_bundle: Path, small_lake: Path, tmp_path: Path
) -> None:
    score(small_bundle, small_lake, tmp_path / "again", threads=1)
    assert content(tmp_path / "again") == content(undisturbed)


def test_a_small_budget_reads_in_parts_and_gives_the_same_bytes(
    undisturbed: Path, small_bundle: Path, small_lake: Path, tmp_path: Path
) -> None:
    lake = Lake.open(small_lake)
    memory = PROGRAM + table_bytes(lake, 0) // 4 + 1
    assert BucketReader(lake, memory).count(0, COPIES) == 8
    score(small_bundle, small_lake, tmp_path / "parts", memory=memory)
    assert content(tmp_path / "parts") == content(undisturbed)


def test_a_budget_below_the_programs_own_memory_is_refused(
    small_bundle: Path, small_lake: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="--memory 100 MiB: the program itself takes"):
        score(small_bundle, small_lake, tmp_path / "scores", memory=100 << 20)


def test_a_file_that_cannot_be_written_is_not_passed_over(
    small_bundle: Path, small_lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(partial: Path, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("serving.batch.rename", full)
    with pytest.raises(OSError, match="No space left"):
        score(small_bundle, small_lake, tmp_path / "scores")
    assert not (tmp_path / "scores" / "manifest.json").exists()


def test_a_complete_run_is_left_alone(undisturbed: Path, small_bundle: Path, small_lake: Path) -> None:
    times = {path: path.stat().st_mtime_ns for path in undisturbed.iterdir()}
    assert score(small_bundle, small_lake, undisturbed).already
    assert {path: path.stat().st_mtime_ns for path in undisturbed.iterdir()} == times


def test_progress_counts_the_buckets(small_bundle: Path, small_lake: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    score(small_bundle, small_lake, tmp_path / "s", progress=lambda done, total, what: seen.append((done, total)))
    assert seen == [(done, BUCKETS) for done in range(BUCKETS + 1)]


def test_ten_kills_change_no_byte(undisturbed: Path, small_bundle: Path, small_lake: Path, tmp_path: Path) -> None:
    out, random_moment, kills, unfinished = tmp_path / "scores", random.Random(3), 0, 0
    call = f"score({str(small_bundle)!r}, {str(small_lake)!r}, {str(out)!r})"
    program = f"from serving.score import score; print('go', flush=True); {call}"
    started = time.monotonic()
    score(small_bundle, small_lake, tmp_path / "timed")
    whole = time.monotonic() - started
    while kills < KILLS:
        child = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=environment(), stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"go\n"
        time.sleep(random_moment.uniform(0, whole / 2))
        child.kill()
        kills += child.wait() == -9
        child.stdout.close()
        if (out / "manifest.json").exists():
            assert content(out) == content(undisturbed)
            shutil.rmtree(out)
        else:
            unfinished += 1
    score(small_bundle, small_lake, out)
    assert content(out) == content(undisturbed)
    assert unfinished >= 3


def test_what_a_kill_left_half_written_is_written_anew(
    undisturbed: Path, small_bundle: Path, small_lake: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores"
    shutil.copytree(undisturbed, out)
    (out / "manifest.json").unlink()
    half = (out / "bucket=0003.parquet").read_bytes()[:100]
    (out / "bucket=0003.parquet").unlink()
    (out / ".bucket=0003.parquet.partial").write_bytes(half)
    (out / ".manifest.json.partial").write_bytes(b"{")
    assert not score(small_bundle, small_lake, out).already
    assert content(out) == content(undisturbed)


def test_a_kill_before_the_first_file_leaves_a_directory_that_can_be_used(
    undisturbed: Path, small_bundle: Path, small_lake: Path, tmp_path: Path
) -> None:
    (tmp_path / ".run.json.partial").write_bytes(b"{")
    score(small_bundle, small_lake, tmp_path)
    assert content(tmp_path) == content(undisturbed)


def test_a_resumed_run_keeps_its_day(small_bundle: Path, small_lake: Path, tmp_path: Path) -> None:
    day = date(2025, 1, 1)
    score(small_bundle, small_lake, tmp_path / "a", as_of=day)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "manifest.json").unlink()
    (tmp_path / "b" / "bucket=0001.parquet").unlink()
    assert score(small_bundle, small_lake, tmp_path / "b").as_of == day
    assert content(tmp_path / "b") == content(tmp_path / "a")


def test_another_day_sees_other_customers(
    undisturbed: Path, small_bundle: Path, small_lake: Path, tmp_path: Path
) -> None:
    score(small_bundle, small_lake, tmp_path / "early", as_of=date(2024, 1, 1))
    held_nothing = rows(tmp_path / "early").group_by("customer_id").len()
    assert held_nothing["len"].unique().to_list() == [10]
    assert not rows(tmp_path / "early").equals(rows(undisturbed))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"top": 5}, r"--top 10 there, 5 now"),
        ({"as_of": date(2025, 1, 1)}, r"--as-of 2025-06-24 there, 2025-01-01 now"),
    ],
)
def test_another_run_is_refused_by_what_differs(
    undisturbed: Path, small_bundle: Path, small_lake: Path, change: dict[str, object], named: str
) -> None:
    with pytest.raises(DataError, match=named):
        score(small_bundle, small_lake, undisturbed, **change)  # type: ignore[arg-type]


def test_another_lake_and_another_bundle_are_refused(
    undisturbed: Path, small_bundle: Path, holding_bundle: Path, small_lake: Path, tmp_path: Path
) -> None:
    before = content(undisturbed)
    other = copy_of(Lake.open(small_lake), tmp_path / "lake")
    with pytest.raises(DataError, match="lake small version 1 .* there, other version 1 .* now"):
        score(small_bundle, other, undisturbed)
    with pytest.raises(DataError, match="bundle [0-9a-f]{16} there, [0-9a-f]{16} now"):
        score(holding_bundle, small_lake, undisturbed)
    assert content(undisturbed) == before


def copy_of(lake: Lake, path: Path) -> Path:
    attributes = {name: lake.attributes(name) for name in ("customers", "products")}
    with LakeWriter(path, buckets=4, source="other", until=lake.until, attributes=attributes) as writer:
        for name in sorted(lake.tables, key=lambda name: name != "account_holders"):
            writer.append(name, lake.read(name))
    return path


def test_a_directory_with_anything_else_is_refused(small_bundle: Path, small_lake: Path, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"sun")
    with pytest.raises(DataError, match=r"holiday\.jpg"):
        score(small_bundle, small_lake, tmp_path)
    with pytest.raises(DataError, match="is a file"):
        score(small_bundle, small_lake, tmp_path / "holiday.jpg")
    assert content(tmp_path) == {"holiday.jpg": b"sun"}


def test_two_writers_at_once_are_refused(small_bundle: Path, small_lake: Path, tmp_path: Path) -> None:
    def second(done: int, total: int, what: str) -> None:
        with pytest.raises(DataError, match="another process is writing into it"):
            score(small_bundle, small_lake, tmp_path)

    score(small_bundle, small_lake, tmp_path, progress=second)


def test_top_must_be_positive(small_bundle: Path, small_lake: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--top 0"):
        score(small_bundle, small_lake, tmp_path, top=0)


def test_files_are_readable_by_anyone_who_may_read_the_directory(undisturbed: Path) -> None:
    umask = os.umask(0)
    os.umask(umask)
    assert {path.stat().st_mode & 0o777 for path in undisturbed.iterdir()} == {0o666 & ~umask}
