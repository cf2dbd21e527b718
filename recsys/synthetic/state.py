"""What is true of a bucket's customers at the start of a month, and the journal of what happened to them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recsys.synthetic.customers import People
from recsys.synthetic.months import FIRST_DAY, NEVER, START
from recsys.synthetic.preferences import (
    EVENTS,
    HELD_BOOST,
    HOLD,
    INCOME_SLOPE,
    STAGE_BOOST,
    STAGES,
    TRAIT_BOOST,
    TRAITS,
    TYPE_BOOST,
)
from recsys.synthetic.products import (
    HAS_ACCOUNT,
    INDEX,
    LAUNCHED,
    MAX_AGE,
    MIN_AGE,
    MIN_INCOME,
    PRODUCTS,
    REQUIRES,
    TERM,
)
from recsys.synthetic.streams import Flags, Floats, Ints, Streams

if TYPE_CHECKING:
    from recsys.synthetic.campaigns import Offer

CONTACT_CHANNELS = ("email", "sms", "push", "post", "phone")
MATURING = tuple(
    INDEX[p]
    for p in ("regular_saver", "fixed_saver", "transfer_card", "personal_loan", "car_finance", "home_improvement_loan")
)
"""Products that end with their term; the other terms renew or outlast the bank."""

_GRANT = np.array([0.72, 0.55, 0.50, 0.62, 0.40])
_TYPE_GRANT = np.array([0.0, 0.10, 0.06, -0.06, 0.08, -0.05])


class Journal:
    """Columns of what happened, added month by month under a name and read whole."""

    def __init__(self) -> None:
        self._parts: dict[str, list[dict[str, np.ndarray]]] = {}

    def add(self, name: str, **columns: np.ndarray) -> None:
        """Add rows: equally long columns."""
        self._parts.setdefault(name, []).append(columns)

    def __getitem__(self, name: str) -> dict[str, np.ndarray]:
        """Every row added under the name, as columns."""
        parts = self._parts[name]
        return {column: np.concatenate([part[column] for part in parts]) for column in parts[0]}


@dataclass
class State:
    """The start of a month: all that the month's probabilities depend on, [N] or [N, P] and the like."""

    month: int
    present: Flags  # [N] has joined and not left
    income: Floats  # [N] pounds a year
    traits: Flags  # [N, TRAITS]
    retired: Flags  # [N] paid a pension, no salary
    held: Flags  # [N, P]
    opened: Ints  # [N, P] day on which it was acquired, where held
    account: Ints  # [N, P] row of its account in the journal, -1 for none
    considering: Flags  # [N, P] looking into it since before this month
    views: Ints  # [N, P] views and enquiries in the month just ended
    event_age: Ints  # [N, EVENTS] months since it happened, large for never
    mood: Floats  # [N] ordinary ups and downs of activity, log scale
    drift: Floats  # [N] slow withdrawal from the bank, log scale, at most 0
    withdrawing: Flags  # [N]
    pressure: Floats  # [N] recent contacts, halved every month
    consents: Flags  # [N, CONTACT_CHANNELS]
    left: Ints  # [N] day of leaving, NEVER for those who have not
    accounts: int = 0
    """Accounts opened so far, and so the number of the next one."""
    contacts: int = 0
    """Contacts made or withheld so far."""

    @property
    def activity(self) -> Floats:
        """Log of activity in the month just ended relative to the customer's own habit, [N]."""
        return self.mood + self.drift


@dataclass
class Month:
    """What one month drew, before it is carried out."""

    offers: "list[Offer]"
    leave: Floats  # [N] hazard of leaving under the arms that were drawn
    rate: Floats  # [N, P] rate of starting to consider
    uniform: Floats  # [N, P] the draw that decided on acquiring
    acquired: Flags  # [N, P]
    leaving: Flags  # [N]
    closing: Flags  # [N, P]
    started: Flags  # [N, P] starts to be considered
    day: Ints  # [N, P] day of acquiring, where acquired


def initial_state(people: People, streams: Streams, journal: Journal) -> State:
    """The state at the start of the first month, with holdings, their dates and consents put into the journal.

    A product is held at the start with a probability whose log-odds move with type, stage, traits, income and the
    products before it in the catalogue; it was acquired uniformly between joining and the start. All choices.
    """
    n, size = len(people), len(PRODUCTS)
    held = _initial_holdings(people, streams)
    joins_later = people.joined >= FIRST_DAY
    held = np.where(joins_later[:, None], _first_products(people), held)
    opened = _opening_days(people, held, streams)
    state = State(
        month=0,
        present=~joins_later,
        income=people.income.copy(),
        traits=people.traits.copy(),
        retired=people.stage == STAGES.index("retired"),
        held=held,
        opened=opened,
        account=np.full((n, size), -1, dtype=np.int64),
        considering=np.zeros((n, size), dtype=bool),
        views=np.zeros((n, size), dtype=np.int64),
        event_age=np.full((n, len(EVENTS)), 99, dtype=np.int64),
        mood=0.3 * streams.open("state.mood").normal(n),
        drift=np.zeros(n),
        withdrawing=np.zeros(n, dtype=bool),
        pressure=np.zeros(n),
        consents=_initial_consents(people, streams, journal),
        left=np.full(n, NEVER, dtype=np.int64),
    )
    customer, product = np.nonzero(held)
    record_acquired(state, journal, customer, product, opened[held])
    return state


def record_acquired(state: State, journal: Journal, customer: Ints, product: Ints, day: Ints) -> None:
    """Enter acquisitions into the state and the journal, opening an account where the product has one."""
    state.held[customer, product] = True
    state.opened[customer, product] = day
    state.considering[customer, product] = False
    number = np.full(len(customer), -1, dtype=np.int64)
    with_account = HAS_ACCOUNT[product]
    number[with_account] = state.accounts + np.arange(int(with_account.sum()))
    state.accounts += int(with_account.sum())
    state.account[customer, product] = number
    journal.add("acquired", customer=customer, product=product, day=day)
    journal.add("accounts", customer=customer[with_account], product=product[with_account], day=day[with_account])


def _initial_holdings(people: People, streams: Streams) -> Flags:
    n = len(people)
    age = people.age(FIRST_DAY)
    score = np.log(HOLD.clip(1e-4) / (1 - HOLD.clip(1e-4))) + 0.6 * TYPE_BOOST[people.type]
    score = score + 0.7 * STAGE_BOOST[people.stage] + 0.6 * (people.traits @ TRAIT_BOOST) + people.taste
    score = score + 0.6 * INCOME_SLOPE * np.log(people.income / 30_000)[:, None]
    owner = people.traits[:, TRAITS.index("homeowner")]
    score[:, INDEX["mortgage"]] += np.where(owner, 1.2, -2.5)
    uniform = streams.open("state.holdings").uniform(n, len(PRODUCTS))
    held = np.zeros((n, len(PRODUCTS)), dtype=bool)
    for p, product in enumerate(PRODUCTS):
        fits = (age >= product.min_age) & (age <= product.max_age) & (people.income >= product.min_income)
        fits &= (held | ~REQUIRES[p]).all(axis=1) & (LAUNCHED[p] < FIRST_DAY)
        odds = score[:, p] + 0.5 * (held @ HELD_BOOST[:, p])
        held[:, p] = fits & (uniform[:, p] < 1 / (1 + np.exp(-odds)))
    nothing = ~held.any(axis=1)
    held[nothing] = _first_products(people)[nothing]
    paired = people.partner >= 0
    held[paired, INDEX["current_account"]] = True
    return held


def _first_products(people: People) -> Flags:
    first = np.zeros((len(people), len(PRODUCTS)), dtype=bool)
    young = people.age(int(START[12])) < MAX_AGE[INDEX["student_account"]]
    first[young, INDEX["student_account"]] = True
    saver = ~young & (people.partner < 0) & (people.taste[:, INDEX["easy_saver"]] > 0.3)
    first[saver, INDEX["easy_saver"]] = True
    first[~young & ~saver, INDEX["current_account"]] = True
    first[people.partner >= 0, INDEX["current_account"]] = True
    return first


def _opening_days(people: People, held: Flags, streams: Streams) -> Ints:
    uniform = streams.open("state.opened").uniform(*held.shape)
    uniform[:, [INDEX["current_account"], INDEX["student_account"]]] = 0.0
    nothing_else = held.sum(axis=1) == 1
    uniform[nothing_else] = 0.0
    earliest = np.maximum(people.joined[:, None], LAUNCHED[None, :])
    earliest = np.maximum(earliest, (people.born[:, None] + MIN_AGE[None, :] * 365.25).astype(np.int64))
    for p in MATURING:
        earliest[:, p] = np.maximum(earliest[:, p], FIRST_DAY - int(TERM[p] * 30))
    earliest = np.minimum(earliest, FIRST_DAY - 1)
    days = earliest + (uniform * (FIRST_DAY - earliest)).astype(np.int64)
    days = np.where((people.joined >= FIRST_DAY)[:, None], people.joined[:, None], days)
    for p in range(len(PRODUCTS)):
        for q in np.flatnonzero(REQUIRES[p]):
            days[:, p] = np.where(held[:, p] & held[:, q], np.maximum(days[:, p], days[:, q]), days[:, p])
    return days


def _initial_consents(people: People, streams: Streams, journal: Journal) -> Flags:
    n = len(people)
    chance = _GRANT[None, :] + _TYPE_GRANT[people.type][:, None]
    granted = streams.open("state.consents").uniform(n, len(CONTACT_CHANNELS)) < chance
    customer, channel = np.nonzero(np.ones_like(granted))
    journal.add("consents", customer=customer, channel=channel, granted=granted.flatten(), day=people.joined[customer])
    return granted


def fits_limits(people: People, state: State, day: int) -> Flags:
    """[N, P]: age and income limits, launch date and prerequisites allow the product on the day."""
    age = people.age(day)[:, None]
    fits = (age >= MIN_AGE) & (age <= MAX_AGE) & (state.income[:, None] >= MIN_INCOME) & (day >= LAUNCHED)
    return fits & (((~state.held).astype(np.float64) @ REQUIRES.T) == 0)
