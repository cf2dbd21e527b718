"""Shapley values of groups of features through any score: what each adds to a customer's score, and to everyone's.

A group that is not yet known takes its values from a background of a few rows, aggregates that stand for customers in
general. A value is the mean, over orders in which the groups become known, of what the score moves by when its turn
comes; so a customer's values and the base, the mean score of the background, sum to the customer's score in every
single order already (Štrumbelj and Kononenko, JMLR 2010; orders in pairs of opposites: Mitchell, Cooper, Frank, Holmes,
JMLR 2022, section 4.2). The orders are drawn from a seed and are the same for every customer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.bootstrap import Interval, bootstrap_many
from recsys.errors import DataError

Arrays = Mapping[str, np.ndarray]
Score = Callable[[dict[str, np.ndarray]], np.ndarray]
"""Arrays of N rows → [N], each row's score by itself; additive on what it returns, such as log-odds."""
ROWS = 8192
"""Most rows that are scored at once."""


@dataclass(frozen=True)
class Group:
    """Columns of the arrays that become known together."""

    name: str
    columns: Mapping[str, tuple[int, ...]]
    """Array → its columns (second axis)."""


@dataclass(frozen=True)
class Shapley:
    """What each group adds to the score of each customer."""

    base: float
    """Mean score of the background."""
    values: np.ndarray
    """float64 [N, G]; base + the sum of a row is the customer's score."""
    error: np.ndarray
    """float64 [N, G] standard error over pairs of orders; NaN for a single pair."""


def shapley(
    score: Score, arrays: Arrays, background: Arrays, groups: Sequence[Group], *, rounds: int = 2, seed: int = 0
) -> Shapley:
    """Values of the groups for customers [N, …] against background rows [B, …] of the same widths.

    Each background row meets `rounds` pairs of orders. Raises DataError if a column is in no group, or in two.
    """
    place = _places(arrays, groups)
    first = next(iter(arrays.values()))
    count = len(next(iter(background.values())))
    rng = np.random.default_rng(seed)
    orders = [(b, rng.permutation(len(groups))) for _ in range(rounds) for b in range(count)]
    turns = [(b, _turn(way)) for b, order in orders for way in (order, order[::-1])]
    step = max(1, ROWS // (len(turns) * (len(groups) + 1)))
    found, errors = [], []
    for start in range(0, len(first), step):
        part = {name: values[start : start + step] for name, values in arrays.items()}
        pairs = _walks(score, part, background, turns, place).reshape(len(orders), 2, -1, len(groups)).mean(axis=1)
        found.append(pairs.mean(axis=0))
        spread = pairs.std(axis=0, ddof=1) if len(orders) > 1 else np.full(pairs.shape[1:], np.nan)
        errors.append(spread / np.sqrt(len(orders)))
    base = _scored(score, {name: np.asarray(values) for name, values in background.items()})
    return Shapley(float(base.mean()), np.concatenate(found), np.concatenate(errors))


def importance(
    values: np.ndarray, names: Sequence[str], samples: int = 1000, seed: int = 0, level: float = 0.95
) -> list[dict[str, float | str]]:
    """Each group's mean size of effect over customers [N, G], with its bootstrap interval; the greatest first.

    `rank_low` and `rank_high` bound the group's place among all, over the same resamples of customers.
    """
    sizes = {name: np.abs(values[:, g]) for g, name in enumerate(names)}
    intervals = bootstrap_many(sizes, samples=samples, seed=seed, level=level)
    ranks = _ranks(np.abs(values), samples, seed, level)
    found = [_entry(name, intervals[name], ranks[:, g]) for g, name in enumerate(names)]
    return sorted(found, key=lambda entry: (-float(entry["effect"]), str(entry["group"])))


def _entry(name: str, effect: Interval, ranks: np.ndarray) -> dict[str, float | str]:
    bounds = {"rank_low": float(ranks[0]), "rank_high": float(ranks[1])}
    return {"group": name, "effect": effect.value, "low": effect.low, "high": effect.high, **bounds}


def _ranks(sizes: np.ndarray, samples: int, seed: int, level: float) -> np.ndarray:
    """[2, G] bounds of each group's place, 1 for the greatest."""
    rng = np.random.default_rng(seed)
    places = np.empty((samples, sizes.shape[1]))
    for i in range(samples):
        drawn = np.bincount(rng.integers(0, len(sizes), len(sizes)), minlength=len(sizes))
        places[i, np.argsort(-(drawn @ sizes), kind="stable")] = np.arange(1, sizes.shape[1] + 1)
    return np.quantile(places, [(1 - level) / 2, (1 + level) / 2], axis=0, method="nearest")


def _turn(order: np.ndarray) -> np.ndarray:
    """For each group the step at which it becomes known."""
    turn = np.empty(len(order), dtype=np.int64)
    turn[order] = np.arange(len(order))
    return turn


def _walks(
    score: Score,
    arrays: Arrays,
    background: Arrays,
    turns: Sequence[tuple[int, np.ndarray]],
    place: Mapping[str, np.ndarray],
) -> np.ndarray:
    """[W, N, G] what each group adds in each walk, from its background row on and in its order; all scored at once."""
    steps = np.arange(len(turns[0][1]) + 1)
    mixed = {}
    for name, values in arrays.items():
        typical = np.asarray(background[name])
        known = np.stack([turn[place[name]][None, :] < steps[:, None] for _, turn in turns])  # [W, G + 1, columns]
        start = np.stack([typical[b] for b, _ in turns])[:, None, None]
        whole = np.where(known[:, :, None, :], values[None, None], start)
        mixed[name] = whole.reshape(-1, values.shape[1]).astype(values.dtype, copy=False)
    rows = len(next(iter(arrays.values())))
    moved = np.diff(_scored(score, mixed).reshape(len(turns), len(steps), rows), axis=1)  # [W, G, N]
    return np.stack([one[turn].T for one, (_, turn) in zip(moved, turns, strict=True)])


def _scored(score: Score, arrays: dict[str, np.ndarray]) -> np.ndarray:
    rows = len(next(iter(arrays.values())))
    found = [
        np.asarray(score({name: values[start : start + ROWS] for name, values in arrays.items()}), dtype=np.float64)
        for start in range(0, rows, ROWS)
    ]
    return np.concatenate(found)


def _places(arrays: Arrays, groups: Sequence[Group]) -> dict[str, np.ndarray]:
    """For each array the group of each of its columns."""
    found = {name: np.full(values.shape[1], -1, dtype=np.int64) for name, values in arrays.items()}
    for g, group in enumerate(groups):
        for name, columns in group.columns.items():
            if name not in found:
                continue
            there = found[name][list(columns)]
            if (there >= 0).any():
                raise DataError(
                    f"shapley: a column of {name} is in {group.name} and in {groups[int(there.max())].name}"
                )
            found[name][list(columns)] = g
    for name, place in found.items():
        if (place < 0).any():
            raise DataError(f"shapley: columns {np.flatnonzero(place < 0).tolist()} of {name} are in no group")
    return found
