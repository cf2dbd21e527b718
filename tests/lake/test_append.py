"""A lake that grows day by day is the lake that was imported at once; what is wrong changes nothing."""

from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from recsys.__main__ import application
from recsys.errors import DataError, LakeError
from recsys.features.definition import FeatureConfig, FeatureDefinition, define
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.append import Counts, append
from recsys.lake.buckets import bucket_of
from recsys.lake.catalog import refuse_violations
from recsys.lake.check import violations
from recsys.lake.store import Attribute, Lake, LakeWriter
from recsys.lake.update import LakeUpdate
from recsys.synthetic.generate import generate
from tests.lake.bank import CUSTOMERS, UNTIL, tables, write

DAYS = 30


def grow(path: Path, frames: dict[str, pl.DataFrame], until: date = UNTIL) -> dict[str, Counts]:
    with LakeUpdate(path) as update:
        return append(update, frames, until)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return generate(tmp_path_factory.mktemp("grown") / "bank", 120, 5, 4)


def test_a_lake_grown_for_thirty_days_gives_the_bytes_of_one_imported_at_once(bank: Lake, tmp_path: Path) -> None:
    assert bank.as_of is not None
    first = bank.as_of - timedelta(days=DAYS)
    frames = {name: bank.read(name) for name in bank.tables}
    born = _days_of(frames, first)
    start = {name: frame.filter(born[name] < 0) for name, frame in frames.items()}
    _write_like(bank, tmp_path / "grown", start)
    late = {name: (frame.hash_rows(seed=3) % 10 == 0) for name, frame in frames.items()}
    repeated = 0
    for day in range(DAYS):
        slices = {}
        for name, frame in frames.items():
            # Every tenth row comes three days late, and some rows of the day before come once more.
            lag = pl.select(pl.when(pl.lit(late[name])).then(3).otherwise(0)).to_series()
            due = (born[name] + lag).clip(upper_bound=DAYS - 1)
            again = (born[name] == day - 1) & (frame.hash_rows(seed=4) % 7 == 0) & (due < day)
            rows = frame.filter((born[name] >= 0) & ((due == day) | again))
            if rows.height:
                slices[name] = rows
        counts = grow(tmp_path / "grown", slices, first + timedelta(days=day))
        repeated += sum(count.repeated for count in counts.values())
        assert not any(count.replaced for count in counts.values())
    grown = Lake.open(tmp_path / "grown")
    assert repeated > 100 and grown.version == DAYS + 1
    assert not violations(grown)
    assert {name: info.rows for name, info in grown.tables.items()} == {n: i.rows for n, i in bank.tables.items()}
    assert grown.as_of == bank.as_of
    for name in bank.tables:
        assert grown.read(name).equals(bank.read(name)), name
    definition = define(bank, FeatureConfig())
    assert define(grown, FeatureConfig()) == definition
    for b in range(bank.buckets):
        assert _feature_bytes(grown, b, definition) == _feature_bytes(bank, b, definition)


def test_new_repeated_changed_and_late_rows_are_told_apart_and_counted(tmp_path: Path) -> None:
    lake = write(tmp_path / "lake", tables())
    held = tables()["transactions"]
    corrected = held.head(2).with_columns(amount=pl.lit(-999))
    late = held.head(3).with_columns(
        event_id=pl.Series(["L1", "L2", "L3"]), at=pl.lit(datetime(2023, 12, 24)).cast(pl.Datetime("us"))
    )
    counts = grow(tmp_path / "lake", {"transactions": pl.concat([held.tail(5), corrected, late])})
    assert counts == {"transactions": Counts(added=3, replaced=2, repeated=5)}
    after = Lake.open(tmp_path / "lake")
    assert (after.version, after.tables["transactions"].rows) == (2, 83)
    rows = after.read("transactions")
    assert rows.filter(pl.col("amount") == -999)["event_id"].to_list() == corrected["event_id"].sort().to_list()
    assert after.last_event == lake.last_event
    # Whoever opened the lake before, or asks for that version, reads what was there.
    for old in (lake, Lake.open(tmp_path / "lake", 1)):
        assert old.read("transactions").equals(held.sort("event_id").select(rows.columns))
    assert grow(tmp_path / "lake", {"transactions": held.tail(5)}) == {"transactions": Counts(repeated=5)}
    assert Lake.open(tmp_path / "lake").version == 2, "nothing new is no new version"


def test_a_changed_customer_and_product_take_the_place_of_the_old(tmp_path: Path) -> None:
    write(tmp_path / "lake", tables())
    older = tables()["customers"].filter(pl.col("customer_id") == "C007").with_columns(age=pl.lit(99.0))
    products = pl.DataFrame({"product_id": ["P1", "P2"], "tags": [["new"], ["b"]]})
    counts = grow(tmp_path / "lake", {"customers": older, "products": products})
    assert counts == {"products": Counts(1, 1, 0), "customers": Counts(0, 1, 0)}
    lake = Lake.open(tmp_path / "lake")
    assert lake.customers(["C007"])["customers"]["age"].to_list() == [99.0]
    assert lake.read("products")["tags"].to_list() == [["a", "b"], ["new"], ["b"]]
    assert not violations(lake)


def test_a_new_holder_in_another_bucket_gets_the_rows_of_the_account(tmp_path: Path) -> None:
    lake = write(tmp_path / "lake", tables())
    home = bucket_of(pl.Series(["C010"]), 4)[0]
    other = next(c for c in CUSTOMERS if bucket_of(pl.Series([c]), 4)[0] != home)
    before = lake.customers([other])["transactions"].height
    late = tables()["transactions"].filter(pl.col("account_id") == "A010").with_columns(amount=pl.lit(5)).head(1)
    frames = {"account_holders": pl.DataFrame({"account_id": ["A010"], "customer_id": [other]}), "transactions": late}
    grow(tmp_path / "lake", frames)
    grown = Lake.open(tmp_path / "lake")
    assert grown.customers([other])["transactions"].height == before + 2
    assert set(grown.customers([other])["account_holders"]["customer_id"]) >= {other, "C010"}
    assert grown.tables["transactions"].rows == grown.read("transactions").height == 80
    assert grown.read("transactions").filter(pl.col("amount") == 5).height == 1
    assert not violations(grown)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ({"transactions": tables()["transactions"].drop("amount").head(1)}, "transactions.amount: the column is miss"),
        ({"customers": tables()["customers"].drop("joined").head(1)}, "customers.joined: declared as an attribute"),
        ({"transactions": tables()["transactions"].with_columns(channel=pl.lit("atm"))}, "has channel, which the lake"),
        ({"interactions": tables()["interactions"].with_columns(product_id=pl.lit("P9"))}, "without a row in products"),
        ({"customers": tables()["customers"].with_columns(age=pl.lit("old"))}, "customers.age: is text, must be a num"),
    ],
)
def test_rows_of_another_form_change_nothing(frames: dict[str, pl.DataFrame], message: str, tmp_path: Path) -> None:
    lake = write(tmp_path / "lake", tables())
    before = (tmp_path / "lake" / "lake.json").read_bytes()
    with pytest.raises(DataError, match=message):
        grow(tmp_path / "lake", frames)
    assert (tmp_path / "lake" / "lake.json").read_bytes() == before
    fresh = tables()["transactions"].head(1).with_columns(event_id=pl.lit("N1"))
    assert grow(tmp_path / "lake", {"transactions": fresh}) == {"transactions": Counts(added=1)}
    assert Lake.open(tmp_path / "lake").tables["transactions"].rows == lake.tables["transactions"].rows + 1


def test_unlisted_and_unknown_versions_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "lake", tables())
    for i in range(32):
        rows = tables()["transactions"].head(1).with_columns(event_id=pl.lit(f"N{i}"))
        grow(tmp_path / "lake", {"transactions": rows})
    assert Lake.open(tmp_path / "lake", 5).tables["transactions"].rows == 84
    for version in (3, 34):
        with pytest.raises(LakeError, match=f"no version {version}; lake.json lists versions 4 to 33"):
            Lake.open(tmp_path / "lake", version)


def test_the_command_appends_a_day_and_says_what_became_of_it(tmp_path: Path) -> None:
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    for day, text in (("one", "a,x,2024-01-01\nb,x,2024-01-01\n"), ("two", "b,x,2024-01-01\na,y,2024-01-02\n")):
        (tmp_path / day).mkdir()
        (tmp_path / day / "took.csv").write_text(f"customer,product,day\n{text}")
    catalog, lake = str(tmp_path / "catalog.yaml"), str(tmp_path / "lake")
    _run("data", "import", catalog, lake, "--root", str(tmp_path / "one"))
    said = _run("data", "append", lake, catalog, "--root", str(tmp_path / "two"))
    assert "interactions                1 added          0 replaced          1 repeated" in said
    assert "version 2" in said and Lake.open(lake).read("products")["product_id"].to_list() == ["x", "y"]
    assert [line.split()[0] for line in _run("data", "versions", lake).splitlines()] == ["1", "2"]
    assert "keeps its contract" in _run("data", "check", lake, "--version", "1")
    (tmp_path / "other.yaml").write_text(CATALOG.replace("name: took", "name: other"))
    with pytest.raises(DataError, match="its source is 'other', the lake's is 'took'"):
        _run("data", "append", lake, str(tmp_path / "other.yaml"), "--root", str(tmp_path / "two"))


CATALOG = """
name: took
title: Who took what
source: nobody
licence: none
good_for: a test
until: 2024-02-01
files:
  took: {path: took.csv, format: csv}
tables:
  customers: SELECT DISTINCT customer AS customer_id FROM took
  interactions: >
    SELECT customer AS customer_id, product AS product_id, 'acquired' AS kind, CAST(day AS TIMESTAMP) AS at FROM took
"""


def _run(*words: str) -> str:
    return CliRunner().invoke(application(list(words)), list(words), catch_exceptions=False).stdout


def _days_of(frames: dict[str, pl.DataFrame], first: date) -> dict[str, pl.Series]:
    """For each row the day of the month in which it becomes known, negative for before; accounts with their opening."""
    opened = dict(frames["accounts"].select("account_id", "opened").iter_rows())
    joined = dict(frames["customers"].select("customer_id", "joined").iter_rows())
    found = {}
    for name, frame in frames.items():
        if "at" in frame.columns:
            day = frame["at"].dt.date()
        elif name == "account_holders":
            day = pl.Series(
                [max(opened[a], joined[c]) for a, c in frame.select("account_id", "customer_id").iter_rows()]
            )
        elif name == "accounts":
            day = frame["opened"]
        else:
            day = pl.Series([first - timedelta(days=1)] * frame.height, dtype=pl.Date)
        found[name] = (day - first).dt.total_days()
    # A second holder of a joint account joins it in the middle of the month, and brings its rows into another bucket.
    holders = frames["account_holders"]
    second = holders.select(pl.col("account_id").is_first_distinct().not_()).to_series()
    late = second & (holders.hash_rows(seed=1) % 2 == 0)
    found["account_holders"] = pl.select(pl.when(pl.lit(late)).then(14).otherwise(found["account_holders"])).to_series()
    return found


def _write_like(lake: Lake, path: Path, frames: dict[str, pl.DataFrame]) -> None:
    attributes: dict[str, tuple[Attribute, ...]] = {name: lake.attributes(name) for name in lake.tables}
    with LakeWriter(
        path, buckets=lake.buckets, currency=lake.currency, source=lake.source, until=lake.until, attributes=attributes
    ) as writer:
        for name in sorted(frames, key=lambda table: table != "account_holders"):
            writer.append(name, frames[name])


def _feature_bytes(lake: Lake, b: int, definition: FeatureDefinition) -> bytes:
    """The rows of a bucket's customers as text, and the numbers' own bytes."""
    held = lake.bucket(b)
    rows = features(held, scoring_examples(held["customers"]["customer_id"].sort(), lake.as_of), definition)
    numbers = rows.select(definition.numbers).to_numpy().tobytes()
    return rows.drop(definition.numbers).write_json().encode() + numbers


def test_products_may_come_to_a_lake_that_had_none(tmp_path: Path) -> None:
    write(tmp_path / "lake", {"customers": tables()["customers"]})
    rows = tables()["interactions"]
    with pytest.raises(DataError, match=r"product_id: 40 of 40 rows are without a row in products"):
        write_and_check(tmp_path / "unlisted", {"customers": tables()["customers"], "interactions": rows})
    counts = grow(tmp_path / "lake", {"interactions": rows})
    assert counts == {"products": Counts(1, 0, 0), "interactions": Counts(40, 0, 0)}
    lake = Lake.open(tmp_path / "lake")
    assert lake.read("products").rows() == [("P0",)] and not violations(lake)


def write_and_check(path: Path, frames: dict[str, pl.DataFrame]) -> None:
    refuse_violations(violations(write(path, frames)))
