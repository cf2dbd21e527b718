"""Months of decisions on the synthetic bank: whom could be contacted about what, and what each contact would really do.

The bank lives as it is generated, its own campaigns included; decisions of a policy under study do not change it, so
that every policy meets the same customers in the same state. What the bank knows of a customer here is declared: a
segment that is the latent type four times in five, digital share and log adoption rates with noise, recent contacts.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from recsys.synthetic.campaigns import COST, contact_chances
from recsys.synthetic.customers import People, draw_people
from recsys.synthetic.hazards import Outlook, outlook
from recsys.synthetic.ids import customer_ids
from recsys.synthetic.life import STREAMS, step
from recsys.synthetic.months import MONTHS, START
from recsys.synthetic.preferences import TYPES
from recsys.synthetic.products import INDEX, MARGIN, PRODUCT_IDS, PRODUCTS
from recsys.synthetic.state import CONTACT_CHANNELS, Journal, State, initial_state
from recsys.synthetic.streams import Draws, Flags, Floats, Ints, Streams

OFFERED = tuple(
    INDEX[name]
    for name in (
        "credit_card", "cash_isa", "travel_insurance", "regular_saver", "stocks_isa", "home_insurance", "wallet_plus",
        "premium_account",
    )
)  # fmt: skip
"""The products on offer."""
PAIRS = tuple((product, channel) for product in OFFERED for channel in range(len(CONTACT_CHANNELS)))
ACTIONS = ("none", *(f"{PRODUCT_IDS[product]}/{CONTACT_CHANNELS[channel]}" for product, channel in PAIRS))
"""What can be done about a customer in a month: nothing, or one product through one channel."""
WORTH: Floats = np.array([0.0, *(MARGIN[product] for product, _ in PAIRS)])
"""Pence that the action's product earns."""
COSTS: Floats = np.array([0.0, *(float(COST[channel]) for _, channel in PAIRS)])
"""Pence that the contact costs."""
MISTAKEN = 0.2
"""Share of customers whose segment is drawn at random instead of being their type."""
NOISE = 0.3
"""Standard deviation of the error of the bank's log adoption rates, and of a third of it in the digital share."""
_CATEGORIES = tuple(dict.fromkeys(PRODUCTS[product].category for product in OFFERED))


@dataclass(frozen=True)
class Opportunity:
    """One month: N customers of the bank, A actions, D features of an action for a customer."""

    month: int
    customer: Ints  # [N] number of the customer
    eligible: Flags  # [N, A] consent, room for the product, few recent contacts; nothing is always eligible
    chance: Floats  # [N, A] true probability that the action's product is acquired in the month if the action is taken
    baseline: Floats  # [N, A] the same without any contact
    believed: Floats  # [N, A] what the bank takes the baseline to be
    features: Floats  # [N, A, D]

    @property
    def value(self) -> Floats:
        """True pence that each action adds over doing nothing, [N, A]."""
        worth: Floats = (self.chance - self.baseline) * WORTH - COSTS
        return worth


def opportunities(customers: int, seed: int, months: int = MONTHS) -> Iterator[Opportunity]:
    """The months of a bank of so many customers, in one bucket; the same arguments give the same months."""
    streams = Streams(seed, 0)
    people = draw_people(customer_ids(customers), streams, len(PRODUCTS))
    journal = Journal()
    state = initial_state(people, streams, journal)
    draws = {name: streams.open(f"life.{name}") for name in STREAMS}
    known = _known(people, streams.open("decisions.known"))
    errors = np.exp(NOISE * streams.open("decisions.believed").normal(len(people), len(PRODUCTS)))
    for month in range(months):
        state.month = month
        yield _opportunity(people, state, known, errors)
        step(people, state, journal, draws)
        state.present |= (people.joined >= START[month]) & (people.joined < START[month + 1])


@dataclass(frozen=True)
class _Known:
    segment: Ints  # [N]
    digital: Floats  # [N]


def _known(people: People, draws: Draws) -> _Known:
    guess = (draws.uniform(len(people)) * len(TYPES)).astype(np.int64)
    segment = np.where(draws.uniform(len(people)) < MISTAKEN, guess, people.type)
    return _Known(segment, people.digital + NOISE / 3 * draws.normal(len(people)))


def _opportunity(people: People, state: State, known: _Known, errors: Floats) -> Opportunity:
    look = outlook(people, state)
    here = np.flatnonzero(state.present)
    shape = (len(here), len(ACTIONS))
    eligible, chance, baseline = np.ones(shape, dtype=bool), np.zeros(shape), np.zeros(shape)
    believed = np.zeros(shape)
    for place, (product, channel) in enumerate(PAIRS, start=1):
        qualifies, chances = contact_chances(product, channel, people, state, look)
        eligible[:, place] = qualifies[here]
        baseline[:, place], chance[:, place] = chances[here].T
        believed[:, place] = baseline[:, place] * errors[here, product]
    features = _features(state, look, known, errors, here)
    return Opportunity(state.month, here, eligible, chance, baseline, believed, features)


def _features(state: State, look: Outlook, known: _Known, errors: Floats, here: Ints) -> Floats:
    """[N, A, D]: product, channel, channel × digital, segment × category, recent contacts, adoption rate, a constant.

    All are 0 where nothing is done, so that doing nothing is known to add nothing.
    """
    segment = np.eye(len(TYPES))[known.segment[here]]
    need = np.clip(0.35 * (look.score[here] + np.log(errors[here]) + 4.6), -0.8, 0.8)
    digital, pressure = 2 * known.digital[here] - 1, state.pressure[here]
    columns = []
    for product, channel in PAIRS:
        hot, through = np.eye(len(OFFERED))[OFFERED.index(product)], np.eye(len(CONTACT_CHANNELS))[channel]
        about = np.eye(len(_CATEGORIES))[_CATEGORIES.index(PRODUCTS[product].category)]
        parts = [
            np.ones((len(here), 1)),
            np.tile(hot, (len(here), 1)),
            np.tile(through, (len(here), 1)),
            digital[:, None] * through,
            (segment[:, :, None] * about).reshape(len(here), -1),
            np.stack([pressure, need[:, product]], axis=1),
        ]
        columns.append(np.concatenate(parts, axis=1))
    stacked = np.stack(columns, axis=1)
    return np.concatenate([np.zeros_like(stacked[:, :1]), stacked], axis=1)
