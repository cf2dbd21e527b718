"""A customer's best set of several actions, one of each channel and one of each product: a maximum weight matching.

Of each channel only the L best products can be in the best set of L actions: with any other, one of those would be free
and worth more. The set grows by one action at a time along the best augmenting path, which keeps it the best of its
size (Kuhn, Naval Research Logistics Quarterly 1955; Edmonds and Karp, JACM 1972), while that brings something. All of
it is done for many customers at once, element by element, so that an answer does not depend on who else is asked.
With few customers a call of NumPy costs more than what it works on, so all actions are ranked in one (`best_of_few`),
and of one customer in none where nothing clashes (`best_of_one`).

Worths carry in their last bits of which product they are, so that a maximum also says whose it is.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import numpy as np

from recsys.campaigns.allocation.problem import MOST_CONTACTS
from recsys.errors import ConfigError

NOTHING = 1e-30
"""Stands for no action in the lists."""
LEAST = 2e-30
"""An action is worth more than this."""
ROW = np.uint16
FLOAT32_BITS = 8
"""As many bits of a float32 at most say which action it is; with more, float64 is used."""


@dataclass(frozen=True)
class Sides:
    """Channels and products as the two sides of a matching; the rows are those of which there are fewer."""

    cells: tuple[tuple[tuple[int, ...], ...], ...]
    """By row, and by each column that it has actions of, those actions."""
    code: np.ndarray
    """int64 [K]: what the last bits of an action's worth say; the first of equals has the highest."""
    action: np.ndarray
    """uint16 [R + 1, 2 ** bits]: by row from 1 and code, the action from 1."""
    columns: int
    bits: int
    """How many bits say which action it is."""
    level_bits: int
    """How many of them say which of a cell's."""
    order: np.ndarray
    """int64 [K]: the actions, cell by cell."""
    starts: np.ndarray
    """int64 [cells]: where each cell begins in that order."""
    place: np.ndarray
    """int64 [cells, 2]: row of each cell, and its place among the row's."""
    column_of: tuple[int, ...]
    """The column of each action."""

    def column(self, packed: np.ndarray) -> np.ndarray:
        """Which column worths are of, backwards."""
        return np.asarray(self.codes(packed) >> self.level_bits)

    def codes(self, packed: np.ndarray) -> np.ndarray:
        """The last bits of worths."""
        whole: np.ndarray = packed.view(np.int32 if packed.dtype == np.float32 else np.int64)
        return np.asarray(whole & ((1 << self.bits) - 1))


def sides_of(channel: np.ndarray, product: np.ndarray) -> Sides:
    """The sides of actions int64 [K]."""
    return _sides(tuple(channel.tolist()), tuple(product.tolist()))


@lru_cache(maxsize=16)
def _sides(channel: tuple[int, ...], product: tuple[int, ...]) -> Sides:
    few, many = (channel, product) if max(channel) <= max(product) else (product, channel)
    cells: list[dict[int, list[int]]] = [{} for _ in range(max(few) + 1)]
    for action, (row, column) in enumerate(zip(few, many, strict=True)):
        cells[row].setdefault(column, []).append(action)
    columns = max(many) + 1
    levels = max(len(actions) for row in cells for actions in row.values())
    level_bits = (levels - 1).bit_length()
    bits = level_bits + (columns - 1).bit_length()
    code = np.zeros(len(channel), dtype=np.int64)
    table = np.zeros((len(cells) + 1, 1 << bits), dtype=np.uint16)
    for place, row_cells in enumerate(cells):
        for column, actions in row_cells.items():
            for level, action in enumerate(actions):
                code[action] = (columns - 1 - column) << level_bits | (levels - 1 - level)
                table[place + 1, code[action]] = action + 1
    ordered = tuple(tuple(tuple(row[column]) for column in sorted(row)) for row in cells)
    sizes = [len(cell) for row in ordered for cell in row]
    where = [(r, c) for r, row in enumerate(ordered) for c in range(len(row))]
    order = np.array([action for row in ordered for cell in row for action in cell])
    starts = np.cumsum([0, *sizes[:-1]])
    return Sides(ordered, code, table, columns, bits, level_bits, order, starts, np.array(where), many)


def best_sets(
    worth_of: Callable[[int], np.ndarray], sides: Sides, left: np.ndarray, most: int, dtype: type
) -> tuple[np.ndarray, np.ndarray]:
    """Codes uint16 [most, n], actions from 1 and 0 for none, and the worth [n] of each customer's best set.

    `worth_of` gives the worths of an action, [n] of the `dtype`, prices taken off, in an array that its next call
    overwrites; `left` [n] are the most actions with each customer. Ties go to the first channel, then to the first
    action. Raises ConfigError for more actions each than paths can be looked through for.
    """
    size = _size(sides, most)
    lists = _ranked(worth_of, sides, size, len(left), dtype)
    return _settled(lists, *_best_of_each(lists[:, 0], left, size), sides, left, most)


def best_of_few(worth: np.ndarray, sides: Sides, left: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """`best_sets` of the worths [K, n], which are in memory; the same bits, in a tenth of the calls."""
    size, packed = _size(sides, most), _packed(worth, sides)
    cells = np.maximum.reduceat(packed[sides.order], sides.starts, axis=0)
    width = max(size, sides.columns)
    lists = np.full((len(sides.cells), width, len(left)), NOTHING, worth.dtype)
    lists[sides.place[:, 0], sides.place[:, 1]] = cells
    lists.sort(axis=1)
    lists = lists[:, : -size - 1 : -1]
    order = np.argsort(-lists[:, 0], axis=0, kind="stable")[:size]
    weight = lists[order, 0, np.arange(len(left))]
    kept = (weight > LEAST) & (left > np.arange(size)[:, None])
    return _settled(lists, weight * kept, ((order + 1) * kept).astype(ROW), sides, left, most)


def best_of_one(worth: np.ndarray, sides: Sides, left: int, most: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The same of one customer, float64 [K, 1], without NumPy; None where two rows' best are of one column."""
    told = _packed(worth, sides)[:, 0].tolist()
    best = [max((told[action], action) for cell in row for action in cell) for row in sides.cells if row]
    best.sort(key=lambda one: -one[0])
    chosen = [(packed, action) for packed, action in best[: min(_size(sides, most), left)] if packed > LEAST]
    if len({sides.column_of[action] for _, action in chosen}) < len(chosen):
        return None
    codes = np.zeros((most, 1), np.uint16)
    codes[: len(chosen), 0] = [action + 1 for _, action in chosen]
    return codes, np.array([sum(packed for packed, _ in chosen)], np.float64)


def _packed(worth: np.ndarray, sides: Sides) -> np.ndarray:
    """Worths [K, n] whose last bits say which action they are, at least `NOTHING`."""
    packed = np.maximum(worth, worth.dtype.type(NOTHING))
    whole = np.int32 if worth.dtype == np.float32 else np.int64
    bits = packed.view(whole)
    bits &= whole(~((1 << sides.bits) - 1))
    bits |= sides.code.astype(whole)[:, None]
    return packed


def _size(sides: Sides, most: int) -> int:
    """How many actions a set can have."""
    size = min(most, len(sides.cells), sides.columns)
    if size > MOST_CONTACTS:
        raise ConfigError(f"{size} contacts each are more than {MOST_CONTACTS}, the most that are planned")
    return size


def _settled(
    lists: np.ndarray, weight: np.ndarray, row: np.ndarray, sides: Sides, left: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Codes and worth of the best sets, from the lists [R, size, n] and the best actions of the most valuable rows,
    worths and rows from 1 [size, n], of which two may be of one column."""
    size = len(weight)
    clash = _clashes(sides, weight, row)
    if len(clash):
        first = weight[0, clash], row[0, clash]
        weight[:, clash], row[:, clash] = _matched(lists[:, :, clash], sides, first, left[clash], size)
    codes = np.zeros((most, len(left)), np.uint16)
    codes[:size] = sides.action[row, sides.codes(weight)]
    total = weight[0].copy()
    for more in weight[1:]:
        total += more
    return codes, total


def _ranked(worth_of: Callable[[int], np.ndarray], sides: Sides, size: int, count: int, dtype: type) -> np.ndarray:
    """float [R, size, n]: the best columns of each row, best first; about `NOTHING` where there are fewer."""
    whole = np.int32 if dtype is np.float32 else np.int64
    lists: np.ndarray = np.full((len(sides.cells), size, count), NOTHING, dtype)
    worth: np.ndarray = np.empty(count, dtype)
    other, cell = np.empty_like(worth), np.empty_like(worth)
    clear = whole(~((1 << sides.bits) - 1))
    for ranks, row in zip(lists, sides.cells, strict=True):
        for actions in row:
            for place, action in enumerate(actions):
                into = worth if place else cell
                np.maximum(worth_of(action), dtype(NOTHING), out=into)
                bits = into.view(whole)
                np.bitwise_and(bits, clear, out=bits)
                np.bitwise_or(bits, whole(sides.code[action]), out=bits)
                if place:
                    np.maximum(cell, worth, out=cell)
            falling = cell
            for rank in ranks[:-1]:
                np.minimum(rank, falling, out=other)
                np.maximum(rank, falling, out=rank)
                falling, other = other, falling
            np.maximum(ranks[-1], falling, out=ranks[-1])
            cell = falling
    return lists


def _best_of_each(best: np.ndarray, left: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The most valuable rows' best: worths [size, n], 0 for none, and rows from 1 [size, n], 0 for none."""
    count = best.shape[1]
    weight, row = np.zeros((size, count), best.dtype), np.zeros((size, count), ROW)
    rest = best.copy()
    more, mark = np.empty(count, bool), np.empty(count, ROW)
    for place, (top, pick) in enumerate(zip(weight, row, strict=True)):
        top[:] = LEAST
        for r, worth in enumerate(rest):
            np.greater(worth, top, out=more)
            np.maximum(top, worth, out=top)
            np.multiply(more.view(np.uint8), ROW(r + 1), out=mark)
            np.maximum(pick, mark, out=pick)
        pick *= left > place
        top *= pick > 0
        for r, worth in enumerate(rest if place + 1 < size else ()):
            np.not_equal(pick, r + 1, out=more)
            np.multiply(worth, more, out=worth)
    return weight, row


def _clashes(sides: Sides, weight: np.ndarray, row: np.ndarray) -> np.ndarray:
    """The customers with two actions of one column."""
    column = [sides.column(part) for part in weight]
    found = np.zeros(weight.shape[1], dtype=bool)
    for later in range(1, len(weight)):
        for sooner in range(later):
            found |= (column[later] == column[sooner]) & (row[later] > 0)
    return np.flatnonzero(found)


def _matched(
    lists: np.ndarray, sides: Sides, first: tuple[np.ndarray, np.ndarray], left: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best matching of each customer, of at most `left`: worths [size, n] descending and rows from 1 [size, n].

    `first`: the best single action's worth [n] and row [n].
    """
    lists = lists * (lists > LEAST)
    weight, row = np.zeros((size, len(left)), lists.dtype), np.zeros((size, len(left)), ROW)
    weight[0], row[0] = first
    growing = np.arange(len(left))
    for taken in range(1, size):
        open_ = left[growing] > taken
        growing, lists = growing[open_], lists if open_.all() else lists[:, :, open_]
        if not len(growing):
            break
        better, grown, rows = _augmented(lists, sides, weight[:taken, growing], row[:taken, growing])
        growing, lists = growing[better], lists[:, :, better]
        weight[: taken + 1, growing], row[: taken + 1, growing] = grown[:, better], rows[:, better]
    order = np.argsort(-weight, axis=0, kind="stable")
    return np.take_along_axis(weight, order, axis=0), np.take_along_axis(row, order, axis=0)


def _augmented(
    lists: np.ndarray, sides: Sides, weight: np.ndarray, row: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One action more: bool [n] whether that brings something, worths [s + 1, n] and rows from 1 [s + 1, n].

    A path enters the column of a matched action from a row that is free, that action's row goes on to the column of
    another or, at last, to a column that is free; or it is a single action of a free row and a free column.
    """
    taken = len(weight)
    entry, from_row, onward = _steps(lists, sides, weight, row)
    best, which = entry[taken].copy(), np.zeros(weight.shape[1], np.int16)
    paths = list(_paths(taken))
    for number, path in enumerate(paths, start=1):
        gain = entry[path[0]].copy()
        for i, j in zip(path, (*path[1:], taken), strict=True):
            gain -= weight[i]
            gain += onward[i][j]
        which[gain > best] = number
        np.maximum(best, gain, out=best)
    grown, rows = np.vstack([weight, entry[taken]]), np.vstack([row, from_row[taken]])
    for number, path in enumerate(paths, start=1):
        hit = np.flatnonzero(which == number)
        grown[path[0], hit], rows[path[0], hit] = entry[path[0]][hit], from_row[path[0]][hit]
        for i, j in zip(path, (*path[1:], taken), strict=True):
            grown[j, hit], rows[j, hit] = onward[i][j][hit], row[i, hit]
    return (best > LEAST) & (grown > LEAST).all(axis=0), grown, rows


def _steps(
    lists: np.ndarray, sides: Sides, weight: np.ndarray, row: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """What paths are made of; the last of s + 1 columns stands for any that is free.

    The best worth [s + 1, n] of a free row in each column, which row that is [s + 1, n], and of every matched action's
    row the worths [s + 1, n]. 0 where there is none: a path over it gains nothing, the matching being best of its size.
    """
    taken, count = weight.shape
    column = [sides.column(part).astype(np.int16) for part in weight]
    entry, from_row = np.zeros((taken + 1, count), lists.dtype), np.zeros((taken + 1, count), ROW)
    onward = [np.zeros_like(entry) for _ in range(taken)]
    mark = np.empty(count, ROW)
    for r, ranks in enumerate(lists, start=1):
        cells = _best_by_column(ranks, sides, column)
        here = [(part == r).astype(lists.dtype) for part in row]
        for own, mine in zip(onward, here, strict=True):
            own += cells * mine
        for mine in here:
            cells *= 1 - mine
        for best, pick, cell in zip(entry, from_row, cells, strict=True):
            np.multiply(cell > best, ROW(r), out=mark)
            np.maximum(pick, mark, out=pick)
            np.maximum(best, cell, out=best)
    return entry, from_row, onward


def _best_by_column(ranks: np.ndarray, sides: Sides, column: list[np.ndarray]) -> np.ndarray:
    """float [s + 1, n]: one row's worths in each of some columns, and last its best in any other; 0 for none."""
    found = np.zeros((len(column) + 1, ranks.shape[1]), ranks.dtype)
    part = np.empty(ranks.shape[1], ranks.dtype)
    for worth in ranks:
        at = sides.column(worth).astype(np.int16)
        outside = worth.copy()
        for cell, taken in zip(found, column, strict=False):
            np.multiply(worth, (at == taken).astype(worth.dtype), out=part)
            np.maximum(cell, part, out=cell)
            outside -= part
        np.maximum(found[-1], outside, out=found[-1])
    return found


def _paths(taken: int) -> Iterator[tuple[int, ...]]:
    """Every order in which a path can go through some of the matched actions, the shortest first."""
    for length in range(1, taken + 1):
        yield from permutations(range(taken), length)
