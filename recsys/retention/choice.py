"""Which action for which customer within a budget and channels' capacities: the allocation of one action each.

The customers who are not held out share the limits; those who are held out are decided at the same prices, so both
arms of the list are alike (`recsys.campaigns.allocation`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.campaigns.allocation import Actions, Limits, Part, Problem, choose, solve

NONE = -1
"""No action."""
GAP = 1e-6
"""How near to the bound is near enough."""


@dataclass(frozen=True)
class Choice:
    """What is done with each customer."""

    action: np.ndarray
    """int64 [N]: the column of the action, `NONE` for nothing. Of held-out customers, what would have been done."""
    randomised: np.ndarray
    """bool [N]: on the list by the prices that are the same in both arms; false for those who only fill it up."""
    spent: float
    """Expected cost of those who are not held out."""
    gain: float
    """Their expected gain, costs taken off."""
    bound: float
    """No list within the limits gains more from them."""


@dataclass(frozen=True)
class Capacity:
    """The most contacts by some of the actions."""

    name: str
    actions: np.ndarray
    """bool [K]."""
    most: float


def within(
    gain: np.ndarray,
    cost: np.ndarray,
    allowed: np.ndarray,
    budget: float,
    held_out: np.ndarray,
    capacities: Sequence[Capacity] = (),
) -> Choice:
    """Choose from expected gains [N, K], costs taken off, of actions with these costs [K], where allowed [N, K].

    Customers who are held out [N] take nothing of budget and capacities and are listed up to the same prices as the
    others. Only actions with a gain are ever chosen. A budget of 0 chooses nothing, not even what is free.
    """
    count = len(gain)
    action, randomised = np.full(count, NONE, dtype=np.int64), np.zeros(count, dtype=bool)
    if budget <= 0 or not count:
        return Choice(action, randomised, 0.0, 0.0, 0.0)
    kinds = np.arange(len(cost))
    actions = Actions(np.zeros(len(cost), dtype=np.int64), kinds)
    limits = Limits(
        ("budget", *(capacity.name for capacity in capacities)),
        np.array([cost, *(capacity.actions for capacity in capacities)], dtype=np.float64),
        np.array([budget, *(capacity.most for capacity in capacities)], dtype=np.float64),
    )
    values = _values(gain, allowed)
    here = np.flatnonzero(~held_out)
    found = solve(Problem(actions, limits, [Part(np.ascontiguousarray(values[:, here]))]), gap=GAP)
    prices = limits.prices(found.dual, 1)
    action[:] = choose(Part(values), actions, prices)[0]
    by_price = action != NONE
    action[here] = found.chosen[0][0]
    randomised[:] = by_price & (action != NONE)
    listed = here[action[here] != NONE]
    spent, gained = float(cost[action[listed]].sum()), float(gain[listed, action[listed]].sum())
    return Choice(action, randomised, spent, gained, max(found.bound, gained))


def _values(gain: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """float32 [K, N]: the gains, rounded up so that the bound stays one; -inf where not allowed or without a gain."""
    rounded = gain.astype(np.float32)
    rounded = np.where(rounded < gain, np.nextafter(rounded, np.float32(np.inf)), rounded)
    return np.ascontiguousarray(np.where(allowed & (gain > 0), rounded, np.float32(-np.inf)).T)
