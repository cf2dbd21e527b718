"""The allocation problem: values of actions by customer, the limits that customers share, and those of each one.

max Σ v_ik x_ik  subject to  Σ_ik a_jik x_ik ≤ b_j for every shared limit j, and for every customer i at most L_i
actions, one through each channel, one of each product, none that is not allowed (v_ik = -inf).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from recsys.errors import ConfigError

EVERYONE = -1
"""The group of a limit that binds all customers together."""
MOST_CONTACTS = 7
"""The most contacts with one customer."""


@dataclass(frozen=True)
class Actions:
    """What can be done with a customer: each action is of a product and goes through a channel."""

    channel: np.ndarray
    """int64 [K]: the channel, from 0."""
    product: np.ndarray
    """int64 [K]: the product, from 0."""

    def __post_init__(self) -> None:
        if len(self.channel) != len(self.product) or not len(self.channel):
            raise ConfigError(
                f"actions: {len(self.channel)} channels for {len(self.product)} products; each action has one of each"
            )

    def __len__(self) -> int:
        return len(self.channel)


@dataclass(frozen=True)
class Prices:
    """What an action is charged with: by group of customers, of one contact and of one unit of personal cost."""

    contact: np.ndarray
    """float64 [G, K]."""
    money: np.ndarray
    """float64 [G, K]."""


@dataclass(frozen=True)
class Limits:
    """Shared limits, one row each: Σ use · x ≤ limit; a minimum volume is -Σ x ≤ -volume."""

    names: tuple[str, ...]
    use: np.ndarray
    """float64 [m, K]: what one contact takes; of a `personal` row, in units of the customer's own cost."""
    limit: np.ndarray
    """float64 [m]."""
    personal: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    """bool [m]: whether the use is multiplied by the customer's own cost of the action."""
    group: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """int64 [m]: the group whose customers count, `EVERYONE` for all."""

    def __post_init__(self) -> None:
        rows = len(self.names)
        if not len(self.personal):
            object.__setattr__(self, "personal", np.zeros(rows, dtype=bool))
        if not len(self.group):
            object.__setattr__(self, "group", np.full(rows, EVERYONE, dtype=np.int64))
        lengths = {len(self.use), len(self.limit), len(self.personal), len(self.group)}
        if lengths != {rows}:
            raise ConfigError(f"limits: {rows} names for rows of {sorted(lengths)}; every limit needs one of each")
        if not (np.isfinite(self.use).all() and np.isfinite(self.limit).all()):
            raise ConfigError("limits: uses and limits must be finite numbers")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def groups(self) -> int:
        """How many groups of customers there are at least."""
        return int(self.group.max(initial=EVERYONE)) + 1

    def prices(self, dual: np.ndarray, groups: int) -> Prices:
        """What the prices of the limits, float64 [m], make each action cost in each of so many groups."""
        contact = np.zeros((groups, self.use.shape[1]))
        money = np.zeros_like(contact)
        for j, price in enumerate(dual):
            rows = slice(None) if self.group[j] == EVERYONE else slice(int(self.group[j]), int(self.group[j]) + 1)
            (money if self.personal[j] else contact)[rows] += price * self.use[j]
        return Prices(contact, money)

    def used(self, counts: np.ndarray, costs: np.ndarray) -> np.ndarray:
        """float64 [m]: what so many contacts, float64 [G, K], with these costs in all, float64 [G, K], take."""
        found = np.empty(len(self))
        for j in range(len(self)):
            taken = costs if self.personal[j] else counts
            each = taken.sum(0) if self.group[j] == EVERYONE else taken[self.group[j]]
            found[j] = float(self.use[j] @ each)
        return found

    def uses(self, costs: np.ndarray | None, group: np.ndarray | None, action: np.ndarray) -> np.ndarray:
        """float64 [m, n]: what an action of each customer takes; -1 is none. `costs` are those of these actions [n]."""
        found = np.where(action >= 0, self.use[:, action], 0.0)
        for j in range(len(self)):
            if self.personal[j]:
                found[j] *= 0.0 if costs is None else costs
            if self.group[j] != EVERYONE:
                found[j] *= 0 if group is None else group == self.group[j]
        return found


@dataclass(frozen=True)
class Part:
    """Some of the customers, such as those of a bucket; arrays may be memory-mapped."""

    values: np.ndarray
    """float32 [K, n]: what each action is worth, -inf where it is not allowed; action-major, which is read fastest."""
    costs: np.ndarray | None = None
    """float32 [K, n]: what each action costs with each customer; needed by personal limits."""
    group: np.ndarray | None = None
    """int64 [n]: the group of each customer, -1 for none; needed by limits of groups."""
    most: np.ndarray | None = None
    """int64 [n]: the most actions with each customer; None for the problem's."""

    def __len__(self) -> int:
        return int(self.values.shape[1])

    def take(self, rows: np.ndarray | slice) -> "Part":
        """Some of the customers, in memory."""
        return Part(
            np.ascontiguousarray(self.values[:, rows]),
            None if self.costs is None else np.ascontiguousarray(self.costs[:, rows]),
            None if self.group is None else self.group[rows],
            None if self.most is None else self.most[rows],
        )


def price_row(group: np.ndarray, rows: int) -> np.ndarray:
    """intp [n]: the row of prices of each customer; the last one for those in no group that a limit names."""
    return np.where((group >= 0) & (group < rows - 1), group, rows - 1).astype(np.intp)


@dataclass(frozen=True)
class Problem:
    """All of it: only prices and sums travel between the parts."""

    actions: Actions
    limits: Limits
    parts: Sequence[Part]
    most: int = 1
    """The most actions with any customer."""

    def __post_init__(self) -> None:
        self._check()

    @property
    def customers(self) -> int:
        return sum(len(part) for part in self.parts)

    @property
    def groups(self) -> int:
        """Groups of customers, at least one, and one more for those in none where there are limits of groups."""
        return self.limits.groups + 1

    def _check(self) -> None:
        count = len(self.actions)
        if self.limits.use.shape[1:] != (count,) and len(self.limits):
            raise ConfigError(f"limits: uses of {self.limits.use.shape[1]} actions, there are {count}")
        if self.most < 1:
            raise ConfigError(f"at most {self.most} actions with a customer; at least 1 is needed to plan anything")
        for part in self.parts:
            if len(part.values) != count:
                raise ConfigError(f"values of {len(part.values)} actions, there are {count}")
            if part.costs is None and self.limits.personal.any():
                raise ConfigError("a limit in the customers' own costs, but no costs are given")
            if part.group is None and self.limits.groups:
                raise ConfigError("a limit of a group of customers, but no groups are given")
