"""The synthetic bank as a lake: it keeps the contract, is the same for a seed, and looks like a bank."""

from datetime import datetime
from hashlib import md5
from pathlib import Path

import polars as pl
import pytest

from recsys.errors import ConfigError, LakeError
from recsys.lake.check import violations
from recsys.lake.store import Lake
from recsys.synthetic.generate import BucketOfBank, bank, generate, make_bucket
from recsys.synthetic.ids import customer_ids
from recsys.synthetic.products import PRODUCTS
from tests.synthetic.conftest import Bank

RECORDED = "d8801882a3e11628cb820f9518af77b8"
"""Digest of a bank of 60 customers; it never changes, since additions leave what a seed gives as it is."""


def _digest(parts: list[BucketOfBank]) -> str:
    """MD5 over all columns that are not floats, as text: the same on every machine."""
    total = md5(usedforsecurity=False)
    for part in parts:
        for table in sorted(part.tables):
            frame = part.tables[table]
            whole = frame.select(
                pl.col(name).list.join(" ") if dtype == pl.List(pl.String) else pl.col(name)
                for name, dtype in frame.schema.items()
                if dtype != pl.Float64
            )
            total.update(whole.write_csv().encode())
    return total.hexdigest()


def test_a_seed_gives_the_recorded_bank() -> None:
    assert _digest(list(bank(60, seed=7, buckets=2))) == RECORDED


def test_another_seed_gives_another_bank() -> None:
    assert _digest(list(bank(60, seed=8, buckets=2))) != RECORDED


def test_a_bucket_does_not_depend_on_the_others() -> None:
    parts = list(bank(60, seed=7, buckets=2))
    alone = make_bucket(parts[1].tables["customers"]["customer_id"], 7, 1)
    for table, frame in parts[1].tables.items():
        assert frame.equals(alone.tables[table]), table
    for name, frame in parts[1].truth.items():
        assert frame.equals(alone.truth[name]), name


def test_the_lake_keeps_the_contract_and_the_truth_stands_beside_it(tmp_path: Path) -> None:
    told = []
    lake = generate(tmp_path / "lake", 300, 5, buckets=4, progress=lambda done, total, what: told.append((done, total)))
    assert violations(lake) == []
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert lake.currency == "GBP" and str(lake.as_of) == "2025-01-01" and str(lake.until) == "2024-12-31"
    assert lake.read("customers")["customer_id"].sort().to_list() == customer_ids(300).to_list()
    assert "left" not in [attribute.name for attribute in lake.attributes("customers")]
    truth = {path.stem: pl.read_parquet(path) for path in (tmp_path / "lake.truth").iterdir()}
    assert set(truth) == {"customers", "adoption", "attrition", "uplift"}
    assert truth["customers"]["customer_id"].n_unique() == 300
    with pytest.raises(LakeError):
        generate(tmp_path / "lake", 300, 5, buckets=4)
    assert (tmp_path / "lake.truth" / "adoption.parquet").exists()


def test_a_bank_of_one_customer(tmp_path: Path) -> None:
    lake = generate(tmp_path / "lake", 1, 0)
    assert violations(lake) == [] and Lake.open(tmp_path / "lake").tables["customers"].rows == 1


@pytest.mark.parametrize(("customers", "seed", "buckets"), [(0, 0, 16), (10, -1, 16), (10, 0, 3)])
def test_numbers_out_of_range_are_refused(tmp_path: Path, customers: int, seed: int, buckets: int) -> None:
    with pytest.raises(ConfigError):
        generate(tmp_path / "lake", customers, seed, buckets=buckets)
    assert not (tmp_path / "lake").exists() and not (tmp_path / "lake.truth").exists()


def test_size_and_adoption_are_those_of_a_bank(synthetic: Bank) -> None:
    tables = synthetic.tables
    events = (tables["transactions"].height + tables["interactions"].height) / 8_000
    assert 180 < events < 240
    acquired = tables["interactions"].filter((pl.col("kind") == "acquired") & (pl.col("at") >= datetime(2024, 10, 1)))
    staying = synthetic.truth["attrition"].filter(pl.col("month") == datetime(2024, 10, 1).date()).height
    assert 0.30 < acquired["customer_id"].n_unique() / staying < 0.40
    left = synthetic.truth["customers"]["left"].is_not_null().mean()
    assert 0.12 < left < 0.22  # type: ignore[operator]


def test_a_customer_who_left_has_no_later_events(synthetic: Bank) -> None:
    left = synthetic.truth["customers"].select(
        "customer_id", end=pl.col("left").cast(pl.Datetime("us")) + pl.duration(days=1)
    )
    holders = synthetic.tables["account_holders"].select("account_id", "customer_id")
    for table in ("interactions", "contacts", "consents", "transactions", "balances"):
        rows = synthetic.tables[table]
        if "customer_id" not in rows.columns:
            rows = rows.join(holders, on="account_id")
        assert rows.join(left, on="customer_id").filter(pl.col("at") >= pl.col("end")).is_empty(), table
    accounts = holders.join(synthetic.tables["accounts"], on="account_id").join(left.drop_nulls(), on="customer_id")
    assert accounts.filter(pl.col("closed").is_null() | (pl.col("closed") > pl.col("end"))).is_empty()


def test_nothing_happens_on_an_account_outside_its_life(synthetic: Bank) -> None:
    accounts = synthetic.tables["accounts"]
    for table in ("transactions", "balances"):
        rows = synthetic.tables[table].join(accounts, on="account_id").with_columns(day=pl.col("at").dt.date())
        assert rows.height == synthetic.tables[table].height
        assert rows.filter((pl.col("day") < pl.col("opened")) | (pl.col("day") > pl.col("closed"))).is_empty(), table


def test_activity_drops_before_a_customer_leaves(synthetic: Bank) -> None:
    left = synthetic.truth["customers"].filter(pl.col("left") >= datetime(2024, 1, 1).date())
    left = left.select("customer_id", pl.col("left").cast(pl.Datetime("us")))
    holders = synthetic.tables["account_holders"].select("account_id", "customer_id")
    rows = synthetic.tables["transactions"].join(holders, on="account_id").join(left, on="customer_id")
    before = (rows["left"] - rows["at"]).dt.total_days()
    last, year_ago = before.is_between(0, 59), before.is_between(300, 359)
    assert int(last.sum()) < 0.6 * int(year_ago.sum())


def test_products_are_held_by_those_who_may(synthetic: Bank) -> None:
    events = synthetic.tables["interactions"].filter(pl.col("kind").is_in(["acquired", "closed"]))
    born = synthetic.tables["customers"].select("customer_id", "born")
    acquired = events.filter(pl.col("kind") == "acquired").join(born, on="customer_id")
    recent = acquired.filter((pl.col("at") >= datetime(2023, 1, 1)) & (pl.col("born").dt.year() > 1900))
    age = (recent["at"].dt.date() - recent["born"]).dt.total_days() / 365.25
    oldest = {product.product_id: float(product.max_age) for product in PRODUCTS}
    assert (age <= recent["product_id"].replace_strict(oldest, return_dtype=pl.Float64) + 0.1).all()
    first = acquired.group_by("customer_id", "product_id").agg(pl.col("at").dt.date().min().alias("first"))
    for product in PRODUCTS:
        mine = first.filter(pl.col("product_id") == product.product_id)
        for needed in product.requires:
            before = first.filter(pl.col("product_id") == needed).select("customer_id", needed_at="first")
            both = mine.join(before, on="customer_id", how="left")
            assert both.filter(pl.col("needed_at").is_null() | (pl.col("needed_at") > pl.col("first"))).is_empty()


def test_some_accounts_are_joint_and_their_holders_share_a_bucket() -> None:
    for part in bank(600, seed=3, buckets=2):
        holders = part.tables["account_holders"].filter(pl.col("role") == "joint")
        assert holders.height > 0 and (holders.group_by("account_id").len()["len"] == 2).all()
        assert holders["customer_id"].is_in(part.tables["customers"]["customer_id"].implode()).all()


def test_gaps_and_outliers_are_there(synthetic: Bank) -> None:
    customers = synthetic.tables["customers"]
    assert 0.05 < customers["income"].null_count() / customers.height < 0.2
    assert (customers["born"].dt.year() == 1900).any()
    assert customers["income"].max() > 10 * customers["income"].median()  # type: ignore[operator]
    transactions = synthetic.tables["transactions"]
    assert 0.002 < transactions["category"].null_count() / transactions.height < 0.03


def test_nobody_is_contacted_after_withdrawing_consent(synthetic: Bank) -> None:
    refused = synthetic.tables["consents"].filter(~pl.col("granted")).select("customer_id", "channel", said="at")
    contacts = synthetic.tables["contacts"].filter(pl.col("contacted"))
    later = contacts.join(refused, on=["customer_id", "channel"]).filter(pl.col("at") > pl.col("said"))
    assert later.is_empty()
