"""Do those who buy often also spend more at a time? The model of amounts takes it that they do not."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.bootstrap import Interval, block_of, resampling_weights

LIMIT = 0.1
"""A correlation whose whole interval lies beyond this, on either side, is worth a warning."""
STEPS = (1, 2, 3, 5, 9, 17)
"""The groups of frequency: from each of these to before the next."""
FEWEST = 10
SAMPLES = 500


@dataclass(frozen=True)
class Independence:
    """How frequency and mean spend go together among customers who bought again."""

    customers: int
    correlation: Interval

    @property
    def holds(self) -> bool:
        """Whether the correlation is not beyond doubt larger than the limit."""
        return self.correlation.low <= LIMIT and self.correlation.high >= -LIMIT


def independence(frequency: np.ndarray, spend: np.ndarray, seed: int = 0) -> Independence | None:
    """Correlation of frequency [N] and mean spend at a time, with its bootstrap interval; None below ten customers.

    Pearson's: the mean of few skewed amounts lies below their expectation more often than that of many, so ranks go
    together even where the model holds.
    """
    use = (frequency > 0) & (spend > 0)
    x, amount = frequency[use].astype(np.float64), spend[use].astype(np.float64) / frequency[use]
    if len(x) < FEWEST or np.ptp(x) == 0 or np.ptp(amount) == 0:
        return None
    x, amount = x - x.mean(), amount / amount.mean() - 1
    block = block_of(len(x))
    columns = (np.ones(len(x)), x, amount, x * x, amount * amount, x * amount)
    brought = np.stack([np.bincount(block, weights=column) for column in columns], axis=1)
    rng = np.random.default_rng(seed)
    drawn = [weights @ brought for weights in resampling_weights(len(brought), SAMPLES, rng)]
    each = _correlation(np.concatenate([brought.sum(axis=0)[None], *drawn]))
    low, high = np.nanquantile(each[1:], [0.025, 0.975])
    return Independence(len(x), Interval(float(each[0]), float(low), float(high)))


def _correlation(sums: np.ndarray) -> np.ndarray:
    """[S] from sums [S, 6] of 1, x, y, x², y², xy."""
    count, x, y, xx, yy, xy = sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return (xy - x * y / count) / np.sqrt((xx - x * x / count) * (yy - y * y / count))


def by_frequency(frequency: np.ndarray, spend: np.ndarray, expected: np.ndarray) -> pl.DataFrame:
    """Groups by frequency: `from`, `to`, `customers`, mean `spend` at a time and what the model expects of it.

    A group of fewer than ten customers is joined to the one before it.
    """
    use = (frequency > 0) & (spend > 0)
    x, amount, model = frequency[use], spend[use] / frequency[use], expected[use]
    group = np.searchsorted(STEPS, x, side="right") - 1
    for place in range(len(STEPS) - 1, 0, -1):
        if 0 < (group == place).sum() < FEWEST:
            group = np.where(group == place, place - 1, group)
    found = []
    for place in np.unique(group):
        rows = group == place
        if rows.sum() >= FEWEST:
            found.append(
                (int(x[rows].min()), int(x[rows].max()), int(rows.sum()), amount[rows].mean(), model[rows].mean())
            )
    return pl.DataFrame(found, schema=["from", "to", "customers", "spend", "expected"], orient="row")
