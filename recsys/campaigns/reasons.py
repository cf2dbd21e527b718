"""Why a customer is contacted or not, in words with the figures that decided."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.campaigns.allocation import Part, Prices
from recsys.campaigns.allocation.problem import price_row
from recsys.campaigns.offers import Offers

CONSENT, RESTING, CAPPED, NOTHING, LEFT, LATER, RULED = 1, 2, 3, 4, 5, 6, 7
"""Why no action at all is allowed: no consent, contacted too recently, contacts used up, no product is left, the
customer has left, or joins on the day or later, and rules remove all that is left."""
STANDING = {"customer": 0, "left": LEFT, "joins_later": LATER}
"""The standing of a customer (`recsys.churn.standing`) → why they may not be contacted, 0 where they may."""


@dataclass(frozen=True)
class Charged:
    """The best single action of each customer, and of the actions asked for."""

    gain: np.ndarray
    """float64 [n]: expected gain, minor units."""
    price: np.ndarray
    """float64 [n]: of what it takes of the limits."""


def charged(part: Part, prices: Prices, action: np.ndarray) -> Charged:
    """Gain and price of an action of each customer, int64 [n]."""
    place = np.arange(len(part))
    row = _price_row(part, prices)
    paid = prices.contact[row, action]
    if part.costs is not None:
        paid = paid + prices.money[row, action] * part.costs[action, place]
    return Charged(part.values[action, place].astype(np.float64), paid)


def best_single(part: Part, prices: Prices) -> np.ndarray:
    """int64 [n]: the action that is worth most at the prices, whether or not that is more than nothing."""
    row = _price_row(part, prices)
    paid = prices.contact[row].T
    if part.costs is not None:
        paid = paid + prices.money[row].T * part.costs
    return np.asarray((part.values - paid).argmax(axis=0))


def _price_row(part: Part, prices: Prices) -> np.ndarray:
    """intp [n]: the row of prices of each customer."""
    return np.zeros(len(part), dtype=np.intp) if part.group is None else price_row(part.group, len(prices.contact))


class Words:
    """Reasons in the plan's words; `unit` minor units make one of the amounts that are shown."""

    def __init__(self, offers: Offers, unit: float) -> None:
        self.unit = unit
        table = offers.table
        self.of = [
            f"{channel} about {product}" for channel, product in table.select("channel", "product_id").iter_rows()
        ]
        consented = [c.channel for c in offers.plan.channels if c.consent]
        self.blocked = {
            CONSENT: f"no consent for {' or '.join(consented)}",
            RESTING: "contacted too recently: the channels that are allowed rest",
            CAPPED: "the contacts allowed in the window are used up",
            NOTHING: "no product of the plan may be offered: held already, or not eligible",
            LEFT: "has left: no customer any more",
            LATER: "not a customer yet",
        }

    def contacted(self, gain: float, price: float, by_price: bool) -> str:
        """Of a contact of the plan."""
        said = f"expected gain {gain / self.unit:,.2f} exceeds the price {price / self.unit:,.2f} of what it takes"
        if by_price:
            return said
        return f"takes what the limits had left: expected gain {gain / self.unit:,.2f}"

    def not_contacted(self, blocked: int, action: int, gain: float, price: float, rules: Sequence[str] = ()) -> str:
        """Of nobody's contact that the plan decided; `rules` are those that removed what else had been allowed."""
        if blocked == RULED:
            return f"ruled out: {', '.join(rules)}"
        if blocked:
            return self.blocked[blocked]
        what = self.of[action]
        if gain <= 0:
            return f"no contact gains more than it costs: the best, {what}, {gain / self.unit:,.2f}"
        if gain <= price:
            return f"price of {what} {price / self.unit:,.2f} exceeds the expected gain {gain / self.unit:,.2f}"
        return f"left out so that every limit holds to the last unit: {what} gains {gain / self.unit:,.2f}"
