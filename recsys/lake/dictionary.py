"""The data dictionary, written from the contract: `python -m recsys.lake.dictionary` prints data/README.md."""

from collections.abc import Iterator

from recsys.lake.buckets import HASH
from recsys.lake.conform import type_name
from recsys.lake.contract import EARLIEST, EVENT_TABLES, KINDS, LATEST, TABLES, Column, Table

_ROLES = {
    "feature": "an input of models",
    "label": "what a model is to predict; never an input",
    "outcome": "known only after the fact, such as a call's duration; never an input",
    "group": "for reports and baselines by group; not an input",
    "protected": "such as sex: not an input unless a configuration says so, always reported on",
    "identifier": "names something; never an input",
}

_KINDS = {
    "category": "one of some values",
    "number": "a finite number, or null",
    "flag": "true or false",
    "date": "a day",
    "tags": "a list of short texts",
    "text": "free text",
}

_ABOUT = {
    "customer": "Rows stand in the bucket of their customer.",
    "account": "Rows stand in the bucket of each holder of their account, or of their customer if they have none.",
    "all": "Not partitioned.",
}

_HEAD = f"""# Data dictionary

Generated from the contract in `recsys/lake/contract.py` by `python -m recsys.lake.dictionary`; do not edit by hand.

`catalog/` holds a file for each public source that can be brought in with `recsys data import`;
[bring your data](../docs/bring_your_data.md) explains how to write one for your own. Lakes themselves are never
committed.

A **lake** is a folder with one Delta table for each table below and `lake.json`, which names the version of each:
what is not in `lake.json` does not exist. Tables about customers are partitioned by the column `bucket`, the
customer's `{HASH}` hash (the first 8 bytes, big endian, of the MD5 of the id's UTF-8 bytes) modulo the number of
buckets, a power of two. Numbers of rows count distinct keys: the rows of a joint account stand in the bucket of every
holder and count once.

Rules for every table:

- Ids and other texts are never blank and never padded with spaces. Null means unknown.
- Times are the bank's local time without a zone, to the microsecond. Days and times lie between {EARLIEST} and
  {LATEST}, and those marked *past* not after the last day that the source knows (`until` in `lake.json`).
- Money is a whole number of the currency's minor units (pence, cents); the currency stands in `lake.json`.
- A column marked *optional* may be absent, and where present may be null. Every other column is compulsory, never null.
- Columns marked *key* together occur once in a table; a null counts as a value.
- The last event of a lake is the last time in {", ".join(EVENT_TABLES)}.

`customers` is compulsory; a bank has whichever of the others it has. `products` may be absent where there is nothing to
recommend, and then no other table names a product. Both hold at least one row.
"""


def markdown() -> str:
    """The whole data dictionary."""
    parts = [_HEAD, *(_table(table) for table in TABLES.values()), _attributes()]
    return "\n".join(parts)


def _table(table: Table) -> str:
    lines = [f"## {table.name}", "", f"{table.meaning} {_ABOUT[table.about]}", ""]
    lines += ["| column | type | | allowed | meaning |", "|---|---|---|---|---|"]
    lines += [
        f"| `{column.name}` | {type_name(column.dtype)} | {_marks(column)} | {_allowed(column)} | {column.meaning} |"
        for column in table.columns
    ]
    if table.attributes:
        lines += ["| *attributes* | | optional | | free columns, see [attributes](#attributes) |"]
    if table.rules:
        lines += ["", "No row may be:", "", *(f"- `{rule.column}` {rule.phrase}" for rule in table.rules)]
    return "\n".join([*lines, ""])


def _marks(column: Column) -> str:
    return ", ".join(["key"] * column.key + ["optional"] * (not column.required))


def _allowed(column: Column) -> str:
    return "; ".join(_limits(column))


def _limits(column: Column) -> Iterator[str]:
    if column.values:
        yield ", ".join(f"`{value}`" for value in column.values)
    if column.low is not None:
        yield f"≥ {column.low:g}"
    if column.above is not None:
        yield f"> {column.above:g}"
    if column.high is not None:
        yield f"≤ {column.high:g}"
    if column.past:
        yield "past"
    if column.refers_to:
        yield f"a row of `{column.refers_to}`"


def _attributes() -> str:
    owners = ", ".join(f"`{table.name}`" for table in TABLES.values() if table.attributes)
    lines = ["## Attributes", "", f"{owners} may hold any further columns, each declared with a role and a kind.", ""]
    lines += ["| role | use |", "|---|---|", *(f"| `{role}` | {use} |" for role, use in _ROLES.items()), ""]
    lines += ["| kind | stored as | meaning |", "|---|---|---|"]
    lines += [f"| `{kind}` | {type_name(dtype)} | {_KINDS[kind]} |" for kind, dtype in KINDS.items()]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    print(markdown(), end="")
