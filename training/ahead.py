"""Fitting of the part of an embedding that looks ahead: the customers of earlier days, and what they did since."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
import torch

from recsys.ahead import (
    DONE,
    KNOTS,
    RIDGES,
    Ahead,
    AheadConfig,
    Moments,
    bent,
    directions,
    evened,
    floors_of,
    leading,
    targets_of,
    told,
)
from recsys.autoencoder import Autoencoder, Inputs
from recsys.errors import DataError
from recsys.features.definition import FeatureDefinition
from training.customers import Chosen, Customers

FEWEST = 100
"""Customers who did something before the earlier day, below which nothing is learned."""
NEARLY = 0.995
"""Of the penalties that tell so much of what the best one tells, the highest is taken: now is not as it was then."""
EDGES_ROWS = 200_000
"""Customers from whom the places where the map bends are taken at most."""
_BATCH = 4096


@dataclass(frozen=True)
class Earlier:
    """The customers as they were on an earlier day, and what they did from it on."""

    customers: Customers
    """In the order of the customers of now."""
    known: np.ndarray
    """bool [N]: who had done anything before that day."""
    did: np.ndarray
    """bool [N, T]: whether they did each thing, of `targets`, between that day and now."""
    targets: tuple[str, ...]


@dataclass(frozen=True)
class FittedAhead:
    """The part, and what is told of it."""

    model: Ahead
    report: dict[str, object]


def refusal(config: AheadConfig | None, definition: FeatureDefinition, inputs: Inputs) -> str | None:
    """Why nothing is learned of what customers do next, None if something can be."""
    if config is None:
        return "not asked for"
    if not definition.dated:
        return "the lake has no dated events"
    if config.horizon_days not in definition.windows:
        return f"{config.horizon_days} days are none of features.windows"
    if not targets_of(inputs, config.horizon_days):
        return "no transactions or interactions are read"
    return None


def earlier_days(config: AheadConfig, as_of: date) -> list[date]:
    """The days that are learned from, the latest first: the horizon from it ends on the last day of training."""
    return [as_of - timedelta(days=config.horizon_days * (i + 1)) for i in range(config.snapshots)]


def earlier(now: Customers, then: Customers, definition: FeatureDefinition, targets: tuple[str, ...]) -> Earlier:
    """What lies between two days, of which `then` is the earlier by the horizon, from the counts that end on each.

    Raises DataError if the two are not the same customers.
    """
    whole = f".{definition.windows[-1]}d"
    active = [name for name in definition.activity if name.startswith(DONE) and name.endswith(whole)]
    known, did = [], []
    for path, old in zip(now.rows, then.rows, strict=True):
        after = pl.read_parquet(path, columns=["customer_id", *targets])
        before = pl.read_parquet(old, columns=["customer_id", *active])
        if not after["customer_id"].equals(before["customer_id"]):
            raise DataError(f"{path} and {old} hold different customers; delete the folder and train again")
        known.append((before.select(active).to_numpy() > 0).any(axis=1))
        did.append(after.select(targets).to_numpy() > 0)
    return Earlier(then, np.concatenate(known), np.concatenate(did), targets)


@torch.no_grad()
def fit_ahead(
    config: AheadConfig,
    autoencoder: Autoencoder,
    customers: Customers,
    before: Sequence[Earlier],
    learning: np.ndarray,
    judging: np.ndarray,
) -> FittedAhead | str:
    """Fit the map on customers to learn from and judge it by the others, both ascending rows; why not, where it cannot.

    `before` are the earlier days, the latest first, which alone is judged by. The floors and components are those of
    now, the directions those from each earlier day to the next.
    """
    taken = [(one, learning[one.known[learning]]) for one in before]
    if len(taken[0][1]) < FEWEST:
        return f"only {len(taken[0][1]):,} customers did anything before the last {config.horizon_days} days"
    taken = [(one, rows) for one, rows in taken if len(rows) >= FEWEST]
    places = list(autoencoder.inputs.number_places)
    some = learning[:: -(-len(learning) // EDGES_ROWS)]
    width = autoencoder.scaled_width
    floors = torch.from_numpy(floors_of(np.asarray(customers.arrays["numbers"][some])[:, places], width))

    def read(chosen: Chosen) -> np.ndarray:
        known = autoencoder.inputs.selected(chosen.batch(slice(None)))
        return bent(autoencoder.scaled(known), known["numbers"], floors).numpy()

    now, fit = _fit(config, read, customers, taken, learning, judging)
    lines, turns = np.zeros((len(floors), 0), np.float32), np.zeros(0, np.float32)
    first = evened(fit.sums, now.covariance)[:, : config.bends].astype(np.float32)
    if first.shape[1]:
        along = np.concatenate([read(Chosen(customers, part)) @ first for part in _batches(some)])
        turns = np.quantile(along, KNOTS, axis=0, method="lower").astype(np.float32).ravel()
        lines = np.tile(first, len(KNOTS))

        def read_on(chosen: Chosen) -> np.ndarray:
            row = read(chosen)
            return np.concatenate([row, np.maximum(row @ lines, turns)], axis=1)

        now, fit = _fit(config, read_on, customers, taken, learning, judging)
    components = np.zeros((len(fit.sums), 0))
    if config.components:
        found = leading(now.covariance[:width, :width], config.components)
        components = np.concatenate([found, np.zeros((len(fit.sums) - width, found.shape[1]))])
    weight = evened(np.concatenate([components, fit.sums], axis=1), now.covariance).astype(np.float32)
    if not weight.shape[1]:
        return "nothing about the customers varies"
    report = {
        "horizon_days": config.horizon_days,
        "snapshots": len(taken),
        "targets": len(before[0].targets),
        "customers": len(taken[0][1]),
        "components": components.shape[1],
        "directions": fit.sums.shape[1],
        "bends": first.shape[1],
        "ridge": fit.ridge,
        "told_ahead": round(fit.told, 4),
    }
    straight, beyond = np.split(weight, [len(floors)])
    return FittedAhead(Ahead(floors, *map(torch.from_numpy, (straight, lines, turns, beyond))), report)


@dataclass(frozen=True)
class _Directions:
    sums: np.ndarray
    """[W, R] from what is read to what tells most of what is to come."""
    ridge: float
    told: float
    """Share of the variance of what customers that were kept out did."""


def _fit(
    config: AheadConfig,
    read: Callable[[Chosen], np.ndarray],
    customers: Customers,
    taken: Sequence[tuple[Earlier, np.ndarray]],
    learning: np.ndarray,
    judging: np.ndarray,
) -> tuple[Moments, _Directions]:
    """Moments of what is read now, and the directions from the earlier days on."""
    latest, count = taken[0][0], len(taken[0][0].targets)
    width = read(Chosen(customers, learning[:1])).shape[1]
    now, then, judged = Moments(width), Moments(width, count), Moments(width, count)
    for part in _batches(learning):
        now.add(read(Chosen(customers, part)))
    wanted = [(then, one, rows) for one, rows in taken] + [(judged, latest, judging[latest.known[judging]])]
    for moments, one, rows in wanted:
        for part in _batches(rows):
            moments.add(read(Chosen(one.customers, part)), one.did[part])
    fits = [directions(then, width, config.directions, ridge) for ridge in RIDGES]
    shares = [told(sums @ back, then, judged) for sums, back in fits]
    best = int(np.flatnonzero(np.array(shares) >= max(shares) * (NEARLY if max(shares) > 0 else 1))[-1])
    return now, _Directions(fits[best][0], RIDGES[best], shares[best])


def _batches(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH)]
