"""The random hold-out of a retention list, and how large an effect it will be able to show."""

import numpy as np
import polars as pl

from recsys.lake.buckets import stable_hashes

Z_TEST, Z_POWER = 1.959963984540054, 0.8416212335729143
"""A two-sided test at 5 %, and a power of 80 %."""


def held_out(ids: pl.Series, share: float, seed: int) -> np.ndarray:
    """bool [N]: drawn with probability `share` by a hash of seed and id, whatever the order and the other customers."""
    salted = pl.select(pl.lit(f"retention:{seed}:") + ids).to_series()
    return stable_hashes(salted) < np.uint64(share * 2.0**63) * np.uint64(2)


def detectable(probability: np.ndarray, held: np.ndarray) -> float | None:
    """The smallest save rate that shows as a difference of the arms 4 times of 5; None if none, or an arm is too small.

    Two shares of leavers are compared, the mean chance to leave being that of the list (normal approximation).
    """
    kept = probability[~held]
    rest = probability[held]
    if min(len(kept), len(rest)) < 10:
        return None
    mean = float(probability.mean())
    error = np.sqrt(mean * (1 - mean) * (1 / len(kept) + 1 / len(rest)))
    rate = float((Z_TEST + Z_POWER) * error / mean) if mean > 0 else np.inf
    return rate if rate <= 1 else None
