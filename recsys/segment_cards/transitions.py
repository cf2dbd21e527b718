"""Who was in which segment at an earlier day and is in which now: counts, and shares with intervals."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys.segment_cards.intervals import dirichlet
from recsys.segment_cards.suppression import FEWEST, hidden_cells


@dataclass
class Transitions:
    """Counts between two snapshots of the same customers, mergeable."""

    segments: int

    def __post_init__(self) -> None:
        self.counts = np.zeros((self.segments, self.segments))
        """float64 [from, to] customers."""
        self.new = np.zeros(self.segments)
        """float64 [to] customers of whom nothing was known at the earlier day."""

    def update(self, earlier: np.ndarray, now: np.ndarray) -> None:
        """Add customers: int64 [N] segment at the earlier day, -1 where nothing was known of them, and now."""
        if len(earlier) != len(now):
            raise ValueError(f"transitions: {len(earlier)} earlier segments for {len(now)} customers")
        known = earlier >= 0
        np.add.at(self.counts, (earlier[known], now[known]), 1)
        self.new += np.bincount(now[~known], minlength=self.segments)

    def merge(self, other: "Transitions") -> None:
        """Add what another one has seen."""
        self.counts += other.counts
        self.new += other.new

    def table(self) -> dict[str, Any]:
        """JSON: rows from, columns to, the last row those who are new; None where a cell is hidden.

        `share` is of the row's customers, the posterior mean under a Dirichlet with Jeffreys' prior, with its middle
        95 %. `stayed` is None where a cell of the diagonal is hidden, which it would help to work out.
        """
        whole = np.vstack([self.counts, self.new])
        hidden = hidden_cells(whole)
        small = (whole.sum(axis=1) < FEWEST)[:, None] | hidden
        shares = dirichlet(whole)
        stayed, known = np.trace(self.counts), self.counts.sum()

        def shown(values: np.ndarray, digits: int) -> list[list[float | None]]:
            return [
                [None if small[r, c] else round(float(values[r, c]), digits) for c in range(self.segments)]
                for r in range(len(whole))
            ]

        return {
            "counts": shown(whole, 0),
            "share": shown(shares.value, 4),
            "low": shown(shares.low, 4),
            "high": shown(shares.high, 4),
            "customers": int(known),
            "new": int(self.new.sum()) if not 0 < self.new.sum() < FEWEST else None,
            "stayed": None if not known or small.diagonal().any() else round(float(stayed / known), 4),
        }
