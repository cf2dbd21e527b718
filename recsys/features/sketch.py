"""A mergeable histogram of one number: quantiles to 1 %, in one pass, the same in whatever order rows come."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

GROWTH = 1.02
"""Ratio of neighbouring bin bounds: relative error of a quantile is (GROWTH - 1) / (GROWTH + 1).
Masson, Rim, Lee: DDSketch, VLDB 2019, section 2."""
_SHIFT = 1_200
_TINY = 1e-9


@dataclass
class Sketch:
    """Counts per logarithmic bin; code 0 is zero, negative codes are negative numbers."""

    counts: Counter[int] = field(default_factory=Counter)
    missing: int = 0

    def update(self, values: np.ndarray) -> None:
        """Add float64 values [N]; NaN counts as missing."""
        known = values[~np.isnan(values)]
        self.missing += len(values) - len(known)
        size = np.abs(known)
        with np.errstate(divide="ignore"):
            code = np.ceil(np.log(size) / np.log(GROWTH)).clip(-_SHIFT + 1, 1e6) + _SHIFT
        code = np.where(size < _TINY, 0, np.sign(known) * code).astype(np.int64)
        codes, counts = np.unique(code, return_counts=True)
        self.counts.update(dict(zip(codes.tolist(), counts.tolist(), strict=True)))

    def merge(self, other: "Sketch") -> None:
        """Add what another sketch has seen."""
        self.counts.update(other.counts)
        self.missing += other.missing

    def bins(self) -> tuple[np.ndarray, np.ndarray]:
        """Representative values, ascending, and their counts."""
        codes = np.array(sorted(self.counts), dtype=np.int64)
        counts = np.array([self.counts[int(code)] for code in codes], dtype=np.float64)
        size = 2.0 * GROWTH ** (np.abs(codes) - _SHIFT) / (GROWTH + 1.0)
        return np.sign(codes) * size, counts


def quantile(values: np.ndarray, counts: np.ndarray, q: float) -> float:
    """The value below which a share q of the counts lies; values ascending, not empty."""
    cumulative = np.cumsum(counts)
    return float(values[min(int(np.searchsorted(cumulative, q * cumulative[-1])), len(values) - 1)])
