"""Segments over time, as the commands tell it: a refit keeps what is still itself, and moves have causes."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from recsys.bundle import Bundle, verify
from recsys.bundle.segmentation import Segmentation
from recsys.errors import BundleError, ConfigError
from recsys.lake.store import Lake, LakeWriter
from recsys.segment_moves import BY_CUSTOMER, BY_SEGMENTS, measures
from tests.conftest import SmallBank, called, without_segments


@pytest.fixture(scope="module")
def refitted(segmented_bank: SmallBank, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    out = tmp_path_factory.mktemp("refitted")
    words = ["segments", "refit", str(segmented_bank.bundle), "--lake", str(segmented_bank.lake)]
    return called(*words, "--seed", "7", "--out", str(out))


def thinned(lake: Lake, out: Path, gone: set[str]) -> Path:
    """The lake without some customers."""
    attributes = {name: list(lake.attributes(name)) for name in lake.tables if lake.attributes(name)}
    options = {"currency": lake.currency, "source": lake.source, "until": lake.until, "attributes": attributes}
    whole = {name: lake.read(name) for name in lake.tables}
    holders = whole["account_holders"]
    accounts = holders.filter(pl.col("customer_id").is_in(list(gone)))["account_id"].unique()
    with LakeWriter(out, buckets=2, **options) as writer:  # type: ignore[arg-type]
        for name, rows in whole.items():
            kept = rows
            if "customer_id" in kept.columns:
                kept = kept.filter(~pl.col("customer_id").is_in(list(gone)).fill_null(False))
            if "account_id" in kept.columns:
                kept = kept.filter(~pl.col("account_id").is_in(accounts.implode()).fill_null(False))
            writer.append(name, kept)
    return out


def test_a_refit_on_the_same_lake_keeps_ids_names_and_customers(segmented_bank: SmallBank, refitted: list[str]) -> None:
    old, new = Bundle.load(segmented_bank.bundle), Bundle.load(refitted[-1])
    before, after = Segmentation(old), Segmentation(new)
    assert after.ids == before.ids and after.names == before.names
    assert refitted[-2] == "100.0% of the customers keep their segment"
    assert [line.replace(",", "").split()[:2] for line in refitted[:-2]] == [
        [segment, "persists"] for segment in before.ids
    ]
    assert after.table.seed == 7 and after.table.candidates == before.table.candidates
    assert after.table.changes[0]["begun"] == "from the old prototypes"


def test_every_other_part_is_carried_over(segmented_bank: SmallBank, refitted: list[str]) -> None:
    old, new = Bundle.load(segmented_bank.bundle), Bundle.load(refitted[-1])
    assert new.contents.parts["segments"].parent is None
    for name, part in old.contents.parts.items():
        if name != "segments":
            carried = new.contents.parts[name]
            assert carried.hash == part.hash and carried.parent == old.bundle_id
    assert all(check.ok for check in verify(new.path))


def test_where_the_old_segments_no_longer_stand_it_says_why(segmented_bank: SmallBank, tmp_path: Path) -> None:
    lake = Lake.open(segmented_bank.lake)
    out = tmp_path / "assigned"
    called("segments", "assign", str(segmented_bank.bundle), "--lake", str(segmented_bank.lake), "--out", str(out))
    rows = pl.concat([pl.read_parquet(path) for path in out.glob("bucket=*.parquet")])
    smallest = rows["segment_id"].value_counts().sort("count", "segment_id")["segment_id"][0]
    gone = set(rows.filter(pl.col("segment_id") == smallest)["customer_id"])
    other = thinned(lake, tmp_path / "thinned", gone)
    lines = called("segments", "refit", str(segmented_bank.bundle), "--lake", str(other), "--out", str(tmp_path / "b"))
    table = Segmentation(Bundle.load(lines[-1])).table
    if lines[0].startswith("the old segments no longer stand: "):
        assert table.changes[0]["begun"] == "anew" and table.changes[0]["because"]
    numbers = [int(entry.id[1:]) for entry in table.segments]
    old = Segmentation(Bundle.load(segmented_bank.bundle))
    assert max(numbers) < table.next_id and table.next_id >= old.table.next_id
    assert all(entry.id in old.ids or int(entry.id[1:]) >= old.table.next_id for entry in table.segments)
    assert len({entry.name for entry in table.segments}) == len(table.segments)


def test_nobody_moves_by_a_refit_on_the_same_day(segmented_bank: SmallBank, refitted: list[str]) -> None:
    words = ["segments", "moves", str(segmented_bank.bundle), refitted[-1], "--lake", str(segmented_bank.lake)]
    lines = called(*words)
    assert lines[0].startswith("0 of ") and "0 customers changed, 0 were moved by the segments, 0 by both" in lines[-1]


def test_who_moved_between_two_days_and_why(segmented_bank: SmallBank, tmp_path: Path) -> None:
    lake, bundle = Lake.open(segmented_bank.lake), Bundle.load(segmented_bank.bundle)
    assert lake.as_of is not None
    day = lake.as_of - timedelta(days=120)
    words = ["segments", "moves", str(bundle.path), str(bundle.path), "--lake", str(lake.path), "--as-of-old", str(day)]
    lines = called(*words, "--out", str(tmp_path / "new" / "moved.parquet"))
    movers = pl.read_parquet(tmp_path / "new" / "moved.parquet")
    assert lines[0] == f"{movers.height:,} of {_known(lines):,} customers moved between {day} and {lake.as_of}"
    assert movers.height > 20 and set(movers["cause"]) == {BY_CUSTOMER}
    assert (movers["before"] != movers["after"]).all() and movers["customer_id"].is_sorted()
    assert (movers["reasons"].list.len() > 0).mean() > 0.9, "hardly anybody moves for no reason"  # type: ignore[operator]
    told = set(movers["reasons"].explode().drop_nulls())
    assert told <= set(measures(bundle.definition))
    assert (movers["reasons"].list.len() == movers["changes"].list.len()).all()
    called(*words, "--out", str(tmp_path / "moved.csv"))
    text = pl.read_csv(tmp_path / "moved.csv", infer_schema=False)
    assert text.columns == movers.columns and text["customer_id"].to_list() == movers["customer_id"].to_list()
    assert text["reasons"].fill_null("")[0] == "; ".join(movers["reasons"][0])


def test_segments_that_move_are_not_the_customers_doing(segmented_bank: SmallBank, tmp_path: Path) -> None:
    """A refit on a later lake than the bundle's, compared on one day."""
    lake = Lake.open(segmented_bank.lake)
    ids = lake.read("customers")["customer_id"].unique().sort()
    other = thinned(lake, tmp_path / "thinned", set(ids.gather_every(3)))
    new = called("segments", "refit", str(segmented_bank.bundle), "--lake", str(other), "--out", str(tmp_path / "b"))[
        -1
    ]
    out = tmp_path / "moved.parquet"
    words = ["segments", "moves", str(segmented_bank.bundle), new, "--lake", str(lake.path), "--out", str(out)]
    called(*words)
    movers = pl.read_parquet(out)
    assert set(movers["cause"]) <= {BY_SEGMENTS} and movers["reasons"].list.len().sum() == 0


def test_what_cannot_be_done_is_refused(segmented_bank: SmallBank, tmp_path: Path) -> None:
    bundle, lake = str(segmented_bank.bundle), str(segmented_bank.lake)
    with pytest.raises(ConfigError, match=r"ends in .csv or .parquet"):
        called("segments", "moves", bundle, bundle, "--lake", lake, "--out", str(tmp_path / "moved.txt"))
    with pytest.raises(ConfigError, match="--as-of-old 'May' is not a day"):
        called("segments", "moves", bundle, bundle, "--lake", lake, "--as-of-old", "May")
    without = without_segments(Bundle.load(bundle), tmp_path)
    with pytest.raises(BundleError, match="has no segments"):
        called("segments", "refit", str(without), "--lake", lake, "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def _known(lines: list[str]) -> int:
    return int(lines[0].split(" of ")[1].split()[0].replace(",", ""))
