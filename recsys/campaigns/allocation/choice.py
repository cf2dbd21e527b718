"""What is done with each customer at given prices: the one function by which a plan and a single answer are decided.

A customer takes the set of actions whose values, prices taken off, sum to most. With one action that is the best one
if it is worth more than nothing; with several it is a matching of channels and products (`matching.py`).
"""

from dataclasses import dataclass

import numpy as np

from recsys.campaigns.allocation.matching import FLOAT32_BITS, best_of_few, best_of_one, best_sets, sides_of
from recsys.campaigns.allocation.problem import Actions, Part, Prices, price_row

NONE = -1
"""No action."""
CHUNK = 16384
"""Customers at a time: what is worked on stays in the processor's cache."""
FEW = 32
"""Customers whose actions are all looked at in one call, which for more would not stay there."""


def choose(part: Part, actions: Actions, prices: Prices, most: int = 1) -> np.ndarray:
    """int16 [most, n]: the actions of each customer, then `NONE` where there are fewer.

    Computed in float64, element by element, so that a customer's answer does not depend on who else is asked. Ties go
    to the first channel, then to the first action; an action must be worth more than nothing.
    """
    count = len(part)
    found = np.empty((most, count), dtype=np.int16)
    for start in range(0, count, CHUNK):
        rows = slice(start, min(count, start + CHUNK))
        found[:, rows] = best_actions(part, rows, actions, prices, most, np.float64).codes.astype(np.int16) - 1
    return found


@dataclass(frozen=True)
class Best:
    """The best set of actions of some customers."""

    codes: np.ndarray
    """uint16 [L, n]: actions from 1, 0 for none."""
    worth: np.ndarray
    """float [n]: what the set is worth, prices taken off."""


def best_actions(part: Part, rows: slice, actions: Actions, prices: Prices, most: int, dtype: type) -> Best:
    """The best sets of the customers in `rows`, computed in float32 or float64.

    In float32 the worth of several actions is off by some 1e-5 of it, since its last bits say which actions they are.
    """
    if most == 1:
        codes, worth = _Worths(part, rows, prices, dtype).best(len(actions))
        if part.most is not None:
            none = np.asarray(part.most[rows]) < 1
            codes[none], worth[none] = 0, 0
        return Best(codes[None], worth)
    sides = sides_of(actions.channel, actions.product)
    if sides.bits > FLOAT32_BITS:
        dtype = np.float64
    worths = _Worths(part, rows, prices, dtype)
    left = np.full(worths.count, most) if part.most is None else np.asarray(part.most[rows])
    if worths.count <= FEW:
        worth = worths.all()
        alone = best_of_one(worth, sides, int(left[0]), most) if worths.count == 1 and dtype is np.float64 else None
        return Best(*(alone or best_of_few(worth, sides, left, most)))
    return Best(*best_sets(worths.of, sides, left, most, dtype))


class _Worths:
    """Values of actions with some customers, prices taken off, one action at a time."""

    def __init__(self, part: Part, rows: slice, prices: Prices, dtype: type) -> None:
        self.values = part.values[:, rows]
        self.costs = None if part.costs is None or not prices.money.any() else part.costs[:, rows]
        self.count = self.values.shape[1]
        self.dtype = dtype
        self.prices = prices
        self.group = None
        if part.group is not None and len(prices.contact) > 1:
            self.group = price_row(np.asarray(part.group[rows]), len(prices.contact))
        self._room: tuple[np.ndarray, ...] | None = None

    def of(self, action: int) -> np.ndarray:
        """[n], overwritten by the next call."""
        if self._room is None:
            self._room = np.empty(self.count, self.dtype), np.empty(self.count, self.dtype)
        worth, extra = self._room
        np.copyto(worth, self.values[action])  # a copy and then a sum in place are faster than a sum that casts
        np.subtract(worth, self._charge(self.prices.contact, action), out=worth)
        if self.costs is not None and self.prices.money[:, action].any():
            np.copyto(extra, self.costs[action])
            np.multiply(extra, self._charge(self.prices.money, action), out=extra)
            np.subtract(worth, extra, out=worth)
        return worth

    def _charge(self, table: np.ndarray, action: int) -> np.ndarray:
        """A number for all, or one for each customer where groups pay differently."""
        column: np.ndarray = table[:, action].astype(self.dtype)
        if self.group is None or (column == column[0]).all():
            return column[0]
        charged: np.ndarray = column[self.group]
        return charged

    def all(self) -> np.ndarray:
        """[K, n]: those of every action, each as `of` has it."""
        worth: np.ndarray = self.values.astype(self.dtype)
        worth -= self._charges(self.prices.contact)
        if self.costs is not None:
            worth -= self.costs.astype(self.dtype) * self._charges(self.prices.money)
        return worth

    def _charges(self, table: np.ndarray) -> np.ndarray:
        """[K, 1] or [K, n]."""
        rows = table[:1] if self.group is None else table[self.group]
        return np.asarray(rows.T, dtype=self.dtype)

    def best(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The best of so many actions: codes (0 for nothing worth more than 0), and its worth."""
        if self.count <= FEW:
            worth = self.all()
            first = worth.argmax(axis=0)
            best = np.maximum(worth[first, np.arange(self.count)], 0)
            return ((first + 1) * (best > 0)).astype(np.uint16), best
        best = np.zeros(self.count, self.dtype)
        code, mark = np.zeros(self.count, np.uint16), np.empty(self.count, np.uint16)
        more = np.empty(self.count, bool)
        for action in range(count):
            worth = self.of(action)
            np.greater(worth, best, out=more)
            np.maximum(best, worth, out=best)
            np.multiply(more.view(np.uint8), np.uint16(action + 1), out=mark)
            np.maximum(code, mark, out=code)
        return code, best
