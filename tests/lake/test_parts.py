"""A budget decides how many parts a bucket is read in, and never what is read."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from recsys.errors import ConfigError
from recsys.lake.parts import MOST, PROGRAM, BucketReader, in_sample, parse_memory, sample_share, table_bytes
from recsys.lake.store import Lake
from tests.conftest import SmallBank


@pytest.fixture
def lake(small_bank: SmallBank) -> Lake:
    return Lake.open(small_bank.lake)


def tight(lake: Lake, parts: int) -> BucketReader:
    """A reader whose budget holds the `parts`th part of a bucket."""
    return BucketReader(lake, PROGRAM + table_bytes(lake, 0) // parts + 1)


@pytest.mark.parametrize("parts", [2, 8, 64])
def test_the_parts_are_the_bucket(lake: Lake, parts: int) -> None:
    whole, found = lake.bucket(0), list(tight(lake, parts).parts(0, 1.0))
    assert len(found) == parts
    for name in ("customers", "interactions", "contacts"):
        rows = pl.concat([tables[name] for tables in found])
        assert_frame_equal(rows, whole[name], check_row_order=False)
        ids = [set(tables[name]["customer_id"]) for tables in found]
        assert sum(map(len, ids)) == len(set.union(*ids)), "a customer is in one part"
    for tables in found:
        assert_frame_equal(tables["products"], whole["products"])
        held = whole["account_holders"].join(tables["customers"], on="customer_id", how="semi")["account_id"]
        wanted = whole["transactions"].filter(pl.col("account_id").is_in(held.unique().implode()))
        assert tables["transactions"].join(wanted, on="event_id", how="semi").height == wanted.height


def test_a_bucket_that_fits_is_read_whole(lake: Lake) -> None:
    (tables,) = BucketReader(lake, PROGRAM + 2 * table_bytes(lake, 0)).parts(0, 1.0)
    assert all(frame.equals(lake.bucket(0)[name]) for name, frame in tables.items())


def test_a_smaller_sample_is_part_of_a_larger_one(lake: Lake) -> None:
    def sampled(share: float, parts: int) -> set[str]:
        reader = BucketReader(lake, PROGRAM + int(share * table_bytes(lake, 0)) // parts + 1, share=share)
        return {name for tables in reader.parts(0, 1.0) for name in tables["customers"]["customer_id"]}

    half, tenth = sampled(0.5, 1), sampled(0.1, 1)
    assert tenth < half < set(lake.bucket(0)["customers"]["customer_id"])
    assert sampled(0.5, 4) == half
    ids = pl.Series([f"C{i}" for i in range(20_000)])
    assert 0.28 < in_sample(ids, 0.3).mean() < 0.32


def test_the_share_is_that_of_the_customers_asked_for(lake: Lake) -> None:
    assert [sample_share(lake, count) for count in (None, 75, 300, 5000)] == [1.0, 0.25, 1.0, 1.0]


def test_a_budget_that_is_too_small_says_what_would_do(lake: Lake) -> None:
    with pytest.raises(ConfigError, match=r"--memory 1,024 MiB: the program itself takes .* give at least 1,536 MiB"):
        BucketReader(lake, PROGRAM)
    with pytest.raises(ConfigError, match=rf"read in at most {MOST:,} parts; give at least 1,025 MiB, or split"):
        BucketReader(lake, PROGRAM + 1).count(0, 1.0)


def test_memory_is_read_as_people_write_it() -> None:
    assert [parse_memory(text) for text in ("4GiB", "1500MiB", "2GB")] == [4 << 30, 1500 << 20, 2_000_000_000]
    with pytest.raises(ConfigError, match="--memory 'much' is not a size"):
        parse_memory("much")
