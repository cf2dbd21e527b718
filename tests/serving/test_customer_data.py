"""A customer's own data: into the lake's tables, or refused by the cell that breaks the contract."""

from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys.features.definition import FeatureConfig, define
from recsys.lake.store import Lake
from serving.customer_data import Bank, CustomerContract
from serving.request import BadRequest

AS_OF = date(2025, 6, 24)
ME = {"customer_id": "me"}


@pytest.fixture(scope="module")
def contract(small_lake: Path) -> CustomerContract:
    lake = Lake.open(small_lake)
    return CustomerContract(define(lake, FeatureConfig()), Bank.of_lake(lake), ["P00", "P01"])


def test_rows_become_tables_of_the_declared_types(contract: CustomerContract) -> None:
    customer_id, tables = contract.tables(
        {
            "customers": [{**ME, "region": "north", "income": 1000, "born": "1980-02-29", "interests": ["sport"]}],
            "interactions": [
                {"product_id": "P01", "kind": "acquired", "at": "2025-01-02T03:04:05"},
                {"kind": "login", "at": "2025-01-03", "event_id": "e1"},
            ],
            "accounts": [{"account_id": "A1", "opened": "2024-01-01"}],
            "transactions": [
                {"event_id": "t1", "account_id": "A1", "at": "2025-01-02T03:04:05", "amount": -500},
                {"event_id": "t2", "at": "2025-01-02T03:04:05", "amount": 500},
            ],
        },
        AS_OF,
    )
    assert customer_id == "me"
    assert tables["customers"].row(0, named=True) == {
        "customer_id": "me",
        "region": "north",
        "income": 1000.0,
        "born": date(1980, 2, 29),
        "staff": None,
        "interests": ["sport"],
    }
    assert tables["customers"].schema["income"] == pl.Float64
    assert tables["interactions"]["at"].to_list() == [datetime(2025, 1, 2, 3, 4, 5), datetime(2025, 1, 3)]
    assert tables["interactions"]["customer_id"].to_list() == ["me", "me"]
    assert tables["account_holders"].rows() == [("A1", "me")]
    assert tables["transactions"].select("account_id", "customer_id").rows() == [("A1", None), (None, "me")]
    assert tables["products"].height == 12


def holder(**more: Any) -> dict[str, Any]:
    return {"customers": [ME], **more}


def event(**change: Any) -> dict[str, Any]:
    row = {"product_id": "P01", "kind": "viewed", "at": "2025-01-02T03:04:05"} | change
    return holder(interactions=[{name: value for name, value in row.items() if value is not ...}])


def payment(**change: Any) -> dict[str, Any]:
    return holder(transactions=[{"event_id": "t", "at": "2025-01-02", "amount": 1} | change])


CONTACT = {"contact_id": "n", "campaign_id": "K1", "at": "2025-01-02", "contacted": True}


@pytest.mark.parametrize(
    ("customer", "field", "says"),
    [
        ({}, "customers", "0 rows"),
        ({"customers": [ME, ME]}, "customers", "2 rows"),
        ({"customers": {}}, "customers", "a table is a list of rows"),
        ({"customers": ["me"]}, "customers[0]", "a row is an object"),
        ({"customers": [{}]}, "customers[0].customer_id", "missing"),
        ({"customers": [{"customer_id": 5}]}, "customers[0].customer_id", "an id is a string"),
        ({"customers": [{**ME, "incme": 1}]}, "customers[0].incme", "did you mean 'income'"),
        ({"customers": [{**ME, "income": "1"}]}, "customers[0].income", "must be a number"),
        ({"customers": [{**ME, "income": True}]}, "customers[0].income", "must be a number"),
        ({"customers": [{**ME, "income": 10**400}]}, "customers[0].income", "range"),
        ({"customers": [{**ME, "staff": 1}]}, "customers[0].staff", "true or false"),
        ({"customers": [{**ME, "born": "29/02/1980"}]}, "customers[0].born", "YYYY-MM-DD"),
        ({"customers": [{**ME, "born": "1981-02-29"}]}, "customers[0].born", "YYYY-MM-DD"),
        ({"customers": [{**ME, "born": "9999-12-31"}]}, "customers[0].born", "between 1800"),
        ({"customers": [{**ME, "interests": "sport"}]}, "customers[0].interests", "a list of texts"),
        ({"customers": [{**ME, "interests": [1]}]}, "customers[0].interests[0]", "text"),
        ({"customers": [{**ME, "region": "\ud800"}]}, "customers[0].region", "surrogate"),
        (holder(products=[]), "products", "bank's own"),
        (holder(interaction=[]), "interaction", "did you mean 'interactions'"),
        (event(customer_id="you"), "interactions[0].customer_id", "customers of this request"),
        (event(kind="veiwed"), "interactions[0].kind", "did you mean 'viewed'"),
        (event(kind=...), "interactions[0].kind", "missing and compulsory"),
        (event(kind=None), "interactions[0].kind", "null and compulsory"),
        (event(product_id="P77"), "interactions[0].product_id", "bank's products"),
        (event(kind="acquired", product_id=None), "interactions[0].product_id", "null though"),
        (event(at=...), "interactions[0].at", "without both at and position"),
        (event(at="2025-06-24T00:00:00"), "interactions[0].at", "not before as_of 2025-06-24"),
        (event(at="2025-01-02T03:04:05Z"), "interactions[0].at", "time zone"),
        (event(at=1735787045), "interactions[0].at", "YYYY-MM-DDTHH:MM:SS"),
        (event(position=0), "interactions[0].position", "at least 1"),
        (event(position=2**63), "interactions[0].position", "64-bit"),
        (payment(amount=1.5), "transactions[0].amount", "whole number"),
        (payment(account_id="A1"), "transactions[0].account_id", "customer.account_holders"),
        (payment(customer_id="me", account_id="A1"), "transactions[0].account_id", "not among"),
        (holder(transactions=[payment()["transactions"][0]] * 2), "transactions[1]", "same event_id"),
        (holder(accounts=[{"opened": "2024-01-01"}]), "accounts[0].account_id", "missing"),
        (holder(accounts=[{"account_id": {}}]), "accounts[0].account_id", "an id is a string"),
        (holder(accounts=[{"account_id": "A1", "opened": "2025-06-25"}]), "accounts[0].opened", "after as_of"),
        (
            holder(accounts=[{"account_id": "A1", "opened": "2025-01-25", "closed": "2024-01-01"}]),
            "accounts[0].closed",
            "before the account was opened",
        ),
        (
            holder(accounts=[{"account_id": "A1"}], account_holders=[{"account_id": "A1", "customer_id": "you"}]),
            "accounts[0].account_id",
            "not held by this customer",
        ),
        (holder(contacts=[CONTACT | {"propensity": 0.0}]), "contacts[0].propensity", "greater than 0"),
        (holder(contacts=[CONTACT | {"propensity": 1.1}]), "contacts[0].propensity", "at most 1"),
        (holder(contacts=[CONTACT | {"campaign_id": "K9"}]), "contacts[0].campaign_id", "bank's campaigns"),
    ],
)
def test_a_broken_cell_is_named(contract: CustomerContract, customer: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(BadRequest) as caught:
        contract.tables(customer, AS_OF)
    assert caught.value.field == f"customer.{field}", caught.value.message
    assert says in caught.value.message
    assert caught.value.status == 422


def test_without_a_lake_the_bundle_says_what_can_be_known(small_lake: Path) -> None:
    definition = define(Lake.open(small_lake), FeatureConfig())
    contract = CustomerContract(definition, Bank(), ["P00"])
    _, tables = contract.tables(event(product_id="P00", at="2199-01-01"), None)
    assert set(tables) == {"customers", "interactions"}
    with pytest.raises(BadRequest, match="product_id"):
        contract.tables(event(product_id="P01"), None)
