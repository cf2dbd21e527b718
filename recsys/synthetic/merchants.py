"""Merchant categories: who spends on what and when, and what it costs (all choices)."""

import numpy as np

from recsys.synthetic.customers import People
from recsys.synthetic.months import LENGTH, MONTHS, START, weekday
from recsys.synthetic.preferences import EVENTS, TRAITS
from recsys.synthetic.streams import Floats, Ints, Streams

CHANNELS = ("online", "contactless", "chip", "atm", "transfer", "direct_debit")

# Share of payments by type; log of the usual price in pounds and its spread; share online; day class.
_TABLE = """
category              |  sav  dig  fam  inv  bor  tra | price spread online | days
groceries             |   26   15   26   16   17   27 |   3.3     .7    .15 | weekend
restaurants           |    6   14    7   13   11    6 |   3.0     .6    .05 | weekend
fuel                  |    6    4    8    6    7    7 |   3.7     .4    0   | any
transport             |    6   10    4    6    5    5 |   2.2     .6    .30 | weekday
travel                |    4    6    4   10    3    4 |   4.9     .9    .70 | any
fashion               |    5    8    7    8   10    5 |   3.5     .7    .50 | weekend
electronics           |    3    7    4    6    6    2 |   4.2     .9    .65 | any
home_garden           |    7    3    7    6    4    8 |   3.8     .8    .30 | weekend
health                |    6    3    5    6    3    8 |   3.0     .7    .20 | weekday
children              |    1    1    5    1    2    1 |   3.2     .7    .35 | any
entertainment         |    4    9    6    7    8    4 |   3.0     .6    .55 | weekend
subscriptions         |    4   12    6    6    7    2 |   2.3     .4    .95 | any
motoring              |    3    2    4    3    4    4 |   4.6     .9    .10 | weekday
professional_services |    2    1    2    4    1    2 |   5.0     .9    .30 | weekday
pets                  |    1    1    2    1    1    1 |   3.3     .6    .30 | any
charity               |    4    1    2    4    1    5 |   2.7     .7    .50 | any
gambling              |    1    2    1    1    6    2 |   2.8     .9    .85 | weekend
cash                  |   11    4    5    4    9   16 |   4.0     .6    0   | any
"""

_TRAIT_LIFT = {
    "car": {"fuel": 1.2, "motoring": 0.9, "transport": -0.5},
    "pet": {"pets": 2.2},
    "children": {"children": 1.9, "groceries": 0.15},
    "homeowner": {"home_garden": 0.5},
    "traveller": {"travel": 1.1},
}
_TRAIT_FLOOR = {"car": {"fuel": -1.6, "motoring": -1.0}, "pet": {"pets": -1.2}, "children": {"children": -0.9}}
_EVENT_LIFT = {
    "move": {"home_garden": 1.2, "professional_services": 2.2},
    "baby": {"children": 2.0, "health": 0.7},
    "raise": {"electronics": 0.5, "fashion": 0.4},
    "retire": {"travel": 0.5, "home_garden": 0.4},
    "vehicle": {"motoring": 2.2, "fuel": 0.4},
    "trip": {"travel": 1.8},
}
_SEASON = {
    "fashion": {11: 0.3, 12: 0.5},
    "electronics": {11: 0.5, 12: 0.6},
    "restaurants": {7: 0.15, 12: 0.3},
    "travel": {1: 0.3, 6: 0.4, 7: 0.6, 8: 0.5},
    "home_garden": {4: 0.4, 5: 0.5},
    "children": {9: 0.3, 12: 0.5},
    "charity": {12: 0.5},
}
EVENT_MONTHS = 3
"""A life event lifts its categories in its own month and the next two."""

_lines = [[cell.split() for cell in line.split("|")] for line in _TABLE.strip().splitlines()[1:]]
CATEGORIES = tuple(line[0][0] for line in _lines)
_MIX = np.array([[float(value) for value in line[1]] for line in _lines]).T
PRICE, PRICE_SPREAD, ONLINE = np.array([[float(value) for value in line[2]] for line in _lines]).T
DAY_CLASS = np.array([("any", "weekday", "weekend").index(line[3][0]) for line in _lines])
HOUSEHOLD = np.isin(CATEGORIES, ("groceries", "home_garden", "children", "pets", "restaurants", "motoring"))


def _lifts(names: tuple[str, ...], table: dict[str, dict[str, float]]) -> Floats:
    lifts = np.zeros((len(names), len(CATEGORIES)))
    for name, categories in table.items():
        for category, value in categories.items():
            lifts[names.index(name), CATEGORIES.index(category)] = value
    return lifts


_SEASONS = _lifts(tuple(str(month) for month in range(1, 13)), {
    str(month): {category: months[month] for category, months in _SEASON.items() if month in months}
    for month in range(1, 13)
})  # fmt: skip


def category_weights(people: People, event_age: Ints, month: Ints, customer: Ints, streams: Streams) -> Floats:
    """[cells, categories]: weights of the categories for each given month and customer.

    A customer's own mix is log-normal about that of the type, moved by traits; life events and season move the month.
    """
    own = 0.55 * streams.open("merchants.mix").normal(len(people), len(CATEGORIES))
    traits = people.traits.astype(np.float64)
    mix = np.log(_MIX[people.type]) + own + traits @ _lifts(TRAITS, _TRAIT_LIFT)
    mix = mix + (1 - traits) @ _lifts(TRAITS, _TRAIT_FLOOR)
    recent = (event_age[month, customer] < EVENT_MONTHS).astype(np.float64)
    lift = recent @ _lifts(EVENTS, _EVENT_LIFT)
    return np.exp(mix[customer] + lift + _SEASONS[month % 12])


def day_weights(paydays: tuple[int, ...]) -> Floats:
    """[MONTHS * paydays * 3, 31]: weights of the days of a month, by payday and day class (any, weekday, weekend).

    Half as much again in the five days after the payday; weekend and weekday merchants differ by up to a factor 2.
    """
    days = np.arange(31)
    calendar = weekday(START[:MONTHS, None] + days)
    weekend = (calendar >= 5)[:, None, None, :]
    factor = np.array([[1.0, 1.1], [1.0, 0.45], [1.0, 1.9]])
    by_class = np.where(weekend, factor[:, 1][None, None, :, None], factor[:, 0][None, None, :, None])
    paid = np.minimum(np.array(paydays)[None, :], LENGTH[:, None]) - 1
    since = (days - paid[:, :, None]) % LENGTH[:, None, None]
    flush = np.where(since < 5, 1.5, 1.0)[:, :, None, :]
    real = (days < LENGTH[:, None])[:, None, None, :]
    return (by_class * flush * real).reshape(-1, 31)
