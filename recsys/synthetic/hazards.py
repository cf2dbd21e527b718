"""The true probabilities of a month given the state at its start: considering, acquiring, closing, leaving.

A customer looks into a product (*considers* it: views, enquiries) before acquiring it. Considering starts at a rate
that is log-linear in type, stage, traits, income, life events, holdings and season; a product that was being considered
when the month began is acquired with a high probability, any other eligible one with a small share of that rate.
Forms and numbers are choices.
"""

from dataclasses import dataclass

import numpy as np

from recsys.synthetic.customers import People
from recsys.synthetic.months import START, month_of_year
from recsys.synthetic.preferences import (
    BASE,
    CLOSE,
    EVENT_BOOST,
    HELD_BOOST,
    INCOME_SLOPE,
    SEASON_BOOST,
    STAGE_BOOST,
    TRAIT_BOOST,
    TRAITS,
    TYPE_BOOST,
)
from recsys.synthetic.products import INDEX, MAX_AGE, TERM
from recsys.synthetic.state import MATURING, State, fits_limits
from recsys.synthetic.streams import Flags, Floats

ACQUIRE = 0.28
"""Monthly probability of acquiring a product that is being considered, at ordinary activity."""
DIRECT = 0.18
"""Share of the rate of considering at which a product is acquired at once."""
LAPSE = 0.20
"""Monthly probability that considering ends without acquiring."""
EVENT_MONTHS = 3
"""A life event moves preferences in so many months after the one in which it happened."""


@dataclass(frozen=True)
class Outlook:
    """Probabilities for one month, before any campaign; [N, P] and [N]."""

    score: Floats  # log of the rate of starting to consider, eligible or not
    rate: Floats  # rate of starting to consider, 0 where not eligible or held
    open_to: Flags  # may have the product and does not hold it
    acquire: Floats  # probability of acquiring, given that the customer stays
    close: Floats  # probability of closing a held product, given that the customer stays
    leave: Floats  # hazard of leaving the bank


def outlook(people: People, state: State) -> Outlook:
    """What the state at the start of the month implies for the month."""
    open_to = fits_limits(people, state, int(START[state.month])) & ~state.held & state.present[:, None]
    child_saver = INDEX["child_saver"]
    open_to[:, child_saver] &= state.traits[:, TRAITS.index("children")]
    score = log_rate(people, state)
    rate = np.exp(score) * open_to
    lively = np.exp(0.3 * state.activity)[:, None]
    considered = np.minimum(ACQUIRE * lively, 0.8)
    acquire = np.where(state.considering, considered, 1 - np.exp(-DIRECT * rate)) * open_to
    return Outlook(score, rate, open_to, acquire, _close(people, state), _leave(people, state))


def log_rate(people: People, state: State) -> Floats:
    """Log of the monthly rate of starting to consider each product, eligible or not, [N, P]."""
    recent = ((state.event_age >= 1) & (state.event_age <= EVENT_MONTHS)).astype(np.float64)
    score = BASE + SEASON_BOOST[month_of_year(state.month)] + TYPE_BOOST[people.type] + STAGE_BOOST[people.stage]
    score = score + people.taste + state.traits.astype(np.float64) @ TRAIT_BOOST + recent @ EVENT_BOOST
    score = score + state.held.astype(np.float64) @ HELD_BOOST
    score = score + INCOME_SLOPE * np.clip(np.log(state.income / 30_000), -2, 2)[:, None]
    return score + 0.25 * state.activity[:, None]


def _close(people: People, state: State) -> Floats:
    drop = np.clip(-state.activity, 0, 2)[:, None]
    chance = np.broadcast_to(CLOSE, state.held.shape) * np.exp(0.5 * drop)
    for p in MATURING:
        over = START[state.month + 1] - state.opened[:, p] > TERM[p] * 30.5
        chance[:, p] = np.where(over, 1.0, chance[:, p])
    student = INDEX["student_account"]
    old = (people.age(int(START[state.month])) > MAX_AGE[student] + 1) & state.held[:, INDEX["current_account"]]
    chance[:, student] = np.where(old, 0.25, chance[:, student])
    return np.minimum(chance, 1.0) * state.held


def _leave(people: People, state: State) -> Floats:
    """Discrete-time hazard, logistic in the drop of activity, holdings and tenure."""
    drop = np.clip(-state.activity, 0, 3)
    count = state.held.sum(axis=1)
    tenure = np.maximum(START[state.month] - people.joined, 0) / 365.25
    score = -5.5 + 1.85 * drop + 0.7 * (count <= 1) + 0.35 * (count == 2) - 0.3 * np.log1p(tenure)
    score = score - 0.5 * state.held[:, INDEX["mortgage"]]
    return state.present / (1 + np.exp(-score))


def starts_considering(rate: Floats, considering: Flags, uniform: Floats) -> Flags:
    """Which products start to be considered this month, [N, P]."""
    return ~considering & (uniform < 1 - np.exp(-rate))
