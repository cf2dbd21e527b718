"""Whether somebody is a customer on a day: not yet joined, a customer, or already gone by the rule."""

from collections.abc import Mapping
from datetime import date
from typing import Literal

import numpy as np
import polars as pl

from recsys.churn.config import LeavingRule
from recsys.churn.leaving import PASSIVE
from recsys.churn.owners import Owners
from recsys.features.view import AT, DAY, NEVER, arrays
from recsys.features.vocabulary import OTHER, vocabulary

Standing = Literal["customer", "left", "joins_later"]
EVENTS = ("transactions", "interactions", "balances", "contacts")
_UNKNOWN = np.iinfo(np.int64).max
"""A first day that nothing tells."""
_ALWAYS = -(1 << 40)
"""A day before all others."""
Tables = Mapping[str, pl.DataFrame]


def standing(tables: Tables, as_of: date | None, rule: LeavingRule | None) -> pl.DataFrame:
    """`customer_id, standing, joined` of every customer of the tables, as seen from a day, ordered by id.

    `joins_later`: their first account, event or attribute is of that day or later (`joined`, else null), so nothing is
    known of them. `left`: by the rule they are no customer any more; what `leavings` says of that day, worked out in
    arrays, because one customer is asked about in every answer. Where a table that the rule reads is absent, or there
    is no rule or no day, nobody has left.
    """
    owners = Owners(tables)
    first = np.full(len(owners.customers), _UNKNOWN) if as_of is None else _first_days(tables, owners)
    left = np.zeros(len(first), dtype=bool)
    if rule is not None and as_of is not None and _told(tables, rule):
        left = ~_here(tables, owners, rule, _day(as_of))
    return _frame(owners, first, left, as_of)


def standing_by_tables(tables: Tables, as_of: date | None, rule: LeavingRule | None) -> pl.DataFrame:
    """`standing` by the rule; without one a customer has left who had an account closed and has none open.

    Who never had an account has not left by that: a bank may keep accounts of some of its customers only.
    """
    accounts = tables.get("accounts")
    if rule is not None or as_of is None or accounts is None or "closed" not in accounts.columns:
        return standing(tables, as_of, rule)
    owners = Owners(tables)
    customer, account = owners.held(accounts, {"closed": pl.Date()})
    over = (account["closed"] != NEVER) & (account["closed"] < _day(as_of))
    some, still = (np.bincount(which, minlength=len(owners.customers)) > 0 for which in (customer, customer[~over]))
    return _frame(owners, _first_days(tables, owners), some & ~still, as_of)


def _frame(owners: Owners, first: np.ndarray, left: np.ndarray, as_of: date | None) -> pl.DataFrame:
    later = first != _UNKNOWN
    if as_of is not None:
        later &= first >= _day(as_of)
    said = np.where(later, 2, np.where(left, 1, 0))
    joined = [_date(int(day)) if here else None for day, here in zip(first, later, strict=True)]
    return pl.DataFrame(
        [
            pl.Series("customer_id", owners.customers.words, dtype=pl.String),
            pl.Series("standing", ["customer", "left", "joins_later"], dtype=pl.String)[said],
            pl.Series("joined", joined, dtype=pl.Date),
        ]
    )


def _first_days(tables: Tables, owners: Owners) -> np.ndarray:
    """int64 [N]: the first day of an account, an event, or a row with `valid_from`, of those that are known."""
    first = np.full(len(owners.customers), _UNKNOWN)

    def seen(customer: np.ndarray, day: np.ndarray) -> None:
        known = day != NEVER
        np.minimum.at(first, customer[known], day[known])

    if "accounts" in tables and "opened" in tables["accounts"].columns:
        customer, account = owners.held(tables["accounts"], {"opened": pl.Date()})
        seen(customer, account["opened"])
    if "valid_from" in tables["customers"].columns:
        rows = arrays(tables["customers"], {"customer_id": owners.customers, "valid_from": pl.Date()})
        seen(rows["customer_id"], np.where(rows["valid_from"] == NEVER, _ALWAYS, rows["valid_from"]))
    for name in EVENTS:
        if name in tables and "at" in tables[name].columns:
            customer, row = owners.of(tables[name])
            seen(customer, _days(tables[name])[row])
    return first


def _here(tables: Tables, owners: Owners, rule: LeavingRule, day: int) -> np.ndarray:
    """bool [N]: who is a customer on a day by every condition of the rule."""
    count = len(owners.customers)
    here = np.ones(count, dtype=bool)
    if rule.accounts_closed:
        customer, account = owners.held(tables["accounts"], {"opened": pl.Date(), "closed": pl.Date()})
        opened, closed = account["opened"], account["closed"]
        there = (opened < day) & ((closed == NEVER) | (closed >= day))
        here &= np.bincount(customer[there], minlength=count) > 0
    if rule.inactive_days is not None:
        active = np.zeros(count, dtype=bool)
        for name in rule.activity:
            if name in tables and "at" in tables[name].columns:
                customer, row = owners.of(tables[name])
                at = _days(tables[name], active=name == "interactions")[row]
                active[customer[(at < day) & (at >= day - rule.inactive_days)]] = True
        here &= active
    return here


def _days(events: pl.DataFrame, active: bool = False) -> np.ndarray:
    """int64 [M]: the day of each event, NEVER where not known or, of active ones, if it is of a passive kind."""
    at = arrays(events, {"at": AT})["at"]
    day = np.where(at == NEVER, NEVER, at // DAY)
    if active:
        kind = arrays(events, {"kind": vocabulary(PASSIVE)})["kind"]
        day = np.where(kind == OTHER, day, NEVER)
    return day


def _day(day: date) -> int:
    return day.toordinal() - date(1970, 1, 1).toordinal()


def _date(day: int) -> date:
    return date.fromordinal(day + date(1970, 1, 1).toordinal())


def _told(tables: Tables, rule: LeavingRule) -> bool:
    closed = {"accounts", "account_holders"} <= set(tables)
    active = any(name in tables for name in rule.activity)
    return (closed or not rule.accounts_closed) and (active or rule.inactive_days is None)
