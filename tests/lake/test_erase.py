"""`recsys data erase`: a lake without some customers is what an import without them had made, and holds no trace."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from recsys.errors import DataError, LakeError
from recsys.lake.check import violations
from recsys.lake.erase import erase
from recsys.lake.store import Lake
from tests.conftest import called
from tests.lake.bank import CUSTOMERS, tables, write

GONE = ("C000", "C002", "C003", "C005")
"""C000 shares A000 with C001; only C002 and C003 hold A002; A003 and A005 are held by one of them alone."""
ORPHANS = ("A002", "A003", "A005")


def without(frames: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """The bank's tables as if these customers had never been there."""
    found = {}
    for name, frame in frames.items():
        for column, those in (("customer_id", GONE), ("account_id", ORPHANS)):
            if column in frame.columns:
                frame = frame.filter(~pl.col(column).is_in(those))
        found[name] = frame
    return found


@pytest.mark.parametrize("buckets", [1, 4])
def test_the_new_lake_is_that_of_an_import_without_them(tmp_path: Path, buckets: int) -> None:
    lake = write(tmp_path / "lake", tables(), buckets)
    before = {name: lake.read(name) for name in lake.tables}
    done = erase(lake, tmp_path / "new", [*GONE, "C000", "nobody"])
    assert done.persons == 4 and done.rows == {
        "customers": 4,
        "products": 0,
        "account_holders": 5,
        "accounts": 3,
        "interactions": 4,
        "transactions": 6,
    }
    expected = write(tmp_path / "expected", without(tables()), buckets)
    assert done.lake.last_event == lake.last_event and done.lake.until == lake.until
    assert {n: (i.digest, i.rows) for n, i in done.lake.tables.items()} == {
        n: (i.digest, i.rows) for n, i in expected.tables.items()
    }
    for name in expected.tables:
        assert done.lake.read(name).equals(expected.read(name)), name
        assert done.lake.attributes(name) == lake.attributes(name)
    assert violations(done.lake) == []
    assert done.lake.read("transactions")["account_id"].is_in(["A000"]).sum() == 2, "C001 keeps the joint account"
    again = Lake.open(tmp_path / "lake")
    assert all(again.read(name).equals(frame) for name, frame in before.items()), "the old one stays as it was"


def test_nothing_below_the_new_lake_names_them(tmp_path: Path) -> None:
    erase(write(tmp_path / "lake", tables()), tmp_path / "new", GONE)
    files = [path for path in (tmp_path / "new").rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        held = path.read_bytes()
        assert not any(one.encode() in held for one in (*GONE, *ORPHANS)), path
        if path.suffix == ".parquet":
            for column in pl.read_parquet(path, hive_partitioning=False).select(pl.col(pl.String)):
                assert not column.is_in([*GONE, *ORPHANS]).any()


def test_who_had_the_last_event_does_not_take_the_day_along(tmp_path: Path) -> None:
    frames = tables()
    last = frames["interactions"].sort("at")["customer_id"][-1]
    lake = write(tmp_path / "lake", frames | {"transactions": frames["transactions"].clear()})
    assert erase(lake, tmp_path / "new", [last]).lake.as_of == lake.as_of


def test_the_command_reads_ids_from_a_file_and_says_what_went(tmp_path: Path) -> None:
    write(tmp_path / "lake", tables())
    (tmp_path / "ids.txt").write_text("C005\n\n  C006 \nX\n")
    said = called("data", "erase", str(tmp_path / "lake"), str(tmp_path / "new"), str(tmp_path / "ids.txt"))
    assert ["customers", "2", "rows", "erased"] in [line.split() for line in said]
    assert "1 of the 3 customers named were not in the lake" in said and said[-1] == str(tmp_path / "new")
    assert not any("C005" in line for line in said)


def test_nobody_named_nobody_left_and_a_place_in_use_are_refused(tmp_path: Path) -> None:
    lake = write(tmp_path / "lake", tables())
    with pytest.raises(DataError, match="has none of the 2 customers named; nothing was written"):
        erase(lake, tmp_path / "new", ["X", "Y"])
    with pytest.raises(DataError, match="nobody is left"):
        erase(lake, tmp_path / "new", CUSTOMERS)
    frames = tables()
    twice = frames["customers"].with_columns(valid_from=pl.lit(date(2024, 1, 1)))
    frames["customers"] = pl.concat([twice, twice.with_columns(valid_from=pl.lit(date(2024, 2, 1)))])
    with pytest.raises(DataError, match="nobody is left"):
        erase(write(tmp_path / "dated", frames), tmp_path / "new", CUSTOMERS)
    with pytest.raises(LakeError, match="is a lake already"):
        erase(lake, tmp_path / "lake", GONE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dated", "lake"]
