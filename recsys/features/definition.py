"""What the features of a lake are: fixed once before training, the same for every later question."""

import hashlib
from datetime import date, timedelta
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, field_validator

from recsys.errors import ConfigError, DataError
from recsys.lake.coverage import last_days
from recsys.lake.store import Attribute, Lake

Kind = Literal["category", "number", "flag", "date", "tags", "text"]
RESERVED = ("customer_id", "holdings", "history", "history_kind", "history_age")
"""Columns of a feature row that are no attribute."""
HOLDING_KINDS = ("holds", "acquired", "closed")


class FeatureConfig(BaseModel):
    """Which features to build; what a source lacks is left out by itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    windows: tuple[int, ...] = (7, 30, 90, 365)
    """Days over which activity is counted, ascending."""
    history_length: int = Field(default=20, ge=0, le=512)
    """How many of the latest product interactions the customer tower sees; 0 leaves the history out."""
    holdings_length: int = Field(default=128, ge=1, le=1024)
    """How many held products the customer tower sees, the first by id, where the catalogue is too large for a column
    each (more than 4,096 products) and nothing is ordered, so that there is no history."""
    top_categories: int = Field(default=12, ge=0, le=100)
    """How many transaction categories and channels get columns of their own, the most frequent first."""
    log_unit: float | None = Field(default=None, gt=0)
    """Numbers of customers are read as sign(x) · log(1 + |x| / unit). If not given, only skewed numbers are, in units
    of their own median size, which sets amounts apart; 1 for all, as in log1p, sets nothing apart from something."""
    exclude: tuple[str, ...] = ()
    """Attributes (of customers or products) that are not used although their role is feature."""
    protected: tuple[str, ...] = ()
    """Protected attributes that are used all the same; empty unless a reviewer agreed."""
    trusted: tuple[str, ...] = ()
    """Attributes that the leak report names and that are used all the same: a person has checked that the bank knows
    them in advance."""

    @field_validator("windows")
    @classmethod
    def _ascending(cls, windows: tuple[int, ...]) -> tuple[int, ...]:
        if not windows or list(windows) != sorted(set(windows)) or windows[0] < 1:
            raise ValueError("windows must be distinct positive days in ascending order, such as [7, 30, 90, 365]")
        return windows


class Column(BaseModel):
    """An attribute that is an input."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind


class FeatureDefinition(BaseModel):
    """Every choice that `features` depends on; part of the bundle, named by its hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    dated: bool
    """Whether the lake has dated events, so that examples carry a day."""
    windows: tuple[int, ...]
    history_length: int
    profile: tuple[Column, ...]
    product_attributes: tuple[Column, ...]
    holdings: bool
    holdings_length: int
    """Most held products that are seen where the catalogue is too large for a column each."""
    interaction_kinds: tuple[str, ...]
    """Kinds of interaction seen, sorted."""
    history_kinds: tuple[str, ...]
    """Kinds of interaction that enter the history: those about a product and with an order."""
    transactions: bool
    transaction_categories: tuple[str, ...]
    transaction_channels: tuple[str, ...]
    contacts: bool
    contact_channels: tuple[str, ...]
    balances: bool
    accounts: bool

    def hash(self) -> str:
        """SHA-256 of the definition's canonical JSON."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the category columns of a feature row."""
        return tuple(column.name for column in self.profile if column.kind == "category")

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the tag and text columns of a feature row."""
        return tuple(column.name for column in self.profile if column.kind in ("tags", "text"))

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of the numeric columns of a feature row, in order."""
        profile = [column.name for column in self.profile if column.kind in ("number", "flag", "date")]
        return (*profile, *self.activity)

    @property
    def activity(self) -> tuple[str, ...]:
        """Names of the columns that are computed from events, in order."""
        names: list[str] = []
        if self.dated and self.transactions:
            names += windowed_names("transactions", ("count", "in", "out"), (None,), self.windows)
            names += windowed_names(
                "transactions.category", ("count", "out"), self.transaction_categories, self.windows
            )
            names += windowed_names("transactions.channel", ("count",), self.transaction_channels, self.windows)
            names += ["transactions.recency", "transactions.out.trend"]
        if self.dated and self.interaction_kinds:
            names += windowed_names("interactions", ("count",), self.interaction_kinds, self.windows)
            names += [f"interactions.{kind}.recency" for kind in self.interaction_kinds]
        if self.dated and self.contacts:
            names += windowed_names("contacts", ("count",), (None, *self.contact_channels), self.windows)
            names += ["contacts.recency"]
        if self.dated and self.balances:
            names += ["balances.latest", "balances.trend"]
        if self.dated and self.accounts:
            names += ["accounts.open", "accounts.oldest"]
        if self.holdings:
            names += ["holdings.count"]
        return tuple(names)


def windowed_names(
    table: str, measures: tuple[str, ...], groups: tuple[str | None, ...], windows: tuple[int, ...]
) -> list[str]:
    """Column names of windowed measures: measure by group by window, in that order."""
    return [
        ".".join([table, *([group] if group is not None else []), measure, f"{days}d"])
        for measure in measures
        for group in groups
        for days in windows
    ]


def define(lake: Lake, config: FeatureConfig, before: date | None = None) -> FeatureDefinition:
    """The feature definition for a lake: roles, kinds and categories as they stand before a day.

    `before` is the first day that training must not see; None uses all rows. Transactions, contacts and balances
    that stopped longer before that day than the longest window are not used: nothing of them would be recent.
    Raises ConfigError if the configuration names an attribute that the lake does not have, DataError for an attribute
    with the name of a column that feature rows have anyway.
    """
    _check_names(lake, config)
    dated = lake.as_of is not None
    stopped = _stopped(lake, config, before)
    used = [table for table in lake.tables if table not in stopped]
    kinds = _frequent(lake, "interactions", "kind", None, before)
    product_kinds = _product_kinds(lake) if kinds else set()
    return FeatureDefinition(
        dated=dated,
        windows=config.windows,
        history_length=config.history_length if product_kinds else 0,
        profile=_profile(lake.attributes("customers"), config),
        product_attributes=_columns(lake.attributes("products"), config),
        holdings=any(kind in HOLDING_KINDS for kind in kinds),
        holdings_length=config.holdings_length,
        interaction_kinds=tuple(sorted(set(kinds) - {"holds"})) if dated else (),
        history_kinds=tuple(sorted(product_kinds)),
        transactions="transactions" in used,
        transaction_categories=_frequent(lake, "transactions", "category", config.top_categories, before),
        transaction_channels=_frequent(lake, "transactions", "channel", config.top_categories, before),
        contacts="contacts" in used,
        contact_channels=_frequent(lake, "contacts", "channel", config.top_categories, before),
        balances="balances" in used,
        accounts="accounts" in lake.tables and "account_holders" in lake.tables,
    )


def _check_names(lake: Lake, config: FeatureConfig) -> None:
    known = {a.name: a for a in (*lake.attributes("customers"), *lake.attributes("products"))}
    for key, names in (
        ("exclude", config.exclude),
        ("protected", config.protected),
        ("trusted", config.trusted),
    ):
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"features.{key}: the lake has no attribute {name!r}; it has {', '.join(sorted(known)) or 'none'}"
                )
    for name in config.protected:
        if known[name].role != "protected":
            raise ConfigError(f"features.protected: {name!r} has the role {known[name].role}, not protected")


def _profile(attributes: tuple[Attribute, ...], config: FeatureConfig) -> tuple[Column, ...]:
    columns = _columns(attributes, config)
    if taken := [column.name for column in columns if column.name in RESERVED]:
        raise DataError(
            f"customers.{taken[0]}: feature rows have a column of that name of their own ({', '.join(RESERVED)}); "
            "give the attribute another name in the catalog file, or name it in features.exclude"
        )
    return columns


def _columns(attributes: tuple[Attribute, ...], config: FeatureConfig) -> tuple[Column, ...]:
    used = [
        a
        for a in attributes
        if (a.role == "feature" and a.name not in config.exclude)
        or (a.role == "protected" and a.name in config.protected)
    ]
    return tuple(Column(name=a.name, kind=a.kind) for a in sorted(used, key=lambda a: a.name))


def _stopped(lake: Lake, config: FeatureConfig, before: date | None) -> set[str]:
    end = before or lake.as_of
    if end is None:
        return set()
    tables = [table for table in ("transactions", "contacts", "balances") if table in lake.tables]
    last = last_days(lake, tables, end)
    since = end - timedelta(days=config.windows[-1])
    return {table for table in tables if table not in last or last[table] < since}


def _frequent(lake: Lake, table: str, column: str, most: int | None, before: date | None) -> tuple[str, ...]:
    """The most frequent values of a column, sorted by name; ties of frequency go by name."""
    if table not in lake.tables or column not in lake.tables[table].columns:
        return ()
    rows = _shown(lake, table)
    if before is not None and "at" in lake.tables[table].columns:
        rows = rows.filter(pl.col("at").is_null() | (pl.col("at") < pl.lit(before).cast(pl.Datetime("us"))))
    counts = rows.filter(pl.col(column).is_not_null()).group_by(column).len().collect()
    top = counts.sort(["len", column], descending=[True, False])[column].to_list()
    return tuple(sorted(top[:most]))


def _product_kinds(lake: Lake) -> set[str]:
    columns = lake.tables["interactions"].columns
    ordered = [pl.col(name).is_not_null() for name in ("at", "position") if name in columns]
    if not ordered or "product_id" not in columns:
        return set()
    rows = _shown(lake, "interactions").filter(pl.col("product_id").is_not_null() & pl.any_horizontal(ordered))
    return set(rows.select(pl.col("kind").unique()).collect()["kind"].to_list())


def _shown(lake: Lake, table: str) -> pl.LazyFrame:
    """The rows of a table without those that only a test may see."""
    rows = lake.scan(table)
    hidden = table == "interactions" and "test" in lake.tables[table].columns
    return rows.filter(~pl.col("test").fill_null(False)) if hidden else rows
