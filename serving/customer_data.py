"""A customer's own data in a request: rows of JSON, checked against the lake's contract, into lake tables."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl

from recsys.features.definition import FeatureDefinition
from recsys.lake.contract import KINDS, TABLES, Attribute, Column, Table
from recsys.lake.store import Lake
from serving.cell import read_cell
from serving.request import BadRequest, kind_of, nearest, read_id
from serving.store import Store

OURS = tuple(name for name, table in TABLES.items() if table.about != "all")
"""Tables that a request may hold; products and campaigns are the bank's own."""
EVENTS = tuple(name for name in OURS if TABLES[name].column("at"))
"""Tables of what happens at a time."""
OWNED = ("balances", "transactions")
"""Tables whose rows belong to an account or, without one, to the customer."""


@dataclass(frozen=True)
class Bank:
    """The bank's own tables, and the attributes that its customers have; of nobody where nothing is served."""

    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    """products and campaigns."""
    attributes: tuple[Attribute, ...] = ()

    @classmethod
    def of_lake(cls, lake: Lake | None) -> "Bank":
        """What a lake says."""
        if lake is None:
            return cls()
        tables: dict[str, pl.DataFrame] = {n: lake.read(n) for n in ("products", "campaigns") if n in lake.tables}
        return cls(tables, lake.attributes("customers"))

    @classmethod
    def of_store(cls, store: Store) -> "Bank":
        """What the lake said from which a store was loaded."""
        return cls(store.bank(), store.loaded().attributes("customers"))


class CustomerContract:
    """What a request may say about its customer, for one bundle and bank."""

    def __init__(self, definition: FeatureDefinition, bank: Bank, products: Collection[str]) -> None:
        """`products` are the bundle's; a product or campaign that the bank has beyond them may be named too."""
        self.attributes = {column.name: KINDS[column.kind] for column in definition.profile}
        self.attributes |= {attribute.name: KINDS[attribute.kind] for attribute in bank.attributes}
        self.bank = bank.tables
        ids = {name: self.bank[name][TABLES[name].key[0]] for name in self.bank}
        self.known: dict[str, Collection[str]] = {name: frozenset(values) for name, values in ids.items()}
        self.known["products"] = frozenset(products) | frozenset(ids.get("products", ()))

    def tables(self, customer: Mapping[str, Any], as_of: date | None) -> tuple[str, dict[str, pl.DataFrame]]:
        """The customer's id and lake tables, for a day; BadRequest names the first cell that breaks the contract."""
        for name in customer:
            if name not in OURS:
                own = "is the bank's own table, it comes from the lake; leave it out"
                raise BadRequest(f"customer.{name}", own if name in TABLES else f"unknown table; {nearest(name, OURS)}")
        rows = {name: _rows(name, customer[name]) for name in OURS if name in customer}
        customer_id = _customer_id(rows)
        _complete(rows, customer_id)
        references: dict[str, Collection[str]] = {**self.known, "customers": (customer_id,)}
        for name in ("accounts", "account_holders"):
            references[name] = frozenset(str(row.get("account_id")) for row in rows.get(name, ()))
        _check_accounts(rows, customer_id)
        tables = {name: self._table(TABLES[name], rows[name], references, as_of) for name in rows}
        return customer_id, {**self.bank, **tables}

    def events(
        self, customer_id: str, events: Mapping[str, Any], held: Mapping[str, pl.DataFrame], as_of: date | None
    ) -> dict[str, pl.DataFrame]:
        """New rows of a known customer, whose tables are `held`; BadRequest names the first wrong cell.

        A row whose key is held already is left out: it has been counted.
        """
        found = {}
        accounts = held["account_holders"]["account_id"].to_list() if "account_holders" in held else []
        references = {**self.known, "customers": (customer_id,), "account_holders": frozenset(accounts)}
        for name, given in events.items():
            if name not in EVENTS:
                raise BadRequest(f"events.{name[:256]}", f"no table of events; {nearest(name, EVENTS)}")
            rows = _rows(name, given, "events")
            for row in rows:
                if "customer_id" not in row and not (name in OWNED and row.get("account_id")):
                    row["customer_id"] = customer_id
            fresh = self._table(TABLES[name], rows, references, as_of, "events")
            if name in held:
                key = [
                    column for column in TABLES[name].key if column in fresh.columns and column in held[name].columns
                ]
                fresh = _unknown(fresh, key, frozenset(held[name][key].rows()))
            found[name] = fresh
        return found

    def _table(
        self,
        table: Table,
        rows: list[dict[str, Any]],
        references: Mapping[str, Collection[str]],
        as_of: date | None,
        prefix: str = "customer",
    ) -> pl.DataFrame:
        declared = {column.name: column for column in table.columns}
        if table.attributes:
            declared |= {name: Column(name, dtype, "", required=False) for name, dtype in self.attributes.items()}
        columns: dict[str, list[Any]] = {name: [] for name in declared}
        for position, row in enumerate(rows):
            where = f"{prefix}.{table.name}[{position}]"
            for name in row:
                if name not in declared:
                    raise BadRequest(f"{where}.{name[:256]}", f"unknown column; {nearest(name, declared)}")
            for name, column in declared.items():
                columns[name].append(_cell(table.name, f"{where}.{name}", column, row, references, as_of))
        whole = pl.DataFrame([pl.Series(name, columns[name], dtype=column.dtype) for name, column in declared.items()])
        _check_rows(table, whole, prefix)
        given = {name for row in rows for name in row} | {c.name for c in table.columns if c.required}
        return whole[[name for name in declared if name in given or name in self.attributes]]


def _cell(
    table: str,
    where: str,
    column: Column,
    row: Mapping[str, Any],
    references: Mapping[str, Collection[str]],
    as_of: date | None,
) -> object:
    value = read_value(where, column, row, as_of)
    named = references.get(column.refers_to)
    joint = table == "account_holders" and column.name == "customer_id"  # may name the others who hold it
    if value is not None and named is not None and value not in named and not joint:
        there = nearest(str(value), sorted(named))
        raise BadRequest(where, f"not among {_owner(column.refers_to)}; {there}")
    return value


def read_value(where: str, column: Column, row: Mapping[str, Any], as_of: date | None) -> Any:
    """The cell of a row, or None; BadRequest (naming `where`) if it is missing and compulsory, or does not fit."""
    value = row.get(column.name)
    if value is None:
        if column.required:
            what = "null" if column.name in row else "missing"
            raise BadRequest(where, f"{what} and compulsory ({column.meaning})")
        return None
    return read_cell(where, column, value, as_of)


def _unknown(rows: pl.DataFrame, key: Sequence[str], known: Collection[tuple[Any, ...]]) -> pl.DataFrame:
    """The rows whose key is not known yet; what is missing from both is the same."""
    new = [one not in known for one in rows[list(key)].rows()]
    return rows if all(new) else rows.filter(new)


def _owner(table: str) -> str:
    if table == "customers":
        return "the customers of this request"
    return f"the bank's {table}" if table in ("products", "campaigns") else f"the rows of customer.{table}"


def _rows(name: str, rows: object, prefix: str = "customer") -> list[dict[str, Any]]:
    if not isinstance(rows, list):
        raise BadRequest(f"{prefix}.{name}", f"{kind_of(rows)}; a table is a list of rows")
    for position, row in enumerate(rows):
        if not isinstance(row, dict):
            raise BadRequest(f"{prefix}.{name}[{position}]", f"{kind_of(row)}; a row is an object: column → value")
    return [dict(row) for row in rows]


def _customer_id(rows: Mapping[str, list[dict[str, Any]]]) -> str:
    customers = rows.get("customers", [])
    if len(customers) != 1:
        raise BadRequest("customer.customers", f"{len(customers)} rows; it must be one, with at least customer_id")
    field = "customer.customers[0].customer_id"
    if "customer_id" not in customers[0]:
        raise BadRequest(field, "missing and compulsory; any text that names the customer in the answer will do")
    return read_id(customers[0]["customer_id"], field)


def _complete(rows: dict[str, list[dict[str, Any]]], customer_id: str) -> None:
    """Fill in what a request about one customer need not say: whose its rows and accounts are."""
    if "accounts" in rows and "account_holders" not in rows:
        rows["account_holders"] = [{"account_id": row.get("account_id")} for row in rows["accounts"]]
    if "account_holders" in rows and "accounts" not in rows:
        rows["accounts"] = [{"account_id": row.get("account_id")} for row in rows["account_holders"]]
    for name, table in rows.items():
        for row in table:
            if name != "accounts" and "customer_id" not in row and not (name in OWNED and row.get("account_id")):
                row["customer_id"] = customer_id


def _check_accounts(rows: Mapping[str, list[dict[str, Any]]], customer_id: str) -> None:
    """Every account must be the customer's: of a joint account, one of the holders is this customer."""
    for name in ("accounts", "account_holders"):
        for position, row in enumerate(rows.get(name, ())):
            if row.get("account_id") is not None:
                read_id(row["account_id"], f"customer.{name}[{position}].account_id")
    mine = {row.get("account_id") for row in rows.get("account_holders", ()) if row.get("customer_id") == customer_id}
    for position, row in enumerate(rows.get("accounts", ())):
        if row.get("account_id") not in mine:
            what = "not held by this customer; add a row to customer.account_holders, or leave the account out"
            raise BadRequest(f"customer.accounts[{position}].account_id", what)


def _check_rows(table: Table, whole: pl.DataFrame, prefix: str) -> None:
    """Rules across columns, and keys that stand twice."""
    asked = [rule.broken().fill_null(False).alias(str(place)) for place, rule in enumerate(table.rules)]
    for rule, broken in zip(table.rules, whole.select(asked) if asked else (), strict=True):
        if broken.any():
            raise BadRequest(f"{prefix}.{table.name}[{broken.arg_max()}].{rule.column}", f"a row {rule.phrase}")
    keys = whole[list(table.key)].rows()
    counts = Counter(keys)
    twice = [place for place, key in enumerate(keys) if counts[key] > 1]
    if twice:
        field = f"{prefix}.{table.name}[{twice[-1]}]"
        raise BadRequest(field, f"a row with the same {', '.join(table.key)} came before; send each row once")
