"""Which example sees which rows of the tables: tables become arrays, and examples and rows are brought together there.

One customer is so answered in a few milliseconds (see `recsys.features.vocabulary`), and a bucket no slower.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from recsys.features.vocabulary import FEW, OTHER, Vocabulary, flatten

EXAMPLE: dict[str, pl.DataType] = {
    "customer_id": pl.String(),
    "as_of": pl.Date(),
    "position": pl.Int64(),
    "hidden": pl.List(pl.String),
}
"""The columns that name an example: a customer, the point from which they are seen, the products hidden from view."""
NEVER = np.iinfo(np.int64).min
"""A time, day or number that is not known, in arrays."""
AT = pl.Datetime("us")
DAY = 86_400_000_000
"""Microseconds."""
FAR = 50_000_000
"""Days. An age beyond is no age: the example has no day, or the event no time."""
FEW_ROWS = 100
"""Rows of a table up to which `tuples` are faster than `arrays`."""
_NO_DAY = -(NEVER // DAY)
Column = Vocabulary | pl.DataType


@dataclass(frozen=True)
class Pairs:
    """Examples and the rows of a table that they see."""

    row: np.ndarray
    """int64 [E] the example."""
    event: np.ndarray
    """int64 [E] the row of the table."""
    age: np.ndarray
    """int64 [E] whole days from the event to the example's day, 1 at least; beyond FAR where there is none."""

    def only(self, which: np.ndarray) -> "Pairs":
        """Those of a mask [E]."""
        return Pairs(self.row[which], self.event[which], self.age[which])


@dataclass(frozen=True)
class Held:
    """The accounts that each example holds, unless their product is hidden."""

    row: np.ndarray
    """int64 [H] the example."""
    account: np.ndarray
    """int64 [H] the place of the account among `accounts`."""
    accounts: Vocabulary
    """Every account with a holder."""
    opened: np.ndarray
    """int64 [accounts] days, NEVER where not known."""
    closed: np.ndarray
    """int64 [accounts] days, NEVER for an account that is open."""


class View:
    """Examples, and the tables as they see them."""

    def __init__(self, tables: Mapping[str, pl.DataFrame], examples: pl.DataFrame) -> None:
        """`examples` has the columns `EXAMPLE`; `tables` are as for `features`."""
        fits = all(examples.schema[name] == kind for name, kind in EXAMPLE.items())
        casts = [pl.col(name).cast(kind) for name, kind in EXAMPLE.items()]
        self.examples = examples[list(EXAMPLE)] if fits else examples.select(casts)
        self.tables = tables
        self.rows = examples.height
        self.customers = Vocabulary.of(self.examples["customer_id"])
        found = arrays(self.examples, {"customer_id": self.customers, "as_of": pl.Date(), "position": pl.Int64()})
        self.customer = found["customer_id"]
        """int64 [N] the place among `customers`."""
        self.day = np.where(found["as_of"] == NEVER, _NO_DAY, found["as_of"])
        """int64 [N] days since 1970-01-01; far away where an example has none."""
        self.position = found["position"]
        """int64 [N], NEVER where there is no limit."""

    def arrays(self, table: str, wanted: Mapping[str, Column]) -> dict[str, np.ndarray]:
        """`arrays` of a table that may be absent."""
        return arrays(self.tables.get(table, pl.DataFrame()), wanted)

    def of_customers(self, customer: np.ndarray, at: np.ndarray) -> Pairs:
        """Rows that belong to the example's customer, int64 [M] or -1, and lie before its day, microseconds [M]."""
        row, event = matches(self.customer, customer, len(self.customers))
        return self._before(Pairs(row, event, self._ages(row, event, at)))

    def owned(self, table: Mapping[str, np.ndarray]) -> tuple[Pairs, np.ndarray]:
        """Rows of the example's customer and of the accounts they hold, before its day; and the owner of each, [E].

        table: `arrays` with `customer_id`, `account_id` and `at`. An owner is an example, or the number of examples +
        a place in `held`.
        """
        held = self.held
        row, own = matches(self.customer, table["customer_id"], len(self.customers))
        holding, through = matches(held.account, table["account_id"], len(held.accounts))
        owner, event = np.concatenate([row, self.rows + holding]), np.concatenate([own, through])
        row = np.concatenate([row, held.row[holding]])
        age = self._ages(row, event, table["at"])
        return self._before(Pairs(row, event, age)), owner[age > 0]

    @cached_property
    def interactions(self) -> Pairs:
        """The interactions that each example may see, but test rows, which none may."""
        wanted: dict[str, Column] = {"customer_id": self.customers, "at": AT}
        wanted |= {"position": pl.Int64()} if (self.position != NEVER).any() else {}
        wanted |= {"test": pl.Boolean()} if "test" in self.columns("interactions") else {}
        wanted |= {"product_id": self.hidden[0]} if self.hidden else {}
        table = self.arrays("interactions", wanted)
        customer = np.where(table["test"] == 1, -1, table["customer_id"]) if "test" in wanted else table["customer_id"]
        pairs = self.of_customers(customer, table["at"])
        if "position" in wanted:
            limit, position = self.position[pairs.row], table["position"][pairs.event]
            pairs = pairs.only((limit == NEVER) | (position < limit))
        if self.hidden:
            pairs = pairs.only(self.shown(pairs.row, table["product_id"][pairs.event]))
        return pairs

    def columns(self, table: str) -> Sequence[str]:
        """What the table has; nothing if it is absent."""
        return self.tables[table].columns if table in self.tables else ()

    def _ages(self, row: np.ndarray, event: np.ndarray, at: np.ndarray) -> np.ndarray:
        age: np.ndarray = self.day[row] - (at // DAY)[event]
        return age

    def _before(self, pairs: Pairs) -> Pairs:
        """Those that lie before the example's day, or of which either has no time."""
        return pairs if not len(pairs.age) or pairs.age.min() > 0 else pairs.only(pairs.age > 0)

    @cached_property
    def hidden(self) -> tuple[Vocabulary, np.ndarray] | None:
        """The products hidden from any example, and example · products + place of each; None if there are none."""
        lists = self.examples["hidden"]
        if lists.null_count() == self.rows:
            return None
        row, flat = flatten(lists)
        if not len(flat):
            return None
        products = Vocabulary.of(flat)
        place = products.places(flat)
        return products, (row * len(products) + place)[place >= 0]

    def shown(self, row: np.ndarray, product: np.ndarray) -> np.ndarray:
        """bool [E]: whether the product, its place among those of `hidden` or -1, is not hidden from the example."""
        if self.hidden is None:
            return np.ones(len(row), dtype=np.bool_)
        products, keys = self.hidden
        shown: np.ndarray = (product < 0) | ~np.isin(row * len(products) + product, keys)
        return shown

    @cached_property
    def held(self) -> Held:
        """Accounts by example."""
        holders = self.tables.get("account_holders", pl.DataFrame())
        ids = holders["account_id"] if "account_id" in holders.columns else pl.Series(dtype=pl.String)
        accounts = Vocabulary.of(ids)
        count = len(accounts)
        found = arrays(holders, {"account_id": accounts, "customer_id": self.customers})
        pair = found["customer_id"] * count + found["account_id"]
        pair = np.unique(pair[(found["customer_id"] >= 0) & (found["account_id"] >= 0)])
        row, place = matches(self.customer, pair // max(count, 1), len(self.customers))
        account = pair[place] % max(count, 1)
        hidden = {"product_id": self.hidden[0]} if self.hidden else {}
        wanted: dict[str, Column] = {"account_id": accounts, "opened": pl.Date(), "closed": pl.Date(), **hidden}
        known = self.arrays("accounts", wanted)
        day = {name: np.full(count, NEVER) for name in ("opened", "closed")}
        there = known["account_id"] >= 0
        for name, values in day.items():
            values[known["account_id"][there]] = known[name][there]
        if hidden:
            product = np.full(count, -1)
            product[known["account_id"][there]] = known["product_id"][there]
            shown = self.shown(row, product[account])
            row, account = row[shown], account[shown]
        return Held(row, account, accounts, day["opened"], day["closed"])


def arrays(table: pl.DataFrame, wanted: Mapping[str, Column]) -> dict[str, np.ndarray]:
    """int64 [M] of each wanted column.

    By a vocabulary the place of each value, below 0 for any other; else microseconds, days, whole numbers or 0 and 1,
    NEVER where not known. What the table lacks is known of no row.
    """
    columns = set(table.columns)
    return {
        name: _numbers(table[name], kind)
        if name in columns
        else np.full(table.height, OTHER if isinstance(kind, Vocabulary) else NEVER)
        for name, kind in wanted.items()
    }


def tuples(table: pl.DataFrame, wanted: Mapping[str, Column]) -> Iterator[tuple[int, ...]]:
    """`arrays` row by row: of few rows, for a call of NumPy costs more than one of them."""
    columns, lists = set(table.columns), []
    for name, kind in wanted.items():
        if name in columns:
            lists.append(_listed(table.get_column(name), kind))
        else:
            lists.append([OTHER if isinstance(kind, Vocabulary) else NEVER] * table.height)
    return zip(*lists, strict=True)


def _listed(values: pl.Series, kind: Column) -> list[int]:
    if isinstance(kind, Vocabulary):
        return kind.listed(values)
    known = values if values.dtype == kind else values.cast(kind)
    known = known if known.dtype == pl.Boolean else known.cast(pl.Int64)
    return [NEVER if value is None else int(value) for value in known.to_list()]


def _numbers(values: pl.Series, kind: Column) -> np.ndarray:
    if isinstance(kind, Vocabulary):
        return kind.places(values)
    unknown = values.null_count()
    if unknown == len(values):
        return np.full(len(values), NEVER)
    if unknown and len(values) <= FEW:
        return np.array(_listed(values, kind), dtype=np.int64)
    known = (values if values.dtype == kind else values.cast(kind)).cast(pl.Int64)
    return (known.fill_null(NEVER) if unknown else known).to_numpy()


def taken(values: pl.Series, place: np.ndarray) -> pl.Series:
    """The values at these places; all of them in their order, as of one customer, need no copy."""
    whole = len(place) == len(values) and bool((place == np.arange(len(place))).all())
    return values if whole else values[place]


def matches(asked: np.ndarray, given: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of a place in `asked` [N] and one in `given` [M] with the same code, ascending by the first.

    Codes are 0 to count - 1; one below 0 in `given` matches nothing.
    """
    sorted_already = len(given) < 2 or bool((given[1:] >= given[:-1]).all())
    order = None if sorted_already else np.argsort(given, kind="stable")
    bounds = np.searchsorted(given if order is None else given[order], np.arange(count + 1))
    first = bounds[asked]
    many = bounds[asked + 1] - first
    row = np.repeat(np.arange(len(asked)), many)
    place = np.arange(len(row)) - np.repeat(np.cumsum(many) - many - first, many)
    return row, place if order is None else order[place]
