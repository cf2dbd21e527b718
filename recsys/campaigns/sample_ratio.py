"""The sample-ratio check: arms whose sizes do not fit their chances were not drawn as they should, and tell nothing."""

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc

UNLIKELY = 0.001
"""A p-value below which no verdict is given."""


@dataclass(frozen=True)
class SampleRatio:
    """Sizes of the arms beside those that their chances make one expect."""

    counts: tuple[int, ...]
    expected: tuple[float, ...]
    p: float

    @property
    def blocked(self) -> bool:
        """Whether the sizes forbid a verdict."""
        return self.p < UNLIKELY


def sample_ratio(counts: np.ndarray, shares: np.ndarray) -> SampleRatio:
    """Pearson's chi-square of arm sizes [A] against the chances [A] with which arms were drawn; these sum to one.

    Fabijan et al.: Diagnosing Sample Ratio Mismatch in Online Controlled Experiments, KDD 2019.
    """
    counts, shares = np.asarray(counts, dtype=np.float64), np.asarray(shares, dtype=np.float64)
    if len(counts) < 2 or len(counts) != len(shares) or (shares <= 0).any() or abs(shares.sum() - 1) > 1e-6:
        raise ValueError(f"shares: expected {len(counts)} positive numbers that sum to one, got {shares.tolist()}")
    expected = shares * counts.sum()
    if not counts.sum():
        return SampleRatio(tuple(int(c) for c in counts), tuple(expected.tolist()), 1.0)
    statistic = float(((counts - expected) ** 2 / expected).sum())
    p = float(chdtrc(len(counts) - 1, statistic))
    return SampleRatio(tuple(int(c) for c in counts), tuple(expected.tolist()), p)
