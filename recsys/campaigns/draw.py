"""Who is held out and who explores, drawn by a hash, and the exact probability of what was decided for each customer.

What the prices and the repair decide about a customer does not depend on the draw, so the probability of a decision is
that of the draw alone: with h the share held out, e the share that explores and n allowed actions,
P(decision) = h [nothing] + (1 - h) e / n [one allowed action] + (1 - h)(1 - e) [what the plan decided].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.campaigns.allocation import Limits
from recsys.campaigns.allocation.choice import NONE
from recsys.campaigns.allocation.problem import EVERYONE
from recsys.errors import ConfigError
from recsys.lake.buckets import stable_hash

PLANNED, HELD_OUT, EXPLORED = "plan", "hold_out", "explore"
SURE = 13.8
"""-log of the chance, one in a million, that explorers take more of a limit than is set aside for them."""
DRAWN = ("hold-out", "explore", "action")
"""What is drawn for each customer, each by a hash of its own."""


@dataclass(frozen=True)
class Draw:
    """What is done, and how likely that was."""

    chosen: np.ndarray
    """int16 [L, N]: -1 where there are fewer actions."""
    arm: np.ndarray
    """int8 [N]: 0 as planned, 1 held out, 2 explores."""
    propensity: np.ndarray
    """float64 [N]: of the whole decision about the customer."""


def draw(ids: pl.Series, planned: np.ndarray, allowed: np.ndarray, holdout: float, explore: float, seed: int) -> Draw:
    """Draw for customers with planned actions int16 [L, N] and allowed ones bool [K, N].

    Whatever the order and the other customers. Who may not be contacted at all cannot explore.
    """
    if len(ids) == 1:
        return _alone(_uniforms(ids, seed), planned, allowed, holdout, explore)
    return decided(uniforms(ids, seed), planned, allowed, holdout, explore)


def uniforms(ids: pl.Series, seed: int) -> np.ndarray:
    """float64 [3, N] from 0 to below 1, by hashes of seed and id: holding out, exploring, which action."""
    return np.array(_uniforms(ids, seed)).reshape(len(DRAWN), len(ids))


def _uniforms(ids: pl.Series, seed: int) -> list[float]:
    """The same flat, row by row."""
    words = ids.to_list()
    return [_uniform(f"campaign-{what}:{seed}:{one}") for what in DRAWN for one in words]


def decided(drawn: np.ndarray, planned: np.ndarray, allowed: np.ndarray, holdout: float, explore: float) -> Draw:
    """What these numbers, float64 [3, N], make of the plan."""
    held = drawn[0] < holdout
    count = allowed.sum(axis=0)
    exploring = (drawn[1] < explore) & ~held & (count > 0)
    chosen = planned.copy()
    chosen[:, held | exploring] = -1
    if exploring.any():
        pick = (drawn[2] * count).astype(np.int64)
        rank = np.cumsum(allowed, axis=0) - 1
        chosen[0, exploring] = (allowed & (rank == pick)).argmax(axis=0)[exploring]
    arm = np.where(held, 1, np.where(exploring, 2, 0)).astype(np.int8)
    return Draw(chosen, arm, propensity(chosen, planned, allowed, holdout, explore))


def _alone(drawn: Sequence[float], planned: np.ndarray, allowed: np.ndarray, holdout: float, explore: float) -> Draw:
    """`decided` of one customer, to the same bits: for one, a call of NumPy costs more than what it works on."""
    may, wanted = np.flatnonzero(allowed[:, 0]).tolist(), planned[:, 0].tolist()
    held = drawn[0] < holdout
    exploring = drawn[1] < explore and not held and bool(may)
    chosen = [NONE] * len(wanted) if held or exploring else wanted
    if exploring:
        chosen[0] = may[int(drawn[2] * len(may))]
    contacts = sum(action != NONE for action in chosen)
    share = explore if may else 0.0
    found = (1 - holdout) * (1 - share) * (sorted(chosen) == sorted(wanted))
    found += (1 - holdout) * share / max(len(may), 1) * (contacts == 1 and max(chosen) in may)
    found += holdout * (contacts == 0)
    arm = 1 if held else 2 if exploring else 0
    return Draw(np.array(chosen, dtype=np.int16)[:, None], np.array([arm], dtype=np.int8), np.array([found]))


def propensity(
    chosen: np.ndarray, planned: np.ndarray, allowed: np.ndarray, holdout: float, explore: float
) -> np.ndarray:
    """float64 [N]: the probability of the decisions `chosen` [L, N] under the draw."""
    count = allowed.sum(axis=0)
    share = np.where(count > 0, explore, 0.0)
    size = (chosen >= 0).sum(axis=0)
    same = (chosen == planned).all(axis=0)
    as_planned = same if same.all() else (np.sort(chosen, axis=0) == np.sort(planned, axis=0)).all(axis=0)
    first = np.maximum(chosen.max(axis=0), 0)
    single = (size == 1) & allowed[first, np.arange(len(count))]
    found = (1 - holdout) * (1 - share) * as_planned
    found = found + (1 - holdout) * share / np.maximum(count, 1) * single
    return np.asarray(found + holdout * (size == 0))


def _uniform(text: str) -> float:
    """From 0 to below 1, by a hash."""
    return (stable_hash(text) >> 11) * 2.0**-53


@dataclass
class Expected:
    """What explorers are expected to take of every limit, added up over parts."""

    mean: np.ndarray
    """float64 [m]."""
    most: np.ndarray
    """float64 [m]: by one customer."""

    @classmethod
    def nothing(cls, limits: Limits) -> "Expected":
        return cls(np.zeros(len(limits)), np.zeros(len(limits)))

    def add(
        self, limits: Limits, allowed: np.ndarray, costs: np.ndarray | None, group: np.ndarray | None, share: float
    ) -> None:
        """Customers with allowed actions bool [K, n], of whom a share explores."""
        each = share / np.maximum(allowed.sum(axis=0), 1)
        for j in range(len(limits)):
            use = np.maximum(limits.use[j], 0)[:, None] * allowed
            if limits.personal[j] and costs is not None:
                use = use * costs
            if limits.group[j] != EVERYONE and group is not None:
                use = use * (group == limits.group[j])
            self.mean[j] += float((use.sum(axis=0) * each).sum())
            self.most[j] = max(self.most[j], float(use.max(initial=0.0)))


def set_aside(limits: Limits, expected: Expected, holdout: float, explore: float, contacts: int) -> np.ndarray:
    """float64 [m]: the limits that the plan may use, so that after the draw the true ones hold.

    Explorers are set aside what they take but for one chance in a million (Bernstein's inequality). Of what is planned
    some is not done, by the same draw, so more may be planned; a customer has at most `contacts`. Minimum volumes are
    kept before the draw. Raises ConfigError where exploring alone would take more than there is.
    """
    spread = np.sqrt(2 * SURE * expected.most * expected.mean) + 2 / 3 * SURE * expected.most
    reserve = expected.mean + spread if explore else np.zeros(len(limits))
    left = limits.limit - reserve
    packed = limits.limit >= 0
    if (short := np.flatnonzero(packed & (left < 0))).size:
        j = int(short[0])
        raise ConfigError(
            f"exploration: a share of {explore:g} may take {reserve[j]:,.0f} of the {limits.limit[j]:,.0f} of "
            f"{limits.names[j]}; explore less, or raise the limit"
        )
    done = (1 - holdout) * (1 - explore)
    most = contacts * np.where(limits.personal, expected.most, limits.use.max(axis=1, initial=0.0))
    root = np.sqrt(2 * SURE * most * (1 - done))
    room = np.maximum(left - 2 / 3 * SURE * most, 0)
    planned = ((np.sqrt(root**2 + 4 * room) - root) / 2) ** 2 / done  # done · x + root · sqrt(done · x) = room
    return np.where(packed, np.maximum(left, planned), limits.limit)
