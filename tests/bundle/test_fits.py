"""Lakes that do not fit a bundle, and days that do not fit a lake."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from recsys.bundle import Bundle
from recsys.bundle.fits import check_fits, parse_day, scoring_day
from recsys.errors import ConfigError, LakeError
from recsys.lake.store import Attribute, Lake, LakeWriter
from tests.conftest import SmallBank


def undated_lake(path: Path, *attributes: Attribute) -> Lake:
    values = {attribute.name: pl.Series(["x"]) for attribute in attributes}
    with LakeWriter(path, buckets=1, attributes={"customers": list(attributes)}) as lake:
        lake.append("customers", pl.DataFrame({"customer_id": ["C1"], **values}))
        lake.append("products", pl.DataFrame({"product_id": ["P1"]}))
        lake.append("interactions", pl.DataFrame({"customer_id": ["C1"], "product_id": ["P1"], "kind": ["holds"]}))
    return Lake.open(path)


def test_a_day_is_written_in_one_way() -> None:
    assert parse_day("2025-01-31") == date(2025, 1, 31)
    assert parse_day(None) is None
    for text in ("31/01/2025", "2025-02-30", "yesterday", ""):
        with pytest.raises(ConfigError, match="YYYY-MM-DD"):
            parse_day(text)


def test_the_day_is_the_one_asked_for_else_the_one_after_the_last_event(small_bank: SmallBank) -> None:
    lake = Lake.open(small_bank.lake)
    assert scoring_day(lake, None) == lake.as_of is not None
    assert scoring_day(lake, date(2025, 1, 1)) == date(2025, 1, 1)


def test_a_lake_without_dates_is_seen_from_no_day(tmp_path: Path) -> None:
    lake = undated_lake(tmp_path / "lake")
    assert scoring_day(lake, None) is None
    with pytest.raises(ConfigError, match="leave --as-of out"):
        scoring_day(lake, date(2025, 1, 1))


def test_a_lake_that_lacks_what_the_bundle_reads_is_refused(small_bank: SmallBank, tmp_path: Path) -> None:
    bundle = Bundle.load(small_bank.bundle)
    check_fits(bundle, Lake.open(small_bank.lake))
    with pytest.raises(LakeError, match="no dated events"):
        check_fits(bundle, undated_lake(tmp_path / "undated"))
    with LakeWriter(tmp_path / "bare", buckets=1) as lake:
        lake.append("customers", pl.DataFrame({"customer_id": ["C1"]}))
        lake.append("products", pl.DataFrame({"product_id": ["P1"]}))
        events = {"customer_id": ["C1"], "product_id": ["P1"], "kind": ["viewed"], "at": [date(2024, 1, 1)]}
        lake.append("interactions", pl.DataFrame(events))
    with pytest.raises(LakeError, match="customers.born is not there, but bundle .* reads it as a"):
        check_fits(bundle, Lake.open(tmp_path / "bare"))
