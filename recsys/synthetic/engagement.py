"""Interactions of one bucket: products acquired and closed, looks, clicks, logins, social media."""

import numpy as np
import polars as pl

from recsys.synthetic.campaigns import CAMPAIGNS
from recsys.synthetic.customers import CHANNELS, People
from recsys.synthetic.ids import numbered
from recsys.synthetic.life import Life
from recsys.synthetic.months import LENGTH, START, times
from recsys.synthetic.preferences import TYPE_BOOST
from recsys.synthetic.products import PRODUCT_IDS
from recsys.synthetic.streams import Draws, Floats, Ints, Streams

LOGINS = 1.15
"""Logins a month of a customer of ordinary liveliness and digital share; a choice."""
SOCIAL = 0.35
"""Social media events a month of a customer who follows the bank there; a choice."""

_NETWORKS = ("facebook", "instagram", "youtube", "linkedin")
_NETWORK_SHARE = np.array(
    [
        [0.45, 0.15, 0.25, 0.15],
        [0.15, 0.45, 0.30, 0.10],
        [0.45, 0.30, 0.15, 0.10],
        [0.15, 0.15, 0.25, 0.45],
        [0.35, 0.35, 0.25, 0.05],
        [0.60, 0.05, 0.25, 0.10],
    ]
)
_FOLLOWS = np.array([0.15, 0.50, 0.35, 0.25, 0.40, 0.10])


def interaction_frame(
    people: People, life: Life, contacts: pl.DataFrame, streams: Streams, bucket: int
) -> pl.DataFrame:
    """The table `interactions`, ordered by customer and time."""
    frames = [
        _holdings(people, life, streams, bucket),
        _looks(people, life, streams, bucket),
        _campaign_clicks(life, contacts, bucket),
        _logins(people, life, streams, bucket),
        _social(people, life, streams, bucket),
    ]
    return pl.concat(frames).sort("customer", "at", maintain_order=True).drop("customer")


def _holdings(people: People, life: Life, streams: Streams, bucket: int) -> pl.DataFrame:
    """Products acquired and closed, in opening hours at a counter and until late elsewhere."""
    frames = []
    for kind, letter in (("acquired", "A"), ("closed", "C")):
        rows, draws = life.journal[kind], streams.open(f"engagement.{kind}")
        channel = draws.pick(people.channels, rows["customer"])
        hour = _hours(channel, draws)
        id_ = numbered(letter, bucket, np.arange(len(hour)))
        frames.append(_frame(people, rows["customer"], rows["product"], kind, rows["day"], hour, channel, id_))
    return pl.concat(frames)


def _looks(people: People, life: Life, streams: Streams, bucket: int) -> pl.DataFrame:
    """Looks at products: views in app and web, enquiries at a counter or on the phone; some views are clicked."""
    rows, draws = life.journal["views"], streams.open("engagement.views")
    customer, product, day = rows["customer"], rows["product"], rows["day"]
    channel = draws.pick(people.channels, customer)
    hour = _hours(channel, draws)
    online = channel < 2
    clicked = online & (draws.uniform(len(day)) < np.where(rows["keen"], 0.45, 0.12))
    delay = 20 + 280 * draws.uniform(len(day))
    kept = day < life.left[customer]
    ids = numbered("V", bucket, np.arange(len(day)))
    looks = _frame(people, customer, product, "viewed", day, hour, channel, ids).with_columns(
        kind=pl.when(pl.Series(online)).then(pl.lit("viewed")).otherwise(pl.lit("enquired"))
    )
    ids = numbered("L", bucket, np.arange(len(day)))
    clicks = _frame(people, customer, product, "clicked", day, hour + delay / 3600, channel, ids)
    return pl.concat([looks.filter(pl.Series(kept)), clicks.filter(pl.Series(kept & clicked))])


def _campaign_clicks(life: Life, contacts: pl.DataFrame, bucket: int) -> pl.DataFrame:
    """Clicks on campaign messages, an hour or so after the contact."""
    products = {c.campaign_id: None if c.product < 0 else PRODUCT_IDS[c.product] for c in CAMPAIGNS}
    clicks = contacts.with_columns(customer=pl.Series(life.journal["contacts"]["customer"])).filter(pl.col("clicked"))
    return clicks.select(
        "customer",
        "customer_id",
        pl.col("campaign_id").replace_strict(products, return_dtype=pl.String).alias("product_id"),
        pl.lit("clicked").alias("kind"),
        pl.col("at") + pl.duration(minutes=50),
        "channel",
        numbered("M", bucket, np.arange(clicks.height)).alias("event_id"),
    )


def _logins(people: People, life: Life, streams: Streams, bucket: int) -> pl.DataFrame:
    """Logins: Poisson with the activity of the month; app and web in the customer's proportion."""
    traces, draws = life.traces, streams.open("engagement.logins")
    rate = LOGINS * (0.25 + 1.5 * people.digital) * people.liveliness * np.exp(np.clip(traces.activity, -3, 1))
    month, customer = _events(draws.poisson(rate * traces.present))
    day = START[month] + (draws.uniform(len(month)) * LENGTH[month]).astype(np.int64)
    channel = draws.pick(people.channels[:, :2], customer)
    hour = _hours(channel, draws)
    rows = np.flatnonzero((day > people.joined[customer]) & (day < life.left[customer]))
    ids = numbered("G", bucket, rows)
    nothing = np.full(len(rows), len(PRODUCT_IDS))
    return _frame(people, customer[rows], nothing, "login", day[rows], hour[rows], channel[rows], ids)


def _social(people: People, life: Life, streams: Streams, bucket: int) -> pl.DataFrame:
    """Social media: followers only; two in five events are about a product that suits the type, the rest about none."""
    traces, draws = life.traces, streams.open("engagement.social")
    follows = draws.uniform(len(people)) < _FOLLOWS[people.type] * (0.4 + 1.2 * people.digital)
    rate = SOCIAL * follows * people.liveliness * np.exp(np.clip(traces.activity, -3, 1))
    month, customer = _events(draws.poisson(rate * traces.present))
    day = START[month] + (draws.uniform(len(month)) * LENGTH[month]).astype(np.int64)
    network = draws.pick(_NETWORK_SHARE, people.type[customer])
    product = draws.pick(np.exp(0.6 * TYPE_BOOST), people.type[customer])
    product = np.where(draws.uniform(len(day)) < 0.4, product, len(PRODUCT_IDS))
    hour = 8.0 + 14.0 * draws.uniform(len(day))
    rows = np.flatnonzero((day > people.joined[customer]) & (day < life.left[customer]))
    ids = numbered("S", bucket, rows)
    frame = _frame(people, customer[rows], product[rows], "social", day[rows], hour[rows], network[rows], ids)
    return frame.with_columns(pl.Series(_NETWORKS).gather(pl.Series(network[rows])).alias("channel"))


def _events(counts: Ints) -> tuple[Ints, Ints]:
    """Month and customer of every event of [MONTHS, N] counts."""
    month, customer = np.nonzero(counts)
    times_ = counts[month, customer]
    return np.repeat(month, times_), np.repeat(customer, times_)


def _hours(channel: Ints, draws: Draws) -> Floats:
    """Hour of the day: nine to five at a counter or on the phone, seven to eleven at night online."""
    uniform = draws.uniform(len(channel))
    return np.where(channel < 2, 7.0 + 16.0 * uniform, 9.0 + 8.0 * uniform)


def _frame(
    people: People,
    customer: Ints,
    product: Ints,
    kind: str,
    day: Ints,
    hour: Floats,
    channel: Ints,
    event_id: pl.Series,
) -> pl.DataFrame:
    products, channels = pl.Series([*PRODUCT_IDS, None], dtype=pl.String), pl.Series(CHANNELS)
    return pl.DataFrame(
        {
            "customer": customer,
            "customer_id": people.ids.gather(pl.Series(customer)),
            "product_id": products.gather(pl.Series(product)),
            "kind": pl.repeat(kind, len(customer), eager=True),
            "at": times(day, hour * 3600),
            "channel": channels.gather(pl.Series(channel % len(CHANNELS))),
            "event_id": event_id,
        }
    )
