"""Accounts of one bucket, their holders (a few joint), and their balances at the end of every month."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.synthetic.customers import People
from recsys.synthetic.ids import numbered
from recsys.synthetic.life import Life, Traces
from recsys.synthetic.months import FIRST_DAY, LAST_DAY, MONTHS, NEVER, START, dates, times
from recsys.synthetic.preferences import TYPES
from recsys.synthetic.products import INDEX, PRODUCT_IDS, PRODUCTS, TERM
from recsys.synthetic.streams import Floats, Ints, Streams

_KINDS = ("accounts", "savings", "investments", "cards", "lending", "mortgages", "insurance", "digital")
_KIND = np.array([_KINDS.index(product.category) for product in PRODUCTS])
_KIND[INDEX["home_improvement_loan"]] = _KINDS.index("lending")
_LEVEL = np.array([-2.6, -1.5, -0.9, -3.4, -1.1, 1.0, 0.0, 0.0])
"""Log of the usual balance in years of income, by kind; then its spread between accounts and from month to month."""
_SPREAD = np.array([0.6, 0.9, 0.9, 0.7, 0.4, 0.25, 0.0, 0.0])
_WOBBLE = np.array([0.30, 0.06, 0.03, 0.35, 0.0, 0.0, 0.0, 0.0])
_BORROWED = np.array([False, False, False, True, True, True, False, False])
_REPAID = np.array([False, False, False, False, True, True, False, False])
_EMPTIED = (_KIND <= 1) & (np.arange(len(PRODUCTS)) != INDEX["fixed_saver"])
_TYPE_SAVED = np.array([0.55, -0.35, 0.0, 0.45, -0.9, 0.15])
_MARKET = np.cumsum(
    [0.03, -0.01, 0.00, 0.01, -0.02, 0.02, 0.02, -0.02, -0.03, -0.02, 0.06, 0.05]
    + [0.01, 0.03, 0.03, -0.03, 0.02, 0.02, 0.01, 0.01, 0.01, -0.01, 0.04, -0.02]
)
"""Log of a made-up market index at the end of each month; a choice."""


@dataclass(frozen=True)
class Accounts:
    """Every account of a bucket, A of them; the joint ones come last."""

    ids: pl.Series
    customer: Ints  # [A] first holder
    second: Ints  # [A] second holder, -1 for none
    product: Ints  # [A]
    opened: Ints  # [A] day number
    closed: Ints  # [A] day number, NEVER while open
    joint_of: Ints  # [N] row of the customer's joint account, -1 for none


def open_accounts(people: People, life: Life, streams: Streams, bucket: int) -> Accounts:
    """The accounts that the simulation opened, and one joint current account for each couple.

    A joint account opens one to twelve months after both have joined (a choice) and closes when either leaves.
    """
    made, closed = life.journal["accounts"], life.journal["closed"]
    end = np.full(len(made["customer"]), NEVER, dtype=np.int64)
    has = closed["account"] >= 0
    end[closed["account"][has]] = closed["day"][has]
    delay = 30 + (330 * streams.open("accounts.joint").uniform(len(people))).astype(np.int64)
    first = np.flatnonzero(people.partner > np.arange(len(people)))
    second = people.partner[first]
    opened = np.maximum(people.joined[first], people.joined[second]) + delay[first]
    joint_end = np.minimum(life.left[first], life.left[second])
    real = opened < np.minimum(joint_end, LAST_DAY) - 1
    first, second, opened, joint_end = first[real], second[real], opened[real], joint_end[real]
    joint_of = np.full(len(people), -1, dtype=np.int64)
    joint_of[first] = joint_of[second] = len(end) + np.arange(len(first))
    return Accounts(
        ids=numbered("A", bucket, np.arange(len(end) + len(first))),
        customer=np.concatenate([made["customer"], first]),
        second=np.concatenate([np.full(len(end), -1), second]),
        product=np.concatenate([made["product"], np.full(len(first), INDEX["current_account"])]),
        opened=np.concatenate([made["day"], opened]),
        closed=np.concatenate([end, joint_end]),
        joint_of=joint_of,
    )


def account_frame(accounts: Accounts) -> pl.DataFrame:
    """The table `accounts`."""
    still_open = accounts.closed > LAST_DAY
    return pl.DataFrame(
        {
            "account_id": accounts.ids,
            "product_id": pl.Series(PRODUCT_IDS).gather(pl.Series(accounts.product)),
            "opened": dates(accounts.opened),
            "closed": dates(np.where(still_open, 0, accounts.closed), still_open),
        }
    )


def holder_frame(people: People, accounts: Accounts) -> pl.DataFrame:
    """The table `account_holders`: one row per account, two for a joint one."""
    joint = np.flatnonzero(accounts.second >= 0)
    rows = np.concatenate([np.arange(len(accounts.customer)), joint])
    customer = np.concatenate([accounts.customer, accounts.second[joint]])
    role = np.where(accounts.second[rows] >= 0, "joint", "owner")
    return pl.DataFrame(
        {
            "account_id": accounts.ids.gather(pl.Series(rows)),
            "customer_id": people.ids.gather(pl.Series(customer)),
            "role": pl.Series(role.tolist(), dtype=pl.String),
        }
    )


def balance_frame(people: People, accounts: Accounts, traces: Traces, streams: Streams) -> pl.DataFrame:
    """The table `balances`: each open account at the end of each month.

    Log-normal about a multiple of the income that depends on the category (a choice); loans shrink with their term,
    savings grow, investments follow one market, and a customer who withdraws from the bank empties the accounts.
    """
    ends = START[1:] - 1
    there = (accounts.opened[:, None] <= ends) & (accounts.closed[:, None] > ends)
    account, month = np.nonzero(there)
    draws = streams.open("balances")
    own, monthly = draws.normal(len(accounts.customer)), draws.normal(len(accounts.customer), MONTHS)
    customer, product = accounts.customer[account], accounts.product[account]
    kind, type_ = _KIND[product], people.type[customer]
    borrowed = _BORROWED[kind]
    score = _LEVEL[kind] + _SPREAD[kind] * own[account] + _WOBBLE[kind] * monthly[account, month]
    score += np.log(traces.income)[month, customer]
    score += np.where(_EMPTIED[product], 0.9 * traces.drift[month, customer], 0.0)
    score += np.where(borrowed, 0.35 * (type_ == TYPES.index("borrower")), _TYPE_SAVED[type_])
    score += np.where(kind == 1, 0.008 * month, 0.0) + np.where(kind == 2, _MARKET[month], 0.0)
    amount = np.exp(score) * 100 * _remaining(accounts, account, month)
    amount = np.where(borrowed, -amount, amount - _shortfall(people, traces, customer, month, product))
    return pl.DataFrame(
        {
            "account_id": accounts.ids.gather(pl.Series(account)),
            "at": times(ends[month], np.full(len(month), 23 * 3600)),
            "amount": np.round(amount).astype(np.int64),
        }
    )


def _remaining(accounts: Accounts, account: Ints, month: Ints) -> Floats:
    """Share of a loan that is still to be paid back; 1 for everything else."""
    repaid = _REPAID[_KIND[accounts.product[account]]]
    term = np.maximum(TERM[accounts.product[account]], 1) * 30.4
    age = START[month + 1] - np.maximum(accounts.opened[account], FIRST_DAY - 30 * 365)
    return np.where(repaid, np.clip(1 - age / term, 0.02, 1.0), 1.0)


def _shortfall(people: People, traces: Traces, customer: Ints, month: Ints, product: Ints) -> Floats:
    """Pence by which a borrower's current account is lower: some months end overdrawn."""
    borrower = people.type[customer] == TYPES.index("borrower")
    current = np.isin(product, (INDEX["current_account"], INDEX["student_account"]))
    return np.where(borrower & current, 2.5 * traces.income[month, customer], 0.0)
