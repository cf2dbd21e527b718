"""Whether a population still looks as it did: stability index per column, with what chance alone would give."""

from dataclasses import asdict, dataclass
from math import sqrt
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from recsys.errors import DataError
from recsys.population import Cells, Population, PopulationState, counts_in
from recsys.segment_cards.suppression import FEWEST

Flag = Literal["", "watch", "act"]


class DriftConfig(BaseModel):
    """From where on a change is told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    watch: float = Field(default=0.1, gt=0)
    """A population stability index from here on is worth a look."""
    act: float = Field(default=0.25, gt=0)
    """From here on the population is another one: refit, or find out what broke."""
    level: float = Field(default=0.05, gt=0, lt=1)
    """How often, at most, any column at all is flagged where nothing has changed."""
    bins: int = Field(default=10, ge=2, le=100)
    """Cells that a number is cut into, about equally full."""

    @model_validator(mode="after")
    def _in_order(self) -> "DriftConfig":
        if self.act < self.watch:
            raise ValueError(f"act ({self.act:g}) must not be below watch ({self.watch:g})")
        return self


@dataclass(frozen=True)
class Moved:
    """One cell of a column, then and now."""

    cell: str
    before: float
    """Share of the customers, or of the mentions of a list, 0 to 1."""
    now: float
    low: float
    """Bounds of `now - before`, 95 %."""
    high: float


@dataclass(frozen=True)
class ColumnDrift:
    """How far one column has drifted."""

    column: str
    psi: float
    """Population stability index."""
    chance: float
    """What chance alone exceeds no more often than the level says, all columns together."""
    flag: Flag
    cells: tuple[Moved, ...]
    """The cells, those that add most to the index first."""
    mean: tuple[float | None, float | None] | None = None
    """Of a number: before and now."""
    median: tuple[float | None, float | None] | None = None


@dataclass(frozen=True)
class Drift:
    """Every column, the farthest drifted first."""

    before: int
    """Customers then."""
    now: int
    """Customers now."""
    columns: tuple[ColumnDrift, ...]

    @property
    def flagged(self) -> tuple[ColumnDrift, ...]:
        return tuple(column for column in self.columns if column.flag)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def drift(before: Population, now: PopulationState, config: DriftConfig) -> Drift:
    """Compare each column of a stored population with what was counted now.

    A column is flagged where its index reaches a threshold of the configuration and also exceeds `chance`, so that a
    few hundred customers raise no flag by themselves. Raises DataError if a column was not counted, or nobody was.
    """
    absent = sorted(set(before.columns) - set(now.columns))
    if absent:
        raise DataError(f"drift: {', '.join(absent)} not counted now; count the columns that the profile has")
    if not now.customers or not before.customers:
        raise DataError("drift: nobody to compare; the profile and the lake need customers")
    today = now.finish(config.bins).columns
    found = [
        column_drift(
            name,
            cells,
            counts_in(cells, now.columns[name]),
            today[name],
            (before.customers, now.customers),
            config,
            len(before.columns),
        )
        for name, cells in before.columns.items()
    ]
    found.sort(key=lambda column: (-column.psi, column.column))
    return Drift(before.customers, now.customers, tuple(found))


def column_drift(
    name: str, cells: Cells, now: np.ndarray, today: Cells, sizes: tuple[int, int], config: DriftConfig, columns: int
) -> ColumnDrift:
    """One column of `columns`: `now` float64 [C] are the counts of today in the cells of then; `sizes` the customers.

    An empty cell of then may hide up to `FEWEST - 1` customers, so that only what goes beyond their share counts.
    """
    hidden = (FEWEST - 1) * sizes[1] / sizes[0]
    then = np.array(cells.counts, dtype=np.float64)
    shown = np.where(then > 0, now, np.maximum(now - hidden, 0))
    index, parts = stability_index(then, shown)
    chance = chance_level(then, shown, config.level / columns, sizes)
    flag: Flag = ""
    if index >= config.watch and index > chance:
        flag = "act" if index >= config.act else "watch"
    order = sorted(range(len(then)), key=lambda i: (-parts[i], i))
    names = cells.names()
    moved = tuple(_moved(names[i], then[i], then.sum(), now[i], now.sum()) for i in order if then[i] or now[i])
    known = cells.words is None
    return ColumnDrift(
        name,
        index,
        chance,
        flag,
        moved,
        (cells.mean, today.mean) if known else None,
        (cells.median, today.median) if known else None,
    )


def stability_index(before: np.ndarray, now: np.ndarray) -> tuple[float, np.ndarray]:
    """The population stability index of counts [C] against counts [C], and what each cell adds to it.

    Σ (q - p) ln(q / p), with half a customer added to every cell, so that an empty one has a logarithm. Cells that
    are empty on both sides do not count. Source: Siddiqi, Credit Risk Scorecards (2006), chapter 9.
    """
    met = (before > 0) | (now > 0)
    parts = np.zeros(len(before))
    if met.sum() > 1 and before.sum() and now.sum():
        p, q = ((counts[met] + 0.5) / (counts[met] + 0.5).sum() for counts in (before, now))
        parts[met] = (q - p) * np.log(q / p)
    return float(parts.sum()), parts


def chance_level(before: np.ndarray, now: np.ndarray, level: float, sizes: tuple[int, int]) -> float:
    """The index that two samples of one population, of `sizes` customers, exceed with probability `level`.

    (1/n + 1/m) times the quantile of chi-square with cells - 1 degrees of freedom (Yurdakul, Statistical Properties
    of Population Stability Index, 2018), the quantile after Wilson and Hilferty (1931). Mentions in the list of one
    customer depend on each other, so n and m are never more than the customers.
    """
    free = int(((before > 0) | (now > 0)).sum()) - 1
    if free < 1 or not before.sum() or not now.sum():
        return 0.0
    n, m = min(before.sum(), sizes[0]), min(now.sum(), sizes[1])
    z = NormalDist().inv_cdf(1 - level)
    quantile = free * (1 - 2 / (9 * free) + z * sqrt(2 / (9 * free))) ** 3
    return float(quantile * (1 / n + 1 / m))


def _moved(cell: str, then: float, of_then: float, now: float, of_now: float) -> Moved:
    low, high = difference_interval(then, of_then, now, of_now)
    return Moved(cell, then / max(of_then, 1), now / max(of_now, 1), low, high)


def difference_interval(a: float, of_a: float, b: float, of_b: float) -> tuple[float, float]:
    """95 % bounds of b/of_b - a/of_a by Newcombe's hybrid score method (Statistics in Medicine 1998, method 10)."""
    if not of_a or not of_b:
        return -1.0, 1.0
    (p, p_low, p_high), (q, q_low, q_high) = _wilson(a, of_a), _wilson(b, of_b)
    gap = q - p
    return gap - sqrt((q - q_low) ** 2 + (p_high - p) ** 2), gap + sqrt((q_high - q) ** 2 + (p - p_low) ** 2)


def _wilson(count: float, of: float) -> tuple[float, float, float]:
    z = NormalDist().inv_cdf(0.975)
    share = count / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z * sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return share, middle - half, middle + half
