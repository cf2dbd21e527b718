"""What a frame must be to be appended: all that is wrong is said at once, and no cast loses anything."""

from datetime import date, datetime

import polars as pl
import pytest

from recsys.errors import DataError
from recsys.lake.conform import conform
from recsys.lake.contract import Attribute, check_attributes, table_of

AGE = [Attribute("age", "feature", "number")]


def test_columns_come_in_the_declared_order_and_type() -> None:
    frame = pl.DataFrame({"age": [30, None], "valid_from": [None, None], "customer_id": [7, 8]})
    rows = conform("customers", frame, AGE)
    assert rows.schema == {"customer_id": pl.String, "valid_from": pl.Date, "age": pl.Float64}
    assert rows.row(0) == ("7", None, 30.0)


def test_days_become_midnights_and_nanoseconds_microseconds() -> None:
    common = {"customer_id": ["C"], "product_id": ["P"], "kind": ["acquired"]}
    for at in (pl.Series([date(2024, 1, 2)]), pl.Series([datetime(2024, 1, 2)], dtype=pl.Datetime("ns"))):
        rows = conform("interactions", pl.DataFrame(common | {"at": at}))
        assert rows["at"].dtype == pl.Datetime("us")
        assert rows["at"].to_list() == [datetime(2024, 1, 2)]


def test_everything_wrong_is_said_at_once() -> None:
    frame = pl.DataFrame({"event_id": ["T1"], "acount_id": ["A1"], "amount": [12.5], "at": ["2024-01-02"]})
    with pytest.raises(DataError) as caught:
        conform("transactions", frame)
    assert str(caught.value).splitlines() == [
        "transactions.acount_id: no such column in the contract, which has event_id, account_id, customer_id, at, "
        "amount, category, channel; did you mean 'account_id'?",
        "transactions.at: is text, must be a day with its time; "
        "CAST(at AS TIMESTAMP), or strptime(at, '%d/%m/%Y %H:%M')",
        "transactions.amount: is a number, must be a whole number; "
        "round to whole minor units: CAST(round(amount * 100) AS BIGINT)",
    ]


def test_missing_column_undeclared_attribute_and_absent_attribute() -> None:
    with pytest.raises(DataError, match="customers.customer_id: the column is missing and compulsory"):
        conform("customers", pl.DataFrame({"age": [1.0]}), AGE)
    with pytest.raises(DataError, match="customers.agee: neither a column of the contract .* did you mean 'age'"):
        conform("customers", pl.DataFrame({"customer_id": ["C"], "age": [1.0], "agee": [1.0]}), AGE)
    with pytest.raises(DataError, match="customers.age: declared as an attribute, but not a column"):
        conform("customers", pl.DataFrame({"customer_id": ["C"]}), AGE)


@pytest.mark.parametrize(
    ("ids", "what"),
    [
        (pl.Series([1.0]), "an id that went through a float"),
        (pl.Series([date(2024, 1, 1)]), "is a day, must be text"),
    ],
)
def test_ids_never_pass_through_floats_or_dates(ids: pl.Series, what: str) -> None:
    with pytest.raises(DataError, match=what):
        conform("customers", pl.DataFrame({"customer_id": ids}))


def test_zoned_times_are_refused_with_the_remedy() -> None:
    at = pl.Series([datetime(2024, 1, 1)]).dt.replace_time_zone("UTC")
    frame = pl.DataFrame({"customer_id": ["C"], "product_id": ["P"], "kind": ["holds"], "at": at})
    with pytest.raises(DataError, match="a time with the zone UTC.*AT TIME ZONE"):
        conform("interactions", frame)


def test_attributes_need_fitting_names_roles_and_kinds() -> None:
    with pytest.raises(DataError, match="the role is 'input'; it must be one of feature, label"):
        check_attributes("customers", [Attribute("age", "input", "number")])
    with pytest.raises(DataError, match="the kind is 'float'"):
        check_attributes("customers", [Attribute("age", "feature", "float")])
    with pytest.raises(DataError, match="none of the contract's own"):
        check_attributes("customers", [Attribute("valid_from", "feature", "date")])
    with pytest.raises(DataError, match="transactions: has no attributes"):
        check_attributes("transactions", [Attribute("shop", "feature", "category")])
    with pytest.raises(DataError, match="'costumers' is no table of the lake; did you mean 'customers'"):
        table_of("costumers")


def test_a_number_that_does_not_fit_is_refused() -> None:
    amount = pl.Series([10**30], dtype=pl.Decimal(38, 0))
    frame = pl.DataFrame({"event_id": ["T"], "account_id": ["A"], "at": [date(2024, 1, 1)], "amount": amount})
    with pytest.raises(DataError, match="transactions: a value does not fit its column"):
        conform("transactions", frame)
    assert conform("transactions", frame.with_columns(amount=pl.lit(7).cast(pl.Decimal(38, 0))))["amount"].item() == 7
