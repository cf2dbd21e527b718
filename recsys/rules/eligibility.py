"""What rules leave of customers × products, or customers × channels, and which rule removed what."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

KEPT = -1
"""Stands in `removed_by` for what no rule removed."""
_MANY = 1 << 12
"""Kinds of customers that are told apart before their codes are made dense again."""


@dataclass(frozen=True)
class Removal:
    """What one condition of a rule removes, without a cell for every customer and product."""

    rule: int
    """Position of the rule."""
    level: np.ndarray | None = None
    """int64 [N]: the row of `table` that holds for each customer; None with `pairs`."""
    table: np.ndarray | None = None
    """bool [L, P]: what is removed at each level."""
    pairs: np.ndarray | None = None
    """int64 [M, 2]: single (customer, column) cells, ordered by customer."""


class Eligibility:
    """Customers × columns (products or channels) as rules leave them; kept small and spread out in slices."""

    def __init__(self, names: Sequence[str], removals: Sequence[Removal], shape: tuple[int, int]) -> None:
        """`names` are the rules' in the order of their positions; `shape` is (N, P)."""
        self.names = tuple(names)
        self.shape = shape
        self._removals = sorted(removals, key=lambda removal: removal.rule)
        self._kind, self._removed = _merged(self._removals, shape)
        """int64 [N] and bool [K, P]: customers of one kind lose the same products, single cells aside."""

    @property
    def mask(self) -> np.ndarray:
        """bool [N, P]: what is eligible."""
        return ~self.removed(slice(None))

    @property
    def removed_by(self) -> np.ndarray:
        """int16 [N, P]: position in `names` of the first rule that removed the cell, -1 where none did."""
        found = np.full(self.shape, KEPT, dtype=np.int16)
        for removal in self._removals:
            gone = _spread(removal, slice(None), self.shape)
            found[gone & (found == KEPT)] = removal.rule
        return found

    @property
    def counts(self) -> np.ndarray:
        """int64 [R, 2]: how many cells each rule removes, by itself and as the first that does."""
        found = np.zeros((len(self.names), 2), dtype=np.int64)
        gone = np.zeros(self.shape, dtype=bool)
        for rule in range(len(self.names)):
            own = np.zeros(self.shape, dtype=bool)
            for removal in self._removals:
                if removal.rule == rule:
                    own |= _spread(removal, slice(None), self.shape)
            found[rule] = own.sum(), (own & ~gone).sum()
            gone |= own
        return found

    def removed(self, rows: slice) -> np.ndarray:
        """bool [n, P]: what some rule removed, for the customers of the slice."""
        found: np.ndarray = self._removed[self._kind[rows]]
        for removal in self._removals:
            if removal.pairs is not None:
                found |= _spread(removal, rows, self.shape)
        return found


def _merged(removals: Sequence[Removal], shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The level of every table at once as one code, and what each code removes."""
    kind, removed = np.zeros(shape[0], dtype=np.int64), np.zeros((1, shape[1]), dtype=bool)
    for removal in removals:
        if removal.level is None or removal.table is None:
            continue
        levels = len(removal.table)
        kind = kind * levels + removal.level
        if len(removed) * levels > min(_MANY, max(1, shape[0])):
            used, kind = np.unique(kind, return_inverse=True)
            removed = removed[used // levels] | removal.table[used % levels]
        else:
            removed = (removed[:, None, :] | removal.table[None, :, :]).reshape(-1, shape[1])
    return kind, removed


def _spread(removal: Removal, rows: slice, shape: tuple[int, int]) -> np.ndarray:
    """bool [n, P] of one condition."""
    if removal.level is not None and removal.table is not None:
        spread: np.ndarray = removal.table[removal.level[rows]]
        return spread
    assert removal.pairs is not None
    first, last, _ = rows.indices(shape[0])
    found = np.zeros((max(0, last - first), shape[1]), dtype=bool)
    begin, end = np.searchsorted(removal.pairs[:, 0], (first, last))
    found[removal.pairs[begin:end, 0] - first, removal.pairs[begin:end, 1]] = True
    return found
