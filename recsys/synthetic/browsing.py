"""Looking at products, month by month: views and enquiries while considering one, and now and then at any."""

import numpy as np

from recsys.synthetic.customers import People
from recsys.synthetic.months import LENGTH, START
from recsys.synthetic.state import Journal, Month, State
from recsys.synthetic.streams import Draws

CONSIDERED = 1.3
"""Looks a month at a product that is being considered, at ordinary activity; a choice, as are the next two."""
STARTED = 0.9
"""Looks in the month in which considering starts."""
BROWSED = 0.30
"""Looks a month at all products together without considering any."""


def look_at_products(people: People, state: State, month: Month, journal: Journal, draws: Draws) -> None:
    """Enter the month's looks into the journal: Poisson counts, more when lively, none after acquiring the product."""
    lively = np.exp(0.3 * state.activity) * (0.7 + 0.6 * people.digital) * state.present
    browsing = np.sqrt(month.rate + 1e-4)
    browsing = BROWSED * browsing / browsing.sum(axis=1, keepdims=True) * people.liveliness[:, None]
    rate = (CONSIDERED * state.considering + STARTED * month.started + browsing) * lively[:, None]
    counts = draws.poisson(rate)
    customer, product = np.nonzero(counts)
    times = counts[customer, product]
    customer, product = np.repeat(customer, times), np.repeat(product, times)
    day = START[state.month] + (draws.uniform(len(customer)) * LENGTH[state.month]).astype(np.int64)
    seen = ~month.acquired[customer, product] | (day < month.day[customer, product])
    customer, product, day = customer[seen], product[seen], day[seen]
    keen = (state.considering | month.started)[customer, product]
    journal.add("views", customer=customer, product=product, day=day, keen=keen)
    state.views = np.zeros_like(state.views)
    np.add.at(state.views, (customer, product), 1)
