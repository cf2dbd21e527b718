"""The monthly simulation of one bucket: campaigns, leaving, acquiring, closing, life events, considering, activity."""

from dataclasses import dataclass, fields

import numpy as np

from recsys.synthetic.browsing import look_at_products
from recsys.synthetic.campaigns import CONTACT_DAYS, SCHEDULE, Offer, make_offer
from recsys.synthetic.contacts import make_contacts
from recsys.synthetic.customers import People
from recsys.synthetic.hazards import LAPSE, Outlook, outlook, starts_considering
from recsys.synthetic.months import LENGTH, MONTHS, START, month_of_year
from recsys.synthetic.preferences import EVENT_RATE, EVENTS, TRAITS, TYPES
from recsys.synthetic.products import INDEX, PAYMENT_ACCOUNTS
from recsys.synthetic.state import MATURING, Journal, Month, State, initial_state, record_acquired
from recsys.synthetic.streams import Draws, Flags, Floats, Ints, Streams
from recsys.synthetic.truth import record_truth

STREAMS = ("arms", "leave", "acquire", "days", "close", "events", "consider", "views", "mood", "contacts", "renew")
"""What a month draws from, each after `life.`."""


@dataclass
class Traces:
    """What spending and engagement need of every month, [MONTHS, N]."""

    present: Flags  # with the bank for at least a part of the month
    activity: Floats  # log of the month's activity against habit
    drift: Floats  # the part of it that is withdrawal
    event_age: Ints  # [MONTHS, N, EVENTS] months since each life event
    income: Floats  # pounds a year
    retired: Flags
    payments: Ints  # account that takes payments through the whole month, -1 for none
    card: Ints  # credit card account through the whole month, -1 for none


@dataclass
class Life:
    """What became of the customers of one bucket."""

    journal: Journal
    left: Ints  # [N] day of leaving, NEVER for those who stayed
    traces: Traces


def live(people: People, streams: Streams) -> Life:
    """Simulate the 24 months of one bucket."""
    journal = Journal()
    state = initial_state(people, streams, journal)
    draws = {name: streams.open(f"life.{name}") for name in STREAMS}
    kept = []
    for month in range(MONTHS):
        before = state.account.copy()
        state.month = month
        step(people, state, journal, draws)
        state.present |= (people.joined >= START[month]) & (people.joined < START[month + 1])
        kept.append(_trace(people, state, before))
    stacked = {field.name: np.stack([getattr(trace, field.name) for trace in kept]) for field in fields(Traces)}
    return Life(journal=journal, left=state.left, traces=Traces(**stacked))


def _trace(people: People, state: State, before: Ints) -> Traces:
    leaving = (state.left >= START[state.month]) & (state.left < START[state.month + 1])
    joining = people.joined >= START[state.month]
    through = np.where((before == state.account) | leaving[:, None] | joining[:, None], before, -1)
    return Traces(
        present=state.present | leaving,
        activity=state.activity,
        drift=state.drift.copy(),
        event_age=state.event_age.copy(),
        income=state.income.copy(),
        retired=state.retired.copy(),
        payments=_first_of(through, PAYMENT_ACCOUNTS),
        card=_first_of(through, (INDEX["rewards_card"], INDEX["credit_card"])),
    )


def _first_of(account: Ints, products: tuple[int, ...]) -> Ints:
    found = np.full(len(account), -1, dtype=np.int64)
    for product in reversed(products):
        found = np.where(account[:, product] >= 0, account[:, product], found)
    return found


def step(people: People, state: State, journal: Journal, draws: dict[str, Draws]) -> Month:
    """The month `state.month`; its probabilities depend on the state at its start, and on the arms drawn in it."""
    look = outlook(people, state)
    offers = [make_offer(campaign, people, state, look, draws["arms"]) for campaign in SCHEDULE[state.month]]
    record_truth(state, look, offers, journal)
    month = _draw_month(people, state, look, offers, draws)
    make_contacts(state, month, journal, draws["contacts"])
    look_at_products(people, state, month, journal, draws["views"])
    _settle(state, month, journal, draws)
    _life_events(people, state, draws["events"])
    _activity(people, state, draws["mood"])
    return month


def _draw_month(people: People, state: State, look: Outlook, offers: list[Offer], draws: dict[str, Draws]) -> Month:
    leave, acquire = look.leave.copy(), look.acquire.copy()
    for offer in offers:
        if offer.campaign.product < 0:
            leave[offer.customer] = offer.actual
        else:
            acquire[offer.customer, offer.campaign.product] = offer.actual
    shape = acquire.shape
    staying = state.present & (draws["leave"].uniform(len(people)) >= leave)
    uniform = draws["acquire"].uniform(*shape)
    acquired = (uniform < acquire) & staying[:, None]
    closing = (draws["close"].uniform(*shape) < look.close) & staying[:, None] & state.held & ~_never_alone(state)
    busy = state.considering | acquired | ~staying[:, None]
    return Month(
        offers=offers,
        leave=leave,
        rate=look.rate,
        uniform=uniform,
        acquired=acquired,
        leaving=state.present & ~staying,
        closing=closing,
        started=starts_considering(look.rate, busy, draws["consider"].uniform(*shape)),
        day=_acquisition_days(shape, offers, state.month, draws["days"]),
    )


def _never_alone(state: State) -> Flags:
    """[N, P] true at the account that payments depend on and at a customer's only product: closed only on leaving."""
    keep = np.zeros(state.held.shape, dtype=bool)
    keep[:, INDEX["current_account"]] = True
    main = np.argmax(state.held[:, PAYMENT_ACCOUNTS], axis=1)
    keep[np.arange(len(keep)), np.array(PAYMENT_ACCOUNTS)[main]] = True
    return keep | (state.held.sum(axis=1) == 1)[:, None]


def _acquisition_days(shape: tuple[int, ...], offers: list[Offer], month: int, draws: Draws) -> Ints:
    """[N, P] days; a customer drawn into a campaign for the product acquires after the day of contact, in every arm."""
    earliest = np.zeros(shape)
    for offer in offers:
        if offer.campaign.product >= 0:
            earliest[offer.customer, offer.campaign.product] = offer.day + 1
    return START[month] + (earliest + draws.uniform(*shape) * (LENGTH[month] - earliest)).astype(np.int64)


def _settle(state: State, month: Month, journal: Journal, draws: dict[str, Draws]) -> None:
    """Carry out what the month drew: departures, closings, acquisitions, and what is considered at its end."""
    first, length = START[state.month], LENGTH[state.month]
    part = draws["days"].uniform(*state.held.shape)
    last = first + CONTACT_DAYS + (part[:, 0] * (length - CONTACT_DAYS)).astype(np.int64)
    state.left = np.where(month.leaving, last, state.left)
    state.present &= ~month.leaving

    close_day = np.where(month.leaving[:, None], last[:, None], first + (part * length).astype(np.int64))
    closed = month.closing | (month.leaving[:, None] & state.held)
    customer, product = np.nonzero(closed)
    account, day = state.account[customer, product], close_day[customer, product]
    journal.add("closed", customer=customer, product=product, day=day, account=account)
    state.held[closed], state.account[closed] = False, -1

    lapsing = draws["consider"].uniform(*state.held.shape) < LAPSE
    state.considering = (state.considering & ~lapsing) | month.started
    renewing = draws["renew"].uniform(len(state.held), len(MATURING)) < 0.45
    state.considering[:, MATURING] |= renewing & month.closing[:, MATURING]
    state.considering &= state.present[:, None]
    customer, product = np.nonzero(month.acquired)
    record_acquired(state, journal, customer, product, month.day[customer, product])


def _life_events(people: People, state: State, draws: Draws) -> None:
    """Life events of the month and what they change for good; trips are mostly planned from January to June."""
    rate = EVENT_RATE[people.stage].copy()
    rate[:, EVENTS.index("trip")] *= 1.7 if month_of_year(state.month) < 6 else 0.4
    rate[:, EVENTS.index("retire")] *= ~state.retired
    happens = (draws.uniform(*rate.shape) < rate) & state.present[:, None]
    state.event_age = np.where(happens, 0, np.minimum(state.event_age + 1, 99))
    state.traits[:, TRAITS.index("children")] |= happens[:, EVENTS.index("baby")]
    state.traits[:, TRAITS.index("car")] |= happens[:, EVENTS.index("vehicle")]
    state.retired |= happens[:, EVENTS.index("retire")]
    state.income = state.income * np.where(happens[:, EVENTS.index("raise")], 1.2, 1.0)
    state.income = state.income * np.where(happens[:, EVENTS.index("retire")], 0.6, 1.0)


def _activity(people: People, state: State, draws: Draws) -> None:
    """Activity of the month that ends: an autoregressive mood, and a drift that falls while a customer withdraws."""
    n = len(people)
    state.mood = 0.65 * state.mood + 0.24 * draws.normal(n)
    young = (people.stage <= 1).astype(np.float64)
    chance = 0.011 * np.exp(
        0.5 * (state.held.sum(axis=1) <= 2) + 0.4 * (people.type == TYPES.index("digital")) + 0.3 * young
    )
    begins = draws.uniform(n) < chance
    recovers = draws.uniform(n) < 0.10
    state.withdrawing = (state.withdrawing & ~recovers) | begins
    state.drift = np.where(state.withdrawing, np.maximum(state.drift - 0.45, -2.4), 0.45 * state.drift)
