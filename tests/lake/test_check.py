"""Every kind of violation is found, counted once, and shown by its first example."""

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from recsys.lake.check import violations
from recsys.lake.contract import TABLES
from tests.lake.bank import tables, write

Frames = dict[str, pl.DataFrame]


def put(frames: Frames, table: str, nth: int, /, **values: object) -> None:
    """Change values of one row."""
    frame = frames[table]
    numbered = pl.int_range(pl.len()) == nth
    frames[table] = frame.with_columns(
        pl.when(numbered)
        .then(pl.lit(value, frame.schema.get(name)))
        .otherwise(pl.col(name) if name in frame.columns else None)
        .alias(name)
        for name, value in values.items()
    )


def add(frames: Frames, table: str, **values: object) -> None:
    """Append one row."""
    frame = frames[table]
    row = pl.DataFrame([{name: values.get(name) for name in frame.columns}], schema=frame.schema)
    frames[table] = pl.concat([frame, row])


def found(frames: Frames, folder: Path) -> list[str]:
    return [str(violation) for violation in violations(write(folder / "lake", frames))]


def test_a_lake_that_keeps_its_contract(tmp_path: Path) -> None:
    assert found(tables(), tmp_path) == []


CASES: list[tuple[Callable[[Frames], None], str]] = [
    (
        lambda f: put(f, "interactions", 3, at=datetime(2024, 7, 2)),
        "interactions.at: 1 of 40 rows is after 2024-06-30, the last day that the source knows "
        "(first: customer_id C003, product_id P0, kind acquired, at 2024-07-02 00:00:00)",
    ),
    (
        lambda f: put(f, "interactions", 3, product_id="P9"),
        "interactions.product_id: 1 of 40 rows is without a row in products "
        "(first: customer_id C003, product_id P9, kind acquired, at 2024-04-04 12:00:00)",
    ),
    (
        lambda f: put(f, "interactions", 3, customer_id="X"),
        "interactions.customer_id: 1 of 40 rows is without a row in customers "
        "(first: customer_id X, product_id P0, kind acquired, at 2024-04-04 12:00:00)",
    ),
    (
        lambda f: put(f, "transactions", 3, account_id="X"),
        "transactions.account_id: 1 of 80 rows is without a row in account_holders "
        "(first: event_id T003, account_id X)",
    ),
    (
        lambda f: put(f, "account_holders", 3, customer_id="X"),
        "account_holders.customer_id: 1 of 42 rows is without a row in customers "
        "(first: account_id A003, customer_id X)",
    ),
    (
        lambda f: add(f, "account_holders", account_id="A999", customer_id="C000"),
        "account_holders.account_id: 1 of 43 rows is without a row in accounts "
        "(first: account_id A999, customer_id C000)",
    ),
    (
        lambda f: add(f, "customers", customer_id="C005"),
        "customers.customer_id: 1 of 41 rows is duplicate in the key (customer_id, valid_from) "
        "(first: customer_id C005)",
    ),
    (
        lambda f: add(f, "accounts", account_id="A000"),
        "accounts.account_id: 1 of 41 rows is duplicate in the key (account_id) (first: account_id A000)",
    ),
    (
        lambda f: put(f, "transactions", 5, event_id="T000"),
        "transactions.event_id: 1 of 80 rows is duplicate in the key (event_id) (first: event_id T000)",
    ),
    (
        lambda f: put(f, "interactions", 3, kind="bought"),
        "interactions.kind: 1 of 40 rows is none of holds, acquired, closed, viewed, clicked, social, login, enquired "
        "(first: customer_id C003, product_id P0, kind bought, at 2024-04-04 12:00:00)",
    ),
    (
        lambda f: put(f, "interactions", 3, product_id=None),
        "interactions.product_id: 1 of 40 rows is null though the kind is one of holds, acquired, closed "
        "(first: customer_id C003, product_id null, kind acquired, at 2024-04-04 12:00:00)",
    ),
    (
        lambda f: put(f, "interactions", 3, at=None),
        "interactions.at: 1 of 40 rows is without both at and position, which only the kind holds may be "
        "(first: customer_id C003, product_id P0, kind acquired, at null)",
    ),
    (
        lambda f: put(f, "interactions", 3, position=0),
        "interactions.position: 1 of 40 rows is less than 1 "
        "(first: customer_id C003, product_id P0, kind acquired, at 2024-04-04 12:00:00, position 0)",
    ),
    (
        lambda f: put(f, "transactions", 3, customer_id="C003"),
        "transactions.account_id: 1 of 80 rows is without exactly one of account_id and customer_id "
        "(first: event_id T003, account_id A003)",
    ),
    (
        lambda f: put(f, "transactions", 3, account_id=None),
        "transactions.account_id: 1 of 80 rows is without exactly one of account_id and customer_id "
        "(first: event_id T003, account_id null)",
    ),
    (
        lambda f: put(f, "transactions", 3, amount=None),
        "transactions.amount: 1 of 80 rows is null, which this column may never be (first: event_id T003, amount null)",
    ),
    (
        lambda f: put(f, "transactions", 3, category=" "),
        "transactions.category: 1 of 80 rows is blank or padded with spaces (first: event_id T003, category ' ')",
    ),
    (
        lambda f: put(f, "customers", 3, age=float("nan")),
        "customers.age: 1 of 40 rows is not a finite number (first: customer_id C003, age nan)",
    ),
    (
        lambda f: put(f, "customers", 3, age=float("-inf")),
        "customers.age: 1 of 40 rows is not a finite number (first: customer_id C003, age -inf)",
    ),
    (
        lambda f: put(f, "customers", 3, joined=date(9999, 12, 31)),
        "customers.joined: 1 of 40 rows is before 1800-01-01 or after 2200-12-31 (write null where a day is unknown) "
        "(first: customer_id C003, joined 9999-12-31)",
    ),
    (
        lambda f: put(f, "accounts", 3, opened=date(2024, 2, 1), closed=date(2024, 1, 1)),
        "accounts.closed: 1 of 40 rows is before the account was opened (first: account_id A003, closed 2024-01-01)",
    ),
    (
        lambda f: add(f, "products", product_id="P2 ", tags=["a", None]),
        "products.product_id: 1 of 3 rows is blank or padded with spaces (first: product_id 'P2 ')",
    ),
    (
        lambda f: add(f, "products", product_id="P2", tags=["a", None]),
        "products.tags: 1 of 3 rows is with a null or blank tag (first: product_id P2, tags ['a', None])",
    ),
]


@pytest.mark.parametrize(("change", "message"), CASES, ids=[message.split(" (")[0][:60] for _, message in CASES])
def test_violation(change: Callable[[Frames], None], message: str, tmp_path: Path) -> None:
    frames = tables()
    change(frames)
    assert message in found(frames, tmp_path)


def test_many_buckets_are_counted_together_with_the_first_example(tmp_path: Path) -> None:
    frames = tables()
    frames["transactions"] = frames["transactions"].with_columns(amount=pl.lit(None, pl.Int64))
    assert found(frames, tmp_path) == [
        "transactions.amount: 80 of 80 rows are null, which this column may never be "
        "(first: event_id T000, amount null)"
    ]


def test_an_id_repeated_in_another_bucket_is_found(tmp_path: Path) -> None:
    frames = tables()
    contacts = {"customer_id": [f"C{i:03d}" for i in range(40)], "at": [datetime(2024, 1, 1)] * 40}
    frames["campaigns"] = pl.DataFrame({"campaign_id": ["K"]})
    frames["contacts"] = pl.DataFrame(contacts).with_columns(
        contact_id=pl.lit("same"), campaign_id=pl.lit("K"), contacted=pl.lit(True), propensity=pl.lit(0.0)
    )
    first, second = found(frames, tmp_path)
    assert first.startswith("contacts.propensity: 40 of 40 rows are not greater than 0 (first: contact_id same")
    assert second.startswith("contacts.contact_id: 39 of 40 rows are duplicate in the key (contact_id)")


def test_empty_customers_and_products(tmp_path: Path) -> None:
    frames = {name: frame.clear() for name, frame in tables().items()}
    assert found(frames, tmp_path) == [
        "customers: the table is empty; it must have at least one row",
        "products: the table is empty; it must have at least one row",
    ]


def test_a_stored_column_of_another_type_is_named(tmp_path: Path) -> None:
    from deltalake import write_deltalake

    lake = write(tmp_path / "lake", tables())
    rows = lake.scan("transactions").collect().with_columns(pl.col("amount").cast(pl.Float64))
    write_deltalake(
        tmp_path / "lake" / "transactions", rows, mode="overwrite", schema_mode="overwrite", partition_by=["bucket"]
    )
    manifest = tmp_path / "lake" / "lake.json"
    text = manifest.read_text()
    start = text.index('"transactions"')
    manifest.write_text(text[:start] + text[start:].replace('"delta_version": 0', '"delta_version": 1', 1))
    again = type(lake).open(tmp_path / "lake")
    assert [str(v) for v in violations(again)] == [
        "transactions.amount: 80 of 80 rows are of the wrong type: a number, must be a whole number"
    ]


def test_the_contract_agrees_with_itself() -> None:
    for table in TABLES.values():
        assert table.key, table.name
        for column in table.columns:
            assert not column.refers_to or column.refers_to in TABLES
            assert column.meaning
        for rule in table.rules:
            assert table.column(rule.column)
