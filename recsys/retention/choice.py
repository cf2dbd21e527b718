"""Which action for which customer within a budget: the most expected gain for each unit of money, and how near to best.

A multiple-choice knapsack. Each customer's actions are taken up in order of gain for cost, dominated ones never; the
order over all customers is the optimum of its linear relaxation (Sinha and Zoltners, Operations Research 1979), which
also bounds what any list could gain.
"""

from dataclasses import dataclass

import numpy as np

NONE = -1
"""No action."""


@dataclass(frozen=True)
class Choice:
    """What is done with each customer."""

    action: np.ndarray
    """int64 [N]: the column of the action, `NONE` for nothing. Of held-out customers, what would have been done."""
    randomised: np.ndarray
    """bool [N]: on the list by the order that is the same in both arms; false for those who only fill up the budget."""
    spent: float
    """Expected cost of those who are not held out."""
    gain: float
    """Their expected gain, costs taken off."""
    bound: float
    """No list within the budget gains more from them."""


def choose(gain: np.ndarray, cost: np.ndarray, allowed: np.ndarray, budget: float, held_out: np.ndarray) -> Choice:
    """Choose from expected gains [N, K], costs taken off, of actions with these costs [K], where allowed [N, K].

    Customers who are held out [N] take no budget and are listed up to the same gain for cost as the others, so both
    arms are alike. Only actions with a gain are ever chosen. A budget of 0 chooses nothing, not even what is free.
    """
    count = len(gain)
    action, randomised = np.full(count, NONE, dtype=np.int64), np.zeros(count, dtype=bool)
    if budget <= 0 or not count:
        return Choice(action, randomised, 0.0, 0.0, 0.0)
    who, what, ratio, more, dearer = _increments(gain, cost, allowed)
    paid = np.where(held_out[who], 0.0, dearer)
    total = np.cumsum(paid)
    until = int(np.searchsorted(total, budget * (1 + 1e-12), side="right"))
    for place in range(until):
        action[who[place]] = what[place]
    randomised[who[:until]] = True
    spent = float(total[until - 1]) if until else 0.0
    found = float(np.where(held_out[who[:until]], 0.0, more[:until]).sum())
    bound = found + ((budget - spent) * float(ratio[until]) if until < len(who) else 0.0)
    left = budget - spent
    broken: set[int] = set()
    cheapest = float(cost[cost > 0].min()) if (cost > 0).any() else 0.0
    for place in range(until, len(who)):  # what still fits behind the first that does not
        if left < min(cheapest, 1e-9):
            break
        customer = int(who[place])
        if held_out[customer] or customer in broken:
            continue
        if dearer[place] > left:
            broken.add(customer)
            continue
        randomised[customer] &= action[customer] != NONE
        action[customer] = what[place]
        left -= dearer[place]
        found += float(more[place])
    return Choice(action, randomised, budget - left, found, max(bound, found))


def _increments(
    gain: np.ndarray, cost: np.ndarray, allowed: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Steps from an action (or none) to a dearer one on each customer's upper hull, the best gain for cost first.

    Customer, action, gain for cost, further gain and further cost of each step; of equal ones the first customer's.
    """
    count = len(gain)
    price = np.broadcast_to(cost.astype(np.float64), gain.shape)
    at_gain, at_cost = np.zeros(count), np.full(count, -1.0)
    steps = []
    for _ in range(gain.shape[1]):
        paid = np.maximum(at_cost, 0.0)
        better = allowed & (gain > at_gain[:, None]) & (price > at_cost[:, None])
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(better, (gain - at_gain[:, None]) / (price - paid[:, None]), -np.inf)
        best = ratio.argmax(axis=1)
        rows = np.flatnonzero(better.any(axis=1))
        if not len(rows):
            break
        chosen = best[rows]
        more, dearer = gain[rows, chosen] - at_gain[rows], price[rows, chosen] - paid[rows]
        steps.append((rows, chosen, ratio[rows, chosen], more, dearer))
        at_gain[rows], at_cost[rows] = gain[rows, chosen], price[rows, chosen]
    if not steps:
        empty = np.zeros(0)
        return empty.astype(np.int64), empty.astype(np.int64), empty, empty, empty
    who, what, ratio, more, dearer = (np.concatenate(column) for column in zip(*steps, strict=True))
    order = np.lexsort((who, -ratio))
    return who[order], what[order], ratio[order], more[order], dearer[order]
