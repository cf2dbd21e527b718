"""Fitting of the part of an embedding that looks ahead: the customers of an earlier day, and what they did since."""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
import torch

from recsys.ahead import (
    DONE,
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


def earlier_day(config: AheadConfig, as_of: date) -> date:
    """The day from which the horizon ends on the last day of training."""
    return as_of - timedelta(days=config.horizon_days)


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
    before: Earlier,
    learning: np.ndarray,
    judging: np.ndarray,
) -> FittedAhead | str:
    """Fit the map on customers to learn from and judge it by the others, both ascending rows; why not, where it cannot.

    The floors and components are those of now, the directions those from the earlier day to now.
    """
    rows = learning[before.known[learning]]
    if len(rows) < FEWEST:
        return f"only {len(rows):,} customers did anything before the last {config.horizon_days} days"
    places = list(autoencoder.inputs.number_places)
    some = learning[:: -(-len(learning) // EDGES_ROWS)]
    width = autoencoder.scaled_width
    floors = torch.from_numpy(floors_of(np.asarray(customers.arrays["numbers"][some])[:, places], width))
    count = len(before.targets)
    now, then, judged = Moments(len(floors)), Moments(len(floors), count), Moments(len(floors), count)
    for part in _batches(learning):
        now.add(_read(autoencoder, Chosen(customers, part), floors))
    for moments, some in ((then, rows), (judged, judging[before.known[judging]])):
        for part in _batches(some):
            moments.add(_read(autoencoder, Chosen(before.customers, part), floors), before.did[part])
    fits = [directions(then, len(floors), config.directions, ridge) for ridge in RIDGES]
    shares = [told(sums @ back, then, judged) for sums, back in fits]
    best = int(np.argmax(shares))
    sums = fits[best][0]
    components = np.zeros((len(floors), 0))
    if config.components:
        found = leading(now.covariance[:width, :width], config.components)
        components = np.concatenate([found, np.zeros((len(floors) - width, found.shape[1]))])
    weight = evened(np.concatenate([components, sums], axis=1), now.covariance)
    if not weight.shape[1]:
        return "nothing about the customers varies"
    report = {
        "horizon_days": config.horizon_days,
        "targets": count,
        "customers": len(rows),
        "components": components.shape[1],
        "directions": sums.shape[1],
        "ridge": RIDGES[best],
        "told_ahead": round(shares[best], 4),
    }
    return FittedAhead(Ahead(floors, torch.from_numpy(weight.astype(np.float32))), report)


def _batches(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH)]


def _read(autoencoder: Autoencoder, chosen: Chosen, floors: torch.Tensor) -> np.ndarray:
    known = autoencoder.inputs.selected(chosen.batch(slice(None)))
    return bent(autoencoder.scaled(known), known["numbers"], floors).numpy()
