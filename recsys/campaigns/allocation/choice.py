"""What is done with each customer at given prices: the one function by which a plan and a single answer are decided.

A customer takes the set of actions whose values, prices taken off, sum to most. With one action that is the best one
if it is worth more than nothing. With several, the best of each channel are taken, most worth first, which is exact
unless two of them are of one product; for those customers alone every set of channels is gone through (a maximum
weight matching of products and channels by dynamic programming).
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np

from recsys.campaigns.allocation.problem import MOST_SETS, Actions, Part, Prices, price_row
from recsys.errors import ConfigError

NONE = -1
"""No action."""
CHUNK = 16384
"""Customers at a time: what is worked on stays in the processor's cache."""


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
    """The best sets of the customers in `rows`, computed in float32 or float64."""
    worths = _Worths(part, rows, prices, dtype)
    if most == 1:
        codes, worth = worths.best(range(len(actions)))
        if part.most is not None:
            none = np.asarray(part.most[rows]) < 1
            codes[none], worth[none] = 0, 0
        return Best(codes[None], worth)
    left = np.full(worths.count, most) if part.most is None else np.asarray(part.most[rows])
    return _several(worths, actions, left, most)


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
        self._worth: np.ndarray = np.empty(self.count, dtype)
        self._extra: np.ndarray = np.empty(self.count, dtype)
        self._more, self._mark = np.empty(self.count, bool), np.empty(self.count, np.uint16)

    def of(self, action: int) -> np.ndarray:
        """[n], overwritten by the next call."""
        np.subtract(self.values[action], self._charge(self.prices.contact, action), out=self._worth, dtype=self.dtype)
        if self.costs is not None and self.prices.money[:, action].any():
            charge = self._charge(self.prices.money, action)
            np.multiply(self.costs[action], charge, out=self._extra, dtype=self.dtype)
            np.subtract(self._worth, self._extra, out=self._worth)
        return self._worth

    def _charge(self, table: np.ndarray, action: int) -> np.ndarray:
        """A number for all, or one for each customer where groups pay differently."""
        column: np.ndarray = table[:, action].astype(self.dtype)
        if self.group is None or (column == column[0]).all():
            return column[0]
        charged: np.ndarray = column[self.group]
        return charged

    def best(self, among: range | list[int]) -> tuple[np.ndarray, np.ndarray]:
        """The best of some actions, ascending: codes (0 for nothing worth more than 0), and its worth."""
        best: np.ndarray = np.zeros(self.count, self.dtype)
        code = np.zeros(self.count, np.uint16)
        for action in among:
            worth = self.of(action)
            np.greater(worth, best, out=self._more)
            np.maximum(best, worth, out=best)
            np.multiply(self._more.view(np.uint8), np.uint16(action + 1), out=self._mark)
            np.maximum(code, self._mark, out=code)
        return code, best


def _several(worths: _Worths, actions: Actions, left: np.ndarray, most: int) -> Best:
    """The `left` best channels of each customer; where two are of one product, the best matching."""
    channels = int(actions.channel.max()) + 1
    best = [worths.best(np.flatnonzero(actions.channel == r).tolist()) for r in range(channels)]
    codes = np.zeros((most, worths.count), np.uint16)
    worth: np.ndarray = np.zeros(worths.count, worths.dtype)
    rest = np.stack([found for _, found in best])
    for place in range(most):
        top: np.ndarray = np.zeros(worths.count, worths.dtype)
        pick = np.zeros(worths.count, np.uint16)
        for channel in range(channels):
            more = rest[channel] > top
            np.maximum(top, rest[channel], out=top)
            np.maximum(pick, more.view(np.uint8) * np.uint16(channel + 1), out=pick)
        pick *= (left > place).view(np.uint8)
        top *= pick > 0
        worth += top
        for channel in range(channels):
            picked = pick == channel + 1
            codes[place] += picked.view(np.uint8) * best[channel][0]
            rest[channel] *= ~picked
    clash = _clashes(codes, actions)
    if len(clash):
        codes[:, clash], worth[clash] = _matching(worths, clash, actions, left[clash], most)
    return Best(codes, worth)


def _clashes(codes: np.ndarray, actions: Actions) -> np.ndarray:
    """The customers with two actions of one product."""
    product = np.concatenate([[-1], actions.product]).astype(np.int32)
    of = [product[code] for code in codes]
    found = np.zeros(codes.shape[1], dtype=bool)
    for one, other in combinations(range(len(codes)), 2):
        found |= (of[one] == of[other]) & (of[one] >= 0)
    return np.flatnonzero(found)


@lru_cache(maxsize=16)
def _sets(count: int, most: int) -> tuple[tuple[int, ...], ...]:
    """Bit masks of the sets of at most so many of `count`, the smaller first."""
    total = sum(comb(count, size) for size in range(most + 1))
    if total > MOST_SETS:
        raise ConfigError(
            f"{most} contacts each over {count} channels or products make {total:,} sets for each customer, more than "
            f"{MOST_SETS:,}; allow fewer contacts"
        )
    sizes = [combinations(range(count), size) for size in range(most + 1)]
    return tuple(tuple(members) for size in sizes for members in size)


def _matching(
    worths: _Worths, rows: np.ndarray, actions: Actions, left: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Codes [L, n] and worth [n] of the best sets with one action a channel and one a product.

    Products are taken up one after the other; for every set of channels that are taken the best so far is kept. Where
    there are fewer products than channels they change places.
    """
    few, many = actions.channel, actions.product
    if int(many.max()) < int(few.max()):
        few, many = many, few
    sets = _sets(int(few.max()) + 1, most)
    value: dict[tuple[int, ...], np.ndarray] = {members: np.full(len(rows), -np.inf, worths.dtype) for members in sets}
    value[()] = np.zeros(len(rows), worths.dtype)
    path = {members: np.zeros((len(members), len(rows)), np.uint16) for members in sets}
    for item in range(int(many.max()) + 1):
        cells = _cells(worths, rows, np.flatnonzero(many == item), few)
        for members in reversed(sets):
            for place, member in enumerate(members):
                if member not in cells:
                    continue
                worth, code = cells[member]
                before = members[:place] + members[place + 1 :]
                candidate = value[before] + worth
                better = candidate > value[members]
                if better.any():
                    value[members][better] = candidate[better]
                    path[members][:-1, better] = path[before][:, better]
                    path[members][-1, better] = code[better]
    codes = np.zeros((most, len(rows)), np.uint16)
    best: np.ndarray = np.zeros(len(rows), worths.dtype)
    for members in sets[1:]:
        better = (value[members] > best) & (left >= len(members))
        best[better] = value[members][better]
        codes[: len(members), better] = path[members][:, better]
        codes[len(members) :, better] = 0
    return codes, best


def _cells(
    worths: _Worths, rows: np.ndarray, among: np.ndarray, few: np.ndarray
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Of some actions the best on each side: its worth, where positive, and its code."""
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for action in among:
        worth = worths.of(int(action))[rows]
        worth[worth <= 0] = -np.inf
        code = np.full(len(rows), action + 1, np.uint16)
        if (there := found.get(int(few[action]))) is not None:
            better = worth > there[0]
            worth, code = np.where(better, worth, there[0]), np.where(better, code, there[1])
        found[int(few[action])] = (worth, code)
    return found
