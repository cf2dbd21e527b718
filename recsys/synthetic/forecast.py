"""The true chance that a customer is still there months later, given all that is so on a day, seen or not.

The truth beside a lake has each month's hazard given the state at that month's start. Further ahead the state is not
known yet: the bank is lived on from the day many times over, by its own rules and with draws of its own, with nobody
leaving, and the chance of staying is the mean over these lives of Π (1 - hazard). So it has no noise of leaving in it.
"""

from collections.abc import Sequence
from copy import deepcopy
from datetime import date

import numpy as np
import polars as pl

from recsys.errors import ConfigError
from recsys.lake.buckets import bucket_of
from recsys.synthetic.customers import People, draw_people
from recsys.synthetic.ids import customer_ids
from recsys.synthetic.life import STREAMS, step
from recsys.synthetic.months import MONTH_STARTS, MONTHS, START
from recsys.synthetic.products import PRODUCTS
from recsys.synthetic.state import Journal, State, initial_state
from recsys.synthetic.streams import Draws, Floats, Streams


class _Staying(Draws):
    """Draws by which nobody leaves."""

    def __init__(self) -> None:
        super().__init__(np.random.Generator(np.random.PCG64(0)))

    def uniform(self, *shape: int) -> Floats:
        return np.ones(shape)


def true_survival(
    customers: int, seed: int, buckets: int, as_of: date, months: int, lives: int, only: Sequence[int] | None = None
) -> pl.DataFrame:
    """`customer_id` and `survival_1m` … of everyone who is a customer of the bank of this seed on `as_of`.

    `as_of` is the first of one of the bank's months; its state is that of `generate` with the same customers, seed and
    buckets. `lives` are lived from it: the standard error of a value is at most 0.5 / √lives, and in practice far less.
    `only` names buckets. Raises ConfigError for another day, or months beyond the bank's end.
    """
    if as_of not in MONTH_STARTS or MONTH_STARTS.index(as_of) + months > MONTHS or months < 1:
        raise ConfigError(
            f"as_of: {months} months from {as_of} must lie within {MONTH_STARTS[0]} and {MONTH_STARTS[-1]}"
        )
    ids = customer_ids(customers)
    place = bucket_of(ids, buckets)
    first = MONTH_STARTS.index(as_of)
    found = [
        _bucket(ids.filter(place == b), seed, b, first, months, lives)
        for b in (range(buckets) if only is None else only)
    ]
    return pl.concat(found)


def _bucket(ids: pl.Series, seed: int, bucket: int, first: int, months: int, lives: int) -> pl.DataFrame:
    streams = Streams(seed, bucket)
    people = draw_people(ids, streams, len(PRODUCTS))
    state = state_at(people, streams, first)
    stays = np.zeros((months, len(people)))
    for life in range(lives):
        ahead = deepcopy(state)
        draws = {name: streams.open(f"forecast.{first}.{life}.{name}") for name in STREAMS}
        draws["leave"] = _Staying()
        chance = np.ones(len(people))
        for month in range(months):
            ahead.month = first + month
            chance = chance * (1 - step(people, ahead, Journal(), draws).leave)
            stays[month] += chance
    here = np.flatnonzero(state.present)
    columns = {f"survival_{m + 1}m": stays[m, here] / lives for m in range(months)}
    return pl.DataFrame({"customer_id": people.ids.gather(pl.Series(here)), **columns})


def state_at(people: People, streams: Streams, month: int) -> State:
    """The state of the bank itself at the start of a month."""
    journal = Journal()
    state = initial_state(people, streams, journal)
    draws = {name: streams.open(f"life.{name}") for name in STREAMS}
    for before in range(month):
        state.month = before
        step(people, state, journal, draws)
        state.present |= (people.joined >= START[before]) & (people.joined < START[before + 1])
    state.month = month
    return state
