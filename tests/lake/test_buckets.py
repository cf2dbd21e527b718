"""The bucket hash is the same for ever and in every engine."""

import duckdb
import numpy as np
import polars as pl
import pytest

from recsys.errors import ConfigError
from recsys.lake.buckets import bucket_of, stable_hash, stable_hashes

KNOWN = {
    "": 0xD41D8CD98F00B204,
    "a": 0x0CC175B9C0F1B6A8,
    "abc": 0x900150983CD24FB0,
    "C000001": 0xB343E4A787CFC51A,
    "Zoë €": 0x897C952547B471AB,
}
"""The first three are also in RFC 1321, appendix A.5."""


@pytest.mark.parametrize("text", KNOWN)
def test_known_answers(text: str) -> None:
    assert stable_hash(text) == KNOWN[text]


def test_series_and_duckdb_give_the_same_hash() -> None:
    ids = [*KNOWN, "a", "abc", *(f"C{i}" for i in range(300)), "客户", "🏦"]
    expected = [stable_hash(text) for text in ids]
    assert stable_hashes(pl.Series(ids)).tolist() == expected
    assert stable_hashes(pl.Series(ids)).dtype == np.uint64
    rows = duckdb.execute("SELECT ('0x' || md5(id)[:16])::UBIGINT FROM (SELECT unnest(?) AS id)", [ids]).fetchall()
    assert [row[0] for row in rows] == expected


def test_a_bucket_splits_in_two_and_nobody_moves_elsewhere() -> None:
    ids = pl.Series([f"C{i}" for i in range(2_000)])
    few, many = bucket_of(ids, 8), bucket_of(ids, 16)
    assert few.dtype == pl.Int32
    assert (many.to_numpy() % 8 == few.to_numpy()).all()
    assert sorted(few.unique()) == list(range(8))
    assert bucket_of(ids, 1).unique().to_list() == [0]


@pytest.mark.parametrize("buckets", [0, -4, 3, 12, 1 << 21])
def test_buckets_must_be_a_power_of_two(buckets: int) -> None:
    with pytest.raises(ConfigError, match="power of two"):
        bucket_of(pl.Series(["a"]), buckets)


def test_a_null_id_is_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 ids are null"):
        stable_hashes(pl.Series("customer_id", ["a", None]))
    assert stable_hashes(pl.Series([], dtype=pl.String)).tolist() == []
