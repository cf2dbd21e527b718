"""The true effect of contacting anybody about any product, by any channel, at any level, in a month of the bank.

A month's campaigns draw a few customers each, and the truth beside a lake has their effects alone. Who plans contacts
wants to know all of them: what each customer would do in the month with and without this one contact, given the state
at its start and no campaign of the bank's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from recsys.errors import ConfigError
from recsys.lake.buckets import bucket_of
from recsys.synthetic.campaigns import CAMPAIGNS, contact_chances
from recsys.synthetic.customers import draw_people
from recsys.synthetic.forecast import state_at
from recsys.synthetic.hazards import outlook
from recsys.synthetic.ids import customer_ids
from recsys.synthetic.months import MONTH_STARTS, MONTHS
from recsys.synthetic.products import INDEX, PRODUCTS
from recsys.synthetic.state import CONTACT_CHANNELS
from recsys.synthetic.streams import Streams

LEVELS = {arm: strength for one in CAMPAIGNS for arm, strength in zip(one.arms[1:], one.strength[1:], strict=True)}
"""Level of personalisation → how strongly it works: the arms of the bank's own campaigns."""


@dataclass(frozen=True)
class TrueEffects:
    """N customers of the bank and A contacts."""

    customers: pl.Series
    baseline: np.ndarray
    """float64 [N, A] probability of acquiring the product in the month without contact."""
    effect: np.ndarray
    """float64 [N, A] what the contact adds to it, negative where it harms."""
    reachable: np.ndarray
    """bool [N, A] may have the product, has consented to the channel and was not contacted too often lately."""


def true_effects(
    customers: int, seed: int, buckets: int, month: date, actions: pl.DataFrame, only: Sequence[int] | None = None
) -> TrueEffects:
    """The truth about `actions` (product_id, channel, level) for everyone who is a customer on the first of a month.

    The state is that of `generate` with the same customers, seed and buckets; `only` names buckets. Raises ConfigError
    for another day, or a product, channel or level that the bank does not have.
    """
    if month not in MONTH_STARTS[:MONTHS]:
        raise ConfigError(f"month: {month} must be the first of a month from {MONTH_STARTS[0]} to {MONTH_STARTS[-2]}")
    asked = [_known(*row) for row in actions.select("product_id", "channel", "level").iter_rows()]
    ids = customer_ids(customers)
    place = bucket_of(ids, buckets)
    chosen = range(buckets) if only is None else only
    found = [_bucket(ids.filter(place == b), seed, b, MONTH_STARTS.index(month), asked) for b in chosen]
    return TrueEffects(
        pl.concat([one.customers for one in found]),
        *(np.concatenate([getattr(one, name) for one in found]) for name in ("baseline", "effect", "reachable")),
    )


def _known(product: str, channel: str, level: str) -> tuple[int, int, float]:
    """Product, channel and strength of an action."""
    named = {"product_id": (product, INDEX), "channel": (channel, CONTACT_CHANNELS), "level": (level, LEVELS)}
    for name, (value, values) in named.items():
        if value not in values:
            raise ConfigError(f"actions.{name}: the bank has no {value!r}; it has {', '.join(values)}")
    return INDEX[product], CONTACT_CHANNELS.index(channel), LEVELS[level]


def _bucket(ids: pl.Series, seed: int, bucket: int, month: int, asked: Sequence[tuple[int, int, float]]) -> TrueEffects:
    streams = Streams(seed, bucket)
    people = draw_people(ids, streams, len(PRODUCTS))
    state = state_at(people, streams, month)
    look = outlook(people, state)
    here = np.flatnonzero(state.present)
    baseline, effect = (np.empty((len(here), len(asked))) for _ in range(2))
    reachable = np.empty((len(here), len(asked)), dtype=bool)
    for column, (product, channel, strength) in enumerate(asked):
        qualifies, chance = contact_chances(product, channel, people, state, look, strength)
        baseline[:, column], effect[:, column] = chance[here, 0], chance[here, 1] - chance[here, 0]
        reachable[:, column] = qualifies[here]
    return TrueEffects(people.ids.gather(pl.Series(here)), baseline, effect, reachable)
