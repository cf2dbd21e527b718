"""Effects among customers alike: both sides of a column, all other columns equal, doubly robust and cross-fitted."""

from dataclasses import dataclass, replace

import numpy as np

from recsys.drivers.columns import Columns, Contrast
from recsys.drivers.effects import Effect, difference, e_value, mean_had_all, observed
from training.driver_models import cross_folds, fit, score

FOLDS = 4
ROUNDS = 60
OVERLAP = 0.05
"""Rows whose chance of either side is less are not compared: there are too few alike on that side."""
LEAST_COMPARED = 0.25
"""Share of the rows that must be comparable."""


@dataclass(frozen=True)
class Compared:
    """One contrast: what is observed, and what remains among customers alike."""

    contrast: Contrast
    observed: Effect
    adjusted: Effect | None
    refused: str
    """Why there is no adjusted effect; empty if there is."""
    overlap: float
    """Share of the rows that have others like them on the other side."""
    not_equal: tuple[str, ...]
    """Columns that say nearly the same and were not held equal."""
    e_value: float | None


def compare(
    columns: Columns,
    contrast: Contrast,
    outcome: np.ndarray,
    customer: np.ndarray,
    seed: int,
    among: np.ndarray | None = None,
) -> Compared:
    """The difference between the two sides of a contrast, all told by customers' rows [N].

    `among` marks the rows that are looked at, by default all. Columns that say nearly what its own does are
    not held equal. Means are of the rows with overlap (Crump et al., Biometrika 2009).
    """
    side = contrast.side(columns.at(contrast.column), columns.words.get(contrast.column, ()))
    rows = np.flatnonzero(~np.isnan(side) & (True if among is None else among))
    exposed = side[rows] == 1
    with_it, without = (observed(outcome[rows], taken) for taken in (exposed, ~exposed))
    plain = difference(with_it, without, _dense(customer[rows]))
    near = tuple(columns.alike(contrast.column))
    held = columns.some(rows).without(near)
    chance, predicted = _nuisances(held, contrast.column, outcome[rows], _dense(customer[rows]), exposed, seed)
    inside = (chance >= OVERLAP) & (chance <= 1 - OVERLAP)
    overlap = float(inside.mean())
    if overlap < LEAST_COMPARED:
        why = f"only {overlap:.0%} of the rows have others like them on the other side"
        return Compared(contrast, plain, None, why, overlap, near, None)
    y, who = outcome[rows][inside], _dense(customer[rows][inside])
    treated, untreated = (
        mean_had_all(y, taken[inside], likely[inside], predicted[inside, place])
        for place, taken, likely in ((1, exposed, chance), (0, ~exposed, 1 - chance))
    )
    effect = difference(treated, untreated, who)
    return Compared(contrast, plain, effect, "", overlap, near, e_value(effect))


def _nuisances(
    columns: Columns, own: str, outcome: np.ndarray, customer: np.ndarray, exposed: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Chance of the one side [n], and the outcome on either side [n, 2], from models of the other folds.

    `own` is the column of the contrast, which becomes the side itself.
    """
    place = columns.names.index(own)
    sides = [columns.values.copy() for _ in range(3)]
    for values, side in zip(sides, (np.zeros(len(exposed)), np.ones(len(exposed)), exposed.astype(float)), strict=True):
        values[:, place] = side
    neither, actual = replace(columns, values=sides[0]), replace(columns, values=sides[2])
    chance, predicted = np.empty(len(exposed)), np.empty((len(exposed), 2))
    for other, held in cross_folds(customer, FOLDS, seed):
        taken = fit(neither, exposed.astype(float), other, seed, glass=False, rounds=ROUNDS)
        chance[held] = score(taken, sides[0][held])
        model = fit(actual, outcome, other, seed, glass=False, rounds=ROUNDS)
        for which in (0, 1):
            predicted[held, which] = score(model, sides[which][held])
    return np.clip(chance, 1e-3, 1 - 1e-3), predicted


def _dense(customer: np.ndarray) -> np.ndarray:
    return np.unique(customer, return_inverse=True)[1]
