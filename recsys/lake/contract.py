"""The contract of the lake's tables: every column with its type, nullability, key, range and meaning, declared once.

From this table come the validation (`check`), the messages and the data dictionary (`dictionary`). Plain declarations
rather than dataframely: attribute columns differ from bank to bank, keys hold nullable columns, violations are counted
bucket by bucket with a first example, and dataframely alone takes 0.7 s to import in a serving image.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from typing import Literal, get_args

import polars as pl

from recsys.errors import DataError

Role = Literal["feature", "label", "outcome", "group", "protected", "identifier"]
Kind = Literal["category", "number", "flag", "date", "tags", "text"]
ROLES: tuple[str, ...] = get_args(Role)
KINDS: Mapping[str, pl.DataType] = {
    "category": pl.String(),
    "number": pl.Float64(),
    "flag": pl.Boolean(),
    "date": pl.Date(),
    "tags": pl.List(pl.String()),
    "text": pl.String(),
}
"""The stored type of each kind of attribute."""

TIME = pl.Datetime("us")
INTERACTION_KINDS = ("holds", "acquired", "closed", "viewed", "clicked", "social", "login", "enquired")
PRODUCT_KINDS = ("holds", "acquired", "closed")
"""The kinds of interaction that always name a product."""
EARLIEST, LATEST = date(1800, 1, 1), date(2200, 12, 31)
"""Every date lies between these: '9999-12-31' and '1111-11-11' mean unknown, and unknown is null."""


@dataclass(frozen=True)
class Attribute:
    """A free column of customers, products or campaigns: what it is for and how it is read."""

    name: str
    role: str
    kind: str
    description: str = ""


@dataclass(frozen=True)
class Column:
    """One declared column; `required` means compulsory and never null, otherwise it may be absent and may be null."""

    name: str
    dtype: pl.DataType
    meaning: str
    required: bool = True
    key: bool = False
    low: float | None = None
    """Smallest allowed value."""
    above: float | None = None
    """Every value must be greater than this."""
    high: float | None = None
    """Largest allowed value."""
    values: tuple[str, ...] = ()
    """The only allowed values; empty for any."""
    past: bool = False
    """Must not lie after the last day that the source knows (`Lake.until`)."""
    refers_to: str = ""
    """The table in which the value must be found."""


@dataclass(frozen=True)
class Rule:
    """A condition on a whole row: `broken()` is the Polars expression that is true where a row breaks it."""

    column: str
    phrase: str
    broken: Callable[[], pl.Expr]


@dataclass(frozen=True)
class Table:
    """One declared table; `about` says whose bucket its rows stand in."""

    name: str
    meaning: str
    about: Literal["customer", "account", "all"]
    """customer: the bucket of customer_id; account: the buckets of all its holders; all: not partitioned."""
    columns: tuple[Column, ...]
    attributes: bool = False
    """May hold free columns, each declared with a role and a kind."""
    rules: tuple[Rule, ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.key)

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)


def _id(name: str, meaning: str, *, required: bool = True, key: bool = False, refers_to: str = "") -> Column:
    return Column(name, pl.String(), meaning, required, key, refers_to=refers_to)


def _text(
    name: str, meaning: str, *, required: bool = False, key: bool = False, values: tuple[str, ...] = ()
) -> Column:
    return Column(name, pl.String(), meaning, required, key, values=values)


def _at(meaning: str, *, required: bool = True, key: bool = False) -> Column:
    return Column("at", TIME, meaning, required, key, past=True)


def _day(name: str, meaning: str, *, past: bool = True) -> Column:
    return Column(name, pl.Date(), meaning, required=False, past=past)


def _flag(name: str, meaning: str, *, required: bool = False) -> Column:
    return Column(name, pl.Boolean(), meaning, required)


def _money(name: str, meaning: str, *, required: bool = False, low: float | None = None) -> Column:
    return Column(name, pl.Int64(), meaning, required, low=low)


_CUSTOMER = _id("customer_id", "the customer", refers_to="customers")
_PRODUCT = _id("product_id", "the product", required=False, refers_to="products")
_CHANNEL = _text("channel", "how it reached the customer or the bank: branch, app, e-mail …")
_PROPENSITY = Column(
    "propensity", pl.Float64(), "probability with which this was chosen, as logged", required=False, above=0.0, high=1.0
)
_EITHER = (
    _id("account_id", "the account", required=False, refers_to="account_holders"),
    _id("customer_id", "the customer, where there is no account", required=False, refers_to="customers"),
)
_ONE_OWNER = Rule(
    "account_id",
    "without exactly one of account_id and customer_id",
    lambda: pl.col("account_id").is_null() == pl.col("customer_id").is_null(),
)


def _keyed(*columns: Column) -> tuple[Column, ...]:
    return tuple(Column(**{**vars(column), "key": True}) for column in columns)


_TABLES = (
    Table(
        "customers",
        "Who the customers are: one row each, with what is known about them.",
        "customer",
        (
            _id("customer_id", "the customer's id, text, the same in every table", key=True),
            *_keyed(_day("valid_from", "the day from which this row's attributes were known")),
        ),
        attributes=True,
    ),
    Table(
        "products",
        "What can be recommended: one row each.",
        "all",
        (_id("product_id", "the product's id, text, the same in every table", key=True),),
        attributes=True,
    ),
    Table(
        "account_holders",
        "Who holds which account; a joint account has several rows.",
        "account",
        (
            _id("account_id", "the account", key=True, refers_to="accounts"),
            _id("customer_id", "one of its holders", key=True, refers_to="customers"),
            _text("role", "what the holder may do: owner, user …"),
        ),
    ),
    Table(
        "accounts",
        "Accounts, owned by customers through account_holders.",
        "account",
        (
            _id("account_id", "the account's id", key=True, refers_to="account_holders"),
            _PRODUCT,
            _day("opened", "first day of the account"),
            _day("closed", "last day of the account; null while it is open"),
        ),
        rules=(Rule("closed", "before the account was opened", lambda: pl.col("closed") < pl.col("opened")),),
    ),
    Table(
        "balances",
        "Balances of an account or of a customer, at points in time.",
        "account",
        (*_keyed(*_EITHER), _at("when the balance was read", key=True), _money("amount", "balance", required=True)),
        rules=(_ONE_OWNER,),
    ),
    Table(
        "interactions",
        "What customers did with products: held, acquired, closed, viewed …",
        "customer",
        (
            *_keyed(_CUSTOMER),
            _id(
                "product_id",
                "the product; null only for kinds that need none",
                required=False,
                key=True,
                refers_to="products",
            ),
            _text("kind", "what happened", required=True, key=True, values=INTERACTION_KINDS),
            _at("when it happened", required=False, key=True),
            Column(
                "position",
                pl.Int64(),
                "place in the customer's order, from 1, where no times are known",
                required=False,
                key=True,
                low=1,
            ),
            _CHANNEL,
            _id("event_id", "the event's own id", required=False, key=True),
            _flag("test", "true for a row that only the test of the protocol given may see: no feature shows it"),
        ),
        rules=(
            Rule(
                "product_id",
                f"null though the kind is one of {', '.join(PRODUCT_KINDS)}",
                lambda: pl.col("product_id").is_null() & pl.col("kind").is_in(PRODUCT_KINDS),
            ),
            Rule(
                "at",
                "without both at and position, which only the kind holds may be",
                lambda: pl.col("at").is_null() & pl.col("position").is_null() & (pl.col("kind") != "holds"),
            ),
        ),
    ),
    Table(
        "transactions",
        "Money in and out, of an account or of a customer.",
        "account",
        (
            _id("event_id", "the transaction's id", key=True),
            *_EITHER,
            _at("when it was booked"),
            _money("amount", "amount, negative when money leaves", required=True),
            _text("category", "what it was for, such as the merchant's category"),
            _CHANNEL,
        ),
        rules=(_ONE_OWNER,),
    ),
    Table(
        "campaigns",
        "Marketing campaigns: one row each.",
        "all",
        (
            _id("campaign_id", "the campaign's id", key=True),
            _PRODUCT,
            _day("starts", "first day", past=False),
            _day("ends", "last day", past=False),
        ),
        attributes=True,
        rules=(Rule("ends", "before the campaign starts", lambda: pl.col("ends") < pl.col("starts")),),
    ),
    Table(
        "contacts",
        "Who was, or deliberately was not, contacted in a campaign, and what came of it.",
        "customer",
        (
            _id("contact_id", "the contact's id", key=True),
            _CUSTOMER,
            _id("campaign_id", "the campaign", refers_to="campaigns"),
            _at("when the contact was made, or was withheld"),
            _CHANNEL,
            _text("arm", "the arm of the experiment, such as treated or control"),
            _flag("contacted", "true if the customer was contacted, false for a control", required=True),
            _PROPENSITY,
            _money("cost", "what the contact cost", low=0),
            _flag("opened", "whether the message was opened"),
            _flag("clicked", "whether the message was clicked"),
            _flag("converted", "whether the customer did what was hoped for"),
            _money("revenue", "what the conversion earned"),
        ),
    ),
    Table(
        "consents",
        "What customers allowed, and when.",
        "customer",
        (
            *_keyed(_CUSTOMER),
            _text("purpose", "what it is about, such as marketing or profiling", required=True, key=True),
            _text("channel", "for which channel; null for all", key=True),
            _flag("granted", "true if allowed, false if withdrawn", required=True),
            _at("when it was said", key=True),
        ),
    ),
    Table(
        "decisions",
        "What the system answered about a customer, and the bundle that answered.",
        "customer",
        (
            _id("decision_id", "the decision's id", key=True),
            _CUSTOMER,
            _at("when it was made"),
            _PRODUCT,
            _text("action", "what was to be done"),
            _PROPENSITY,
            _id("bundle_id", "the bundle that made it"),
        ),
    ),
    Table(
        "exposures",
        "What was really shown to a customer.",
        "customer",
        (
            _id("exposure_id", "the exposure's id", key=True),
            _CUSTOMER,
            _at("when it was shown"),
            _id("decision_id", "the decision behind it", required=False, refers_to="decisions"),
            _PRODUCT,
            _CHANNEL,
            _PROPENSITY,
        ),
    ),
    Table(
        "outcomes",
        "What came of it.",
        "customer",
        (
            _id("outcome_id", "the outcome's id", key=True),
            _CUSTOMER,
            _at("when it happened"),
            _id("decision_id", "the decision behind it", required=False, refers_to="decisions"),
            _PRODUCT,
            _text("kind", "what happened, such as converted or refused", required=True),
            _money("revenue", "what it earned"),
        ),
    ),
)

TABLES: Mapping[str, Table] = {table.name: table for table in _TABLES}
"""Every table of the contract by its name, in the order in which a writer needs them."""

COMPULSORY = ("customers",)
"""The tables without which there is no lake."""

EVENT_TABLES = ("interactions", "transactions", "contacts", "balances")
"""The tables whose last dated row gives the lake's last event."""


def table_of(name: str) -> Table:
    """The declared table, or DataError naming the nearest one."""
    if name not in TABLES:
        raise DataError(f"{name!r} is no table of the lake{nearest(name, TABLES)}; the tables are {', '.join(TABLES)}")
    return TABLES[name]


def nearest(name: str, valid: Sequence[str] | Mapping[str, object]) -> str:
    """`; did you mean 'kind'?` for the valid name nearest to a wrong one, or nothing."""
    close = get_close_matches(name, list(valid), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def schema_of(table: str, columns: Sequence[str], attributes: Sequence[Attribute]) -> dict[str, pl.DataType]:
    """The stored type of each of a table's columns, declared or attribute."""
    kinds = {attribute.name: KINDS[attribute.kind] for attribute in attributes}
    declared = {column.name: column.dtype for column in TABLES[table].columns}
    return {name: (declared | kinds)[name] for name in columns}


def check_attributes(table: str, attributes: Sequence[Attribute]) -> tuple[Attribute, ...]:
    """The attributes, if the table may have them and each has a fitting name, role and kind, else DataError."""
    contract = table_of(table)
    if attributes and not contract.attributes:
        may = ", ".join(name for name, other in TABLES.items() if other.attributes)
        raise DataError(f"{table}: has no attributes, only its declared columns; {may} may have them")
    seen: set[str] = {"bucket"}
    for attribute in attributes:
        where = f"{table}.{attribute.name}"
        if not attribute.name.isidentifier() or attribute.name in seen or contract.column(attribute.name):
            raise DataError(
                f"{where}: an attribute's name is letters, digits and underscores, used once, "
                f"and none of the contract's own ({', '.join(column.name for column in contract.columns)}, bucket)"
            )
        if attribute.role not in ROLES:
            raise DataError(f"{where}: the role is {attribute.role!r}; it must be one of {', '.join(ROLES)}")
        if attribute.kind not in KINDS:
            raise DataError(f"{where}: the kind is {attribute.kind!r}; it must be one of {', '.join(KINDS)}")
        seen.add(attribute.name)
    return tuple(attributes)
