"""Contacts of the campaigns: what follows from each, and the tables `contacts` and `consents`."""

import numpy as np
import polars as pl

from recsys.synthetic.campaigns import CAMPAIGNS, COST
from recsys.synthetic.customers import People
from recsys.synthetic.ids import numbered
from recsys.synthetic.months import START, times
from recsys.synthetic.products import MARGIN
from recsys.synthetic.state import CONTACT_CHANNELS, Journal, Month, State
from recsys.synthetic.streams import Draws, Flags, Streams

_OPENED = np.array([0.30, 0.75, 0.45, np.nan, 0.40])
"""Share of messages opened, or calls answered; nobody knows whether a letter was opened."""
_CLICKED = np.array([0.16, 0.10, 0.14, np.nan, np.nan])
"""Share of opened messages that are clicked."""
_OPT_OUT = np.array([0.006, 0.010, 0.008, 0.003, 0.020])
"""Share of contacts after which consent is withdrawn, four times as many where contact is unwelcome."""


def make_contacts(state: State, month: Month, journal: Journal, draws: Draws) -> None:
    """Enter the month's contacts into state and journal, and let some customers withdraw their consent after one."""
    state.pressure *= 0.5
    for offer in month.offers:
        rows, product, channel = offer.customer, offer.campaign.product, offer.campaign.channel
        size, treated = len(rows), offer.arm > 0
        converted = ~month.leaving[rows] if product < 0 else month.acquired[rows, product]
        persuaded = np.zeros(size, dtype=bool)
        if product >= 0:
            persuaded = converted & treated & (month.uniform[rows, product] >= offer.chance[:, 0])
        journal.add(
            "contacts",
            customer=rows,
            campaign=np.full(size, offer.campaign.number),
            arm=offer.arm,
            propensity=offer.propensity[np.arange(size), offer.arm],
            day=START[state.month] + offer.day,
            converted=converted,
            persuaded=persuaded,
        )
        state.contacts += size
        state.pressure[rows] += treated
        chance = _OPT_OUT[channel] * np.where(offer.response < 0, 4.0, 1.0)
        out = treated & (draws.uniform(size) < chance)
        state.consents[rows[out], channel] = False
        day = START[state.month] + offer.day[out]
        granted = np.zeros(len(day), dtype=bool)
        journal.add("consents", customer=rows[out], channel=np.full(len(day), channel), granted=granted, day=day)


def contact_frame(people: People, journal: Journal, streams: Streams, bucket: int) -> pl.DataFrame:
    """The table `contacts` of one bucket, in order of entry.

    A propensity is the probability with which the row's arm was drawn, control or not. `converted` means: acquired the
    campaign's product before the campaign's end (for retention: stayed), in every arm. Opens and clicks are what the
    channel can see: null for letters, clicks null for calls, both null where nobody was contacted.
    """
    made = journal["contacts"]
    campaign, customer, n = made["campaign"], made["customer"], len(made["customer"])
    channel = np.array([c.channel for c in CAMPAIGNS])[campaign]
    product = np.array([c.product for c in CAMPAIGNS])[campaign]
    contacted = made["arm"] > 0
    draws = streams.open("contacts.outcome")
    online = 0.5 + people.digital[customer]
    opened = (draws.uniform(n) < np.nan_to_num(_OPENED[channel]) * online) | made["persuaded"]
    clicked = opened & ((draws.uniform(n) < np.nan_to_num(_CLICKED[channel]) * online) | made["persuaded"])
    arms = pl.Series([arm for c in CAMPAIGNS for arm in c.arms])
    first_arm = np.cumsum([0] + [len(c.arms) for c in CAMPAIGNS[:-1]])
    revenue = (MARGIN[product] * np.exp(0.4 * draws.normal(n))).astype(np.int64)
    hour = np.where(channel == CONTACT_CHANNELS.index("push"), 17.0, 9.0) + 3.0 * draws.uniform(n)
    ids = people.ids.gather(pl.Series(customer))
    return pl.DataFrame(
        {
            "contact_id": numbered("K", bucket, np.arange(n)),
            "customer_id": ids,
            "campaign_id": pl.Series([c.campaign_id for c in CAMPAIGNS]).gather(pl.Series(campaign)),
            "at": times(made["day"], hour * 3600),
            "channel": pl.Series(CONTACT_CHANNELS).gather(pl.Series(channel)),
            "arm": arms.gather(pl.Series(first_arm[campaign] + made["arm"])),
            "contacted": contacted,
            "propensity": made["propensity"],
            "cost": np.where(contacted, COST[channel], 0),
            "opened": _where(opened, contacted & ~np.isnan(_OPENED[channel])),
            "clicked": _where(clicked, contacted & ~np.isnan(_CLICKED[channel])),
            "converted": made["converted"],
            "revenue": pl.Series(revenue).set(pl.Series(~made["converted"] | (product < 0)), None),
        }
    )


def consent_frame(people: People, journal: Journal) -> pl.DataFrame:
    """The table `consents`: what was said on joining for each channel, and every withdrawal."""
    said = journal["consents"]
    return pl.DataFrame(
        {
            "customer_id": people.ids.gather(pl.Series(said["customer"])),
            "purpose": pl.repeat("marketing", len(said["customer"]), eager=True),
            "channel": pl.Series(CONTACT_CHANNELS).gather(pl.Series(said["channel"])),
            "granted": said["granted"],
            "at": times(said["day"], np.where(said["granted"], 10 * 3600, 20 * 3600)),
        }
    )


def _where(values: Flags, known: Flags) -> pl.Series:
    return pl.Series(values).set(pl.Series(~known), None)
