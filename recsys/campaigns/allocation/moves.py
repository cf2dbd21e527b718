"""Single moves of a plan: another action, one more or one less with one customer, priced and checked against limits."""

from dataclasses import dataclass

import numpy as np

from recsys.campaigns.allocation.choice import NONE
from recsys.campaigns.allocation.problem import Part, Problem, price_row

MARGIN = 1e-9
"""By how much, relative to its limit, a use may pass it for the last digits of sums."""


@dataclass(frozen=True)
class Move:
    """One change with one customer."""

    row: int
    slot: int
    action: int
    """The action that takes the slot, `NONE` to leave it empty."""
    use: np.ndarray
    """float64 [m]: what it takes more."""
    value: float
    """What it brings more."""


class Core:
    """Some customers in memory, their actions int64 [L, n], and the use of all limits by everyone."""

    def __init__(self, problem: Problem, part: Part, chosen: np.ndarray, used: np.ndarray, dual: np.ndarray) -> None:
        self.problem, self.part = problem, part
        self.chosen = chosen.astype(np.int64)
        self.used = used.copy()
        self.limits = problem.limits
        self.room = self.limits.limit + MARGIN * np.maximum(1.0, np.abs(self.limits.limit))
        self.size = np.maximum(np.abs(self.limits.limit), 1.0)
        count = len(part)
        self.values = np.vstack([np.asarray(part.values, dtype=np.float64), np.zeros(count)])
        """float64 [K + 1, n]: the last row is no action, so that `NONE` finds it."""
        self._table = np.hstack([self.limits.use, np.zeros((len(self.limits), 1))])
        self._costs = None
        if self.limits.personal.any() and part.costs is not None:
            self._costs = np.vstack([np.asarray(part.costs, dtype=np.float64), np.zeros(count)])
        member = (self.limits.group[:, None] < 0) | (self.limits.group[:, None] == np.arange(problem.groups))
        self._member = member.astype(np.float64)
        self._group = None if part.group is None else price_row(part.group, problem.groups)
        self.reduced = self.values - sum(price * self.uses(j) for j, price in enumerate(dual) if price)
        self.dual = dual
        self.left = np.full(count, problem.most) if part.most is None else np.asarray(part.most)

    def uses(self, limit: int) -> np.ndarray:
        """float64 [K + 1, n] or [K + 1, 1]: what each action with each customer takes of a limit."""
        found = self._table[limit][:, None]
        if self.limits.personal[limit] and self._costs is not None:
            found = found * self._costs
        if self.limits.group[limit] >= 0 and self._group is not None:
            found = found * self._member[limit][self._group]
        return np.asarray(found)

    def now(self, matrix: np.ndarray, slot: int) -> np.ndarray:
        """[n]: of a matrix [K + 1, n] or [K + 1, 1] the cell of the action that now has a slot."""
        chosen = self.chosen[slot]
        return np.asarray(matrix[chosen, 0] if matrix.shape[1] == 1 else matrix[chosen, np.arange(len(chosen))])

    def use_of(self, action: int, row: int) -> np.ndarray:
        """float64 [m]: what one action with one customer takes."""
        found = self._table[:, action]
        if self._costs is not None:
            found = np.where(self.limits.personal, found * self._costs[action, row], found)
        if self._group is not None:
            found = found * self._member[:, self._group[row]]
        return np.asarray(found)

    @property
    def over(self) -> np.ndarray:
        """bool [m]: the limits that are passed."""
        return np.asarray(self.used > self.room)

    def may(self, slot: int) -> np.ndarray:
        """bool [K + 1, n]: which actions may take a slot beside the customer's others."""
        actions = self.problem.actions
        free = np.isfinite(self.values)
        for other in range(len(self.chosen)):
            if other != slot:
                there = self.chosen[other]
                busy = there >= 0
                clash = (actions.channel[:, None] == actions.channel[there]) | (
                    actions.product[:, None] == actions.product[there]
                )
                free[:-1] &= ~(clash & busy)
        empty = self.chosen[slot] < 0
        full = empty & ((self.chosen >= 0).sum(0) >= self.left)
        free[:-1, full] = False
        free[-1, empty] = False  # nothing in place of nothing is no move
        taken = np.flatnonzero(~empty)
        free[self.chosen[slot, taken], taken] = False
        return free

    def change(self, row: int, slot: int, action: int) -> Move:
        """What it means that `action` takes a slot of a customer."""
        before = int(self.chosen[slot, row])
        use = self.use_of(action, row) - self.use_of(before, row)
        return Move(row, slot, action, use, float(self.values[action, row] - self.values[before, row]))

    def fits(self, move: Move) -> bool:
        """Whether no limit is newly passed, nor one that is passed already made worse."""
        after = self.used + move.use
        return bool(((after <= self.room) | (move.use <= 0)).all())

    def make(self, move: Move) -> None:
        """Carry it out."""
        self.chosen[move.slot, move.row] = move.action
        self.used += move.use

    @property
    def value(self) -> float:
        """What the customers of the core bring."""
        return float(np.take_along_axis(self.values, self.chosen, axis=0).sum())


def balance(core: Core, rounds: int = 12) -> None:
    """Bring the use of every limit that has a price near the limit, from above and from below, at the least loss.

    Prices that are not the last word leave some limits passed and others with room; a move that mends both need not
    fit by itself. Moves are made, cheapest first, while they take off more of Σ price · |limit - use| than they lose.
    """
    for _ in range(rounds):
        side = np.sign(core.used - core.limits.limit) * (core.dual > 0)
        before = _imbalance(core, np.zeros(len(side)))
        made = False
        for row, slot, action in _ordered(core, core.dual * side, np.zeros(len(side), dtype=bool)):
            move = core.change(row, slot, action)
            lost = core.dual @ move.use - move.value
            if _imbalance(core, np.zeros(len(side))) - _imbalance(core, move.use) > max(lost, 0.0) * 1.5:
                core.make(move)
                made = True
        if not made or _imbalance(core, np.zeros(len(side))) > 0.9 * before:
            return


def _imbalance(core: Core, more: np.ndarray) -> float:
    return float(core.dual @ np.abs(core.used + more - core.limits.limit))


def repair(core: Core, rounds: int = 60) -> bool:
    """Make cheapest moves until no limit is passed; whether that was reached.

    In each round every customer's moves that relieve the limits that are passed are put in the order of what they
    lose, prices considered, for what they relieve; a customer is moved once a round.
    """
    for _ in range(rounds):
        over = core.over
        if not over.any():
            return True
        before = float((np.maximum(core.used - core.limits.limit, 0) / core.size).sum())
        for row, slot, action in _ordered(core, over / core.size, ~over):
            move = core.change(row, slot, action)
            if (move.use[over] < 0).any() and core.fits(move):
                core.make(move)
                over = core.over
                if not over.any():
                    return True
        after = float((np.maximum(core.used - core.limits.limit, 0) / core.size).sum())
        if after >= before:
            return False
    return not core.over.any()


def _ordered(core: Core, weight: np.ndarray, kept: np.ndarray) -> list[tuple[int, int, int]]:
    """Each customer's best move by loss for relief: row, slot, action; those first that lose least.

    Relief is what a move takes less of the limits, by `weight` [m]; by itself it keeps the limits in `kept` [m].
    """
    burden: np.ndarray = np.zeros((len(core.values), 1))
    for j in np.flatnonzero(weight).tolist():
        burden = burden + core.uses(j) * weight[j]
    rows = np.arange(core.values.shape[1])
    scores, slots, actions = [], [], []
    for slot in range(len(core.chosen)):
        relief = core.now(burden, slot) - burden
        loss = np.maximum(core.now(core.reduced, slot) - core.reduced, 0.0)
        good = core.may(slot) & (relief > 0) & _fitting(core, slot, kept)
        with np.errstate(divide="ignore", invalid="ignore"):
            score = np.where(good, loss / relief, np.inf)
        best = score.argmin(axis=0)
        best[best == len(core.values) - 1] = NONE
        scores.append(score.min(axis=0))
        actions.append(best)
        slots.append(np.full(len(best), slot))
    every = np.concatenate(scores)
    row = np.tile(rows, len(core.chosen))
    order = np.lexsort((row, every))
    order = order[np.isfinite(every[order])]
    _, first = np.unique(row[order], return_index=True)
    order = order[np.sort(first)]
    columns = row, np.concatenate(slots), np.concatenate(actions)
    return list(zip(*(column[order].tolist() for column in columns), strict=True))


def improve(core: Core, rounds: int = 20) -> None:
    """Fill what is left of the limits by single moves that bring something, most for its priced use first."""
    for _ in range(rounds):
        made = False
        for row, slot, action in _gaining(core):
            move = core.change(row, slot, action)
            if move.value > 0 and core.fits(move):
                core.make(move)
                made = True
        if not made:
            return


def _gaining(core: Core) -> list[tuple[int, int, int]]:
    """Each customer's best gaining move that fits by itself: row, slot, action."""
    rows = np.arange(core.values.shape[1])
    least, found = np.full(len(rows), np.inf), np.full((2, len(rows)), NONE)
    for slot in range(len(core.chosen)):
        gain = core.values - core.now(core.values, slot)
        loss = core.now(core.reduced, slot) - core.reduced
        good = core.may(slot) & (gain > 1e-12) & _fitting(core, slot, np.ones(len(core.limits), dtype=bool))
        with np.errstate(divide="ignore", invalid="ignore"):
            score = np.where(good, loss / gain, np.inf)
        best, lowest = score.argmin(axis=0), score.min(axis=0)
        better = lowest < least
        least[better] = lowest[better]
        best[best == len(core.values) - 1] = NONE
        found[:, better] = np.stack([np.full(len(rows), slot), best])[:, better]
    order = np.argsort(least, kind="stable")
    order = order[np.isfinite(least[order])]
    return list(zip(order.tolist(), found[0, order].tolist(), found[1, order].tolist(), strict=True))


def _fitting(core: Core, slot: int, among: np.ndarray) -> np.ndarray:
    """bool [K + 1, n]: whether a move of a slot, by itself, keeps those limits that are not yet passed."""
    good = np.ones((1, 1), dtype=bool)
    for j in np.flatnonzero(among).tolist():
        use = core.uses(j)
        if core.room[j] - core.used[j] < 2 * np.abs(use).max(initial=0.0):
            more = use - core.now(use, slot)
            good = good & ((more <= core.room[j] - core.used[j]) | (more <= 0))
    return good
