"""Pacing: prices that rise where live decisions use more of a limit than planned by now, and fall where they use less.

λ ← [λ + η (used - planned)]₊ over each interval, dual ascent on the limits (Balseiro and Gur 2019, adaptive pacing;
Balseiro, Lu and Mirrokni 2023, algorithm 1). Summed over intervals λ moves by η times what was used beyond the plan, so
spend returns to the plan, and stays beside it by what the change of price needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ConfigError

Floats = NDArray[np.float64]
RATE = 20.0
"""How many times its scale a price moves when as much is used beyond the plan as the whole plan uses."""


@dataclass
class Pacer:
    """Prices of m limits over a period that runs from 0 to 1, and what was used in it."""

    published: Floats
    """[m], where prices begin."""
    planned: Floats
    """[m]: what the plan uses over the period."""
    limit: Floats
    """[m]: what may be used; a minimum volume, which is negative, is left to its published price."""
    scale: Floats
    """[m]: a price that matters, for limits whose published price is 0 as for the others."""
    rate: float = RATE
    dual: Floats = field(init=False)
    used: Floats = field(init=False)
    _settled: float = field(default=0.0, init=False)
    _since: Floats = field(init=False)

    def __post_init__(self) -> None:
        sizes = {np.shape(part) for part in (self.published, self.planned, self.limit, self.scale)}
        if len(sizes) != 1:
            raise ConfigError("pacing: expected a price, a planned use, a limit and a scale for every limit")
        self.dual, self.used = self.published.copy(), np.zeros_like(self.published)
        self._since = np.zeros_like(self.published)

    def state(self) -> dict[str, Any]:
        """What `restore` needs, as JSON."""
        arrays = {"dual": self.dual, "used": self.used, "since": self._since}
        return {name: array.tolist() for name, array in arrays.items()} | {"settled": self._settled}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from where another pacer of the same prices was."""
        found = {name: np.asarray(state[name], dtype=np.float64) for name in ("dual", "used", "since")}
        if {array.shape for array in found.values()} != {self.published.shape}:
            raise ConfigError(f"pacing: expected the state of {len(self.published)} limits; it is of other prices")
        self.dual, self.used, self._since = found["dual"], found["used"], found["since"]
        self._settled = float(state["settled"])

    def fits(self, use: Floats) -> bool:
        """Whether a contact with these uses [m] stays within every limit."""
        packed = (self.limit >= 0) & (use > 0)
        return bool((self.used + use <= self.limit + 1e-9)[packed].all())

    def take(self, use: Floats) -> None:
        """Count a contact that was decided for, uses [m]."""
        self.used += use
        self._since += use

    def settle(self, elapsed: float) -> None:
        """Move the prices for the time since they were moved last; `elapsed`: the share of the period that has passed.

        Going back in time, or past the end, changes nothing.
        """
        until = min(max(elapsed, 0.0), 1.0)
        if until <= self._settled:
            return
        beyond = self._since - (until - self._settled) * self.planned
        moves = (self.limit >= 0) & (self.planned > 0)
        step = np.divide(self.rate * self.scale, self.planned, out=np.zeros_like(self.planned), where=moves)
        self.dual = np.maximum(self.dual + step * beyond, 0.0)
        self._since, self._settled = np.zeros_like(self._since), until
