"""Transactions of one bucket: card payments by merchant category, salaries and pensions, bills."""

import numpy as np
import polars as pl

from recsys.synthetic.accounts import Accounts
from recsys.synthetic.customers import People
from recsys.synthetic.ids import numbered
from recsys.synthetic.life import Life
from recsys.synthetic.merchants import (
    CATEGORIES,
    CHANNELS,
    DAY_CLASS,
    HOUSEHOLD,
    ONLINE,
    PRICE,
    PRICE_SPREAD,
    category_weights,
    day_weights,
)
from recsys.synthetic.months import MONTHS, START, times, weekday
from recsys.synthetic.preferences import STAGES
from recsys.synthetic.streams import Draws, Flags, Ints, Streams

PURCHASES = 5.4
"""Card payments a month of a customer of ordinary liveliness; a choice."""
PAYDAYS = (15, 25, 28, 31)
"""Day of the month on which salaries arrive, 31 for the last one; the working day before where it is a weekend."""

_CREDITS = ("salary", "pension_income")
_BILLS = ("utilities", "housing")
NAMES = (*CATEGORIES, *_CREDITS, *_BILLS)


def transaction_frame(people: People, life: Life, accounts: Accounts, streams: Streams, bucket: int) -> pl.DataFrame:
    """The table `transactions`, ordered by account and time."""
    payday = (streams.open("spending.payday").uniform(len(people)) * len(PAYDAYS)).astype(np.int64)
    frames = [
        _purchases(people, life, accounts, payday, streams, bucket),
        _credits(people, life, accounts, payday, streams, bucket),
        _bills(people, life, accounts, streams, bucket),
    ]
    return pl.concat(frames).sort("account", "at", maintain_order=True).drop("account")


def _purchases(
    people: People, life: Life, accounts: Accounts, payday: Ints, streams: Streams, bucket: int
) -> pl.DataFrame:
    """Card payments: Poisson counts, category by type, traits, life events and season, log-normal prices."""
    traces, draws = life.traces, streams.open("spending.purchases")
    usable = traces.present & ((traces.payments >= 0) | (traces.card >= 0))
    little = np.where(traces.payments >= 0, 1.0, 0.35)
    rate = PURCHASES * people.liveliness * np.exp(np.clip(traces.activity, -3, 1)) * usable * little
    counts = draws.poisson(rate)
    month, customer = np.nonzero(counts)
    times_ = counts[month, customer]
    cell = np.repeat(np.arange(len(month)), times_)
    weights = category_weights(people, traces.event_age, month, customer, streams)
    category = draws.pick(weights, cell)
    month, customer = month[cell], customer[cell]
    classes = month * len(PAYDAYS) * 3 + payday[customer] * 3 + DAY_CLASS[category]
    day = START[month] + draws.pick(day_weights(PAYDAYS), classes)
    account = _paying_account(life, accounts, customer, month, day, category, draws)
    price = PRICE[category] + 0.35 * np.log(traces.income[month, customer] / 30_000)
    price = price + PRICE_SPREAD[category] * draws.normal(len(category))
    price = np.where(draws.uniform(len(category)) < 0.0006, price + 3.4, price)
    online = draws.uniform(len(category)) < ONLINE[category] * (0.3 + 1.1 * people.digital[customer])
    tapped = draws.uniform(len(category)) < 0.35 + 0.4 * people.digital[customer]
    channel = np.where(online, 0, np.where(tapped, 1, 2))
    channel = np.where(category == CATEGORIES.index("cash"), 3, channel)
    second = 86_399 * np.clip(0.58 + 0.17 * draws.normal(len(category)), 0.0, 1.0)
    amount = -np.maximum(np.round(np.exp(price) * 100), 50).astype(np.int64)
    gaps = draws.uniform(len(category)), draws.uniform(len(category))
    rows = (account >= 0) & (day > people.joined[customer]) & (day < life.left[customer])
    return _frame("P", bucket, accounts, rows, account, day, second, amount, category, channel, gaps)


def _paying_account(
    life: Life, accounts: Accounts, customer: Ints, month: Ints, day: Ints, category: Ints, draws: Draws
) -> Ints:
    """The account each card payment goes from: now and then the credit card, household things from the joint one."""
    payments, card = life.traces.payments[month, customer], life.traces.card[month, customer]
    by_card = (card >= 0) & ((draws.uniform(len(customer)) < 0.3) | (payments < 0))
    account = np.where(by_card, card, payments)
    joint = accounts.joint_of[customer]
    is_open = (joint >= 0) & (day > accounts.opened[joint]) & (day < accounts.closed[joint])
    shared = is_open & HOUSEHOLD[category] & (draws.uniform(len(customer)) < 0.5)
    return np.where(shared, joint, account)


def _credits(
    people: People, life: Life, accounts: Accounts, payday: Ints, streams: Streams, bucket: int
) -> pl.DataFrame:
    """Salaries and pensions, for the customers for whom this is the main bank; they stop when one withdraws."""
    traces, draws = life.traces, streams.open("spending.credits")
    n = len(people)
    share = np.array([0.45, 0.85, 0.88, 0.88, 0.85, 0.80])[people.stage]
    main_bank = draws.uniform(n) < share
    patience = 0.6 + 0.8 * draws.uniform(n)
    paid = traces.present & (traces.payments >= 0) & main_bank & (-traces.drift < patience)
    noise, bonus = 0.02 * draws.normal(MONTHS, n), draws.uniform(MONTHS, n)
    month, customer = np.nonzero(paid)
    last = START[month + 1] - 1
    day = np.minimum(START[month] + np.array(PAYDAYS)[payday[customer]] - 1, last)
    day = day - np.maximum(weekday(day) - 4, 0)
    net = traces.income[month, customer] * 100 * 0.76 / 12 * np.exp(noise[month, customer])
    working = ~traces.retired[month, customer]
    net = np.where(working & (bonus[month, customer] < 0.012), net * 2.2, net)
    category = len(CATEGORIES) + np.where(working, 0, 1)
    account = traces.payments[month, customer]
    rows = (day > people.joined[customer]) & (day < life.left[customer])
    channel = np.full(len(day), CHANNELS.index("transfer"))
    second, gaps = np.full(len(day), 7200), (np.ones(len(day)), np.ones(len(day)))
    return _frame("S", bucket, accounts, rows, account, day, second, np.round(net), category, channel, gaps)


def _bills(people: People, life: Life, accounts: Accounts, streams: Streams, bucket: int) -> pl.DataFrame:
    """Direct debits in the first days of a month: utilities for some, rent or mortgage for others."""
    traces, draws = life.traces, streams.open("spending.bills")
    n = len(people)
    has = draws.uniform(n, 2) < np.array([0.45, 0.30])
    has &= (people.stage != STAGES.index("student"))[:, None]
    level = np.stack([4.7 + 0.3 * draws.normal(n), 6.5 + 0.35 * draws.normal(n)], axis=1)
    level += 0.4 * np.log(people.income / 30_000)[:, None]
    paid = traces.present & (traces.payments >= 0) & (traces.drift > -0.8)
    month, customer, kind = np.nonzero(paid[:, :, None] & has)
    day = START[month] + (draws.uniform(n, 2)[customer, kind] * 5).astype(np.int64)
    winter = np.where(kind == 0, 0.25 * np.cos(2 * np.pi * month / 12), 0.0)
    amount = -np.round(np.exp(level[customer, kind] + winter) * 100)
    category = len(CATEGORIES) + len(_CREDITS) + kind
    account = traces.payments[month, customer]
    rows = (day > people.joined[customer]) & (day < life.left[customer])
    channel = np.full(len(day), CHANNELS.index("direct_debit"))
    second, gaps = np.full(len(day), 3600), (np.ones(len(day)), np.ones(len(day)))
    return _frame("B", bucket, accounts, rows, account, day, second, amount, category, channel, gaps)


def _frame(
    kind: str,
    bucket: int,
    accounts: Accounts,
    rows: Flags,
    account: Ints,
    day: Ints,
    second: np.ndarray,
    amount: np.ndarray,
    category: Ints,
    channel: Ints,
    gaps: tuple[np.ndarray, np.ndarray],
) -> pl.DataFrame:
    """The rows kept, as a frame; a category or channel is missing where its gap falls under 1.5 or 1 %."""
    kept = np.flatnonzero(rows)
    category = np.where(gaps[0] < 0.015, len(NAMES), category)[kept]
    channel = np.where(gaps[1] < 0.010, len(CHANNELS), channel)[kept]
    return pl.DataFrame(
        {
            "account": account[kept],
            "event_id": numbered(kind, bucket, np.arange(len(kept))),
            "account_id": accounts.ids.gather(pl.Series(account[kept])),
            "at": times(day[kept], second[kept]),
            "amount": amount[kept].astype(np.int64),
            "category": pl.Series([*NAMES, None], dtype=pl.String).gather(pl.Series(category)),
            "channel": pl.Series([*CHANNELS, None], dtype=pl.String).gather(pl.Series(channel)),
        }
    )
