"""The last per cent of a small plan: several customers change their sets of actions at once, where that brings more.

Only sets that lose less than the plan is short of its bound can be part of a better plan (reduced-cost fixing), so few
are left. A beam search goes through them customer by customer, then every pair of changes is tried.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np

from recsys.campaigns.allocation.choice import NONE
from recsys.campaigns.allocation.moves import Core

SETS = 2000
"""The most sets of actions that are gone through."""
CELLS = 2_500_000
"""The most sets times customers times limits of which sums are made."""
CANDIDATES = 1200
"""The most changes of single customers of which pairs are tried."""
ROUNDS = 200
CUSTOMERS = 80
"""The most customers that the beam goes through."""
BEAM = 1500
"""Plans that are kept after each customer."""
WIDE = 12
"""The most sets of one customer that the beam tries."""


def exchange(core: Core, short: float) -> None:
    """Improve the plan by changes of a few customers until none brings more; `short`: of the bound."""
    sets = _Sets.of(core) if short > 0 else None
    if sets is None:
        return
    short -= _pairs(core, sets, short)
    short -= _beam(core, sets, short)
    _pairs(core, sets, short)


@lru_cache(maxsize=64)
def _structure(channel: tuple[int, ...], product: tuple[int, ...], most: int) -> np.ndarray:
    """int64 [S, L]: the sets of actions with one a channel and one a product, `NONE` where smaller."""
    found = []
    for size in range(most + 1):
        for members in combinations(range(len(channel)), size):
            if len({channel[k] for k in members}) == size == len({product[k] for k in members}):
                found.append([*members, *[NONE] * (most - size)])
    return np.array(found, dtype=np.int64)


@dataclass
class _Sets:
    """Every set of actions with every customer of a core."""

    members: np.ndarray
    """int64 [S, L]."""
    values: np.ndarray
    """float64 [S, n]: -inf where a set is not allowed."""
    uses: np.ndarray
    """float64 [m, S, n]."""
    loss: np.ndarray
    """float64 [S, n]: what is lost, prices considered, beside the customer's best set."""
    now: np.ndarray
    """int64 [n]: which set each customer has."""

    @classmethod
    def of(cls, core: Core) -> "_Sets | None":
        """None where there are too many."""
        actions, (most, count) = core.problem.actions, core.chosen.shape
        total = sum(comb(len(actions), size) for size in range(most + 1))
        if total > SETS or total * count * max(1, len(core.used)) > CELLS:
            return None
        members = _structure(tuple(actions.channel.tolist()), tuple(actions.product.tolist()), most)
        values = core.values[members].sum(axis=1)
        values[(members >= 0).sum(axis=1)[:, None] > core.left] = -np.inf
        uses = np.zeros((len(core.used), len(members), count))
        for j in range(len(core.used)):
            uses[j] = core.uses(j)[members].sum(axis=1)
        loss = np.tensordot(core.dual, uses, 1) - values
        places = {tuple(sorted(k for k in row if k >= 0)): at for at, row in enumerate(members.tolist())}
        now = [places[tuple(sorted(k for k in row if k >= 0))] for row in core.chosen.T.tolist()]
        return cls(members, values, uses, loss - loss.min(axis=0), np.array(now, dtype=np.int64))

    def give(self, core: Core, rows: np.ndarray, sets: np.ndarray) -> None:
        """Give these customers these sets."""
        now = self.now[rows]
        core.used += (self.uses[:, sets, rows] - self.uses[:, now, rows]).sum(axis=1)
        core.chosen[:, rows] = self.members[sets].T
        self.now[rows] = sets


def _pairs(core: Core, sets: _Sets, short: float) -> float:
    """Carry out the best change of one or two customers while there is one; what that brought."""
    total = 0.0
    for _ in range(ROUNDS):
        now = sets.now
        place, row = np.nonzero(sets.loss < short - total)
        other = place != now[row]
        place, row = place[other], row[other]
        order = np.argsort(sets.loss[place, row], kind="stable")[:CANDIDATES]
        place, row = place[order], row[order]
        if not len(row):
            break
        gain = sets.values[place, row] - sets.values[now[row], row]
        more = sets.uses[:, place, row] - sets.uses[:, now[row], row]
        best, who = _best_pair(gain, more, row, (core.room - core.used)[:, None])
        if best <= 1e-9 * max(1.0, abs(short)):
            break
        sets.give(core, row[who], place[who])
        total += best
    return total


def _best_pair(gain: np.ndarray, more: np.ndarray, row: np.ndarray, room: np.ndarray) -> tuple[float, list[int]]:
    """The most that one change or two of different customers bring within the room, and which they are."""
    alone = np.where((more <= room).all(axis=0), gain, -np.inf)
    first = int(alone.argmax())
    best, who = (float(alone[first]), [first]) if alone[first] > 0 else (0.0, [])
    highest = float(gain.max())
    for one in np.argsort(-gain, kind="stable").tolist():
        if gain[one] + highest <= best:
            break
        together = gain[one] + gain
        worth = np.flatnonzero((together > best) & (row != row[one]))
        worth = worth[(more[:, worth] + more[:, one, None] <= room).all(axis=0)]
        if len(worth):
            other = int(worth[together[worth].argmax()])
            best, who = float(together[other]), [one, other]
    return best, who


def _beam(core: Core, sets: _Sets, short: float) -> float:
    """Go through customers one by one, keeping the plans that promise most; what the best of them brings.

    A plan's promise: what it has lost so far, and what its use of limits is over or under them, at their prices; of
    customers not yet gone through, each has the best set at the prices.
    """
    count = sets.loss.shape[1]
    second = np.partition(sets.loss, min(1, len(sets.loss) - 1), axis=0)[min(1, len(sets.loss) - 1)]
    rows = np.argsort(second, kind="stable")[:CUSTOMERS]
    rows = rows[second[rows] < short][::-1]  # what is nearly a tie comes last: it fills what is left
    if not len(rows):
        return 0.0
    now = sets.now
    best_set = sets.loss.argmin(axis=0)
    shift = (sets.uses[:, best_set[rows], rows] - sets.uses[:, now[rows], rows]).sum(axis=1)
    fixed = float(sets.loss[now, np.arange(count)].sum() - sets.loss[now[rows], rows].sum())
    used, lost = (core.used + shift)[None], np.array([fixed])
    trail: list[tuple[np.ndarray, np.ndarray]] = []
    dear = 2 * core.dual + np.abs(core.dual).max(initial=0) * 0.1 / np.maximum(1, np.abs(sets.uses).max(axis=(1, 2)))
    limit = fixed + sets.loss[now[rows], rows].sum() + short
    for row in rows.tolist():
        among = np.argsort(sets.loss[:, row], kind="stable")[:WIDE]
        among = among[sets.loss[among, row] < short]
        step = (sets.uses[:, among, row] - sets.uses[:, best_set[row], row][:, None]).T
        next_used = (used[:, None] + step).reshape(-1, len(core.used))
        next_lost = (lost[:, None] + sets.loss[among, row]).ravel()
        room = core.room - next_used
        promise = next_lost + np.maximum(room, 0) @ core.dual + np.maximum(-room, 0) @ dear
        keep = np.argsort(promise, kind="stable")[:BEAM]
        keep = keep[next_lost[keep] <= limit]
        trail.append((keep // len(among), among[keep % len(among)]))
        used, lost = next_used[keep], next_lost[keep]
    return _take(core, sets, rows, trail, used)


def _take(
    core: Core, sets: _Sets, rows: np.ndarray, trail: list[tuple[np.ndarray, np.ndarray]], used: np.ndarray
) -> float:
    """Carry out the most valuable plan at the end of the beam that keeps every limit, if it brings something."""
    ends = np.flatnonzero((used <= core.room).all(axis=1))
    picks = np.empty((len(rows), len(ends)), dtype=np.int64)
    at = ends
    for place in range(len(rows) - 1, -1, -1):
        parent, chosen = trail[place]
        picks[place] = chosen[at]
        at = parent[at]
    if not len(ends):
        return 0.0
    gain = (sets.values[picks, rows[:, None]] - sets.values[sets.now[rows], rows][:, None]).sum(axis=0)
    best = int(gain.argmax())
    if gain[best] <= 1e-9:
        return 0.0
    sets.give(core, rows, picks[:, best])
    return float(gain[best])
