"""A log of drawn decisions, and a policy's probabilities over it; what cannot be evaluated is refused here."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

EXACT = 1e-6
"""How far probabilities of one decision may sum from 1."""


@dataclass(frozen=True)
class Log:
    """N decisions: which of A actions was drawn, with which probability, and what it earned."""

    action: Ints  # [N] index of `actions`
    propensity: Floats  # [N] probability with which that action was drawn, in (0, 1]
    reward: Floats  # [N] in the unit that values are told in
    customer: Ints  # [N] decisions of one customer are resampled together
    actions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.action)

    def some(self, rows: NDArray[np.generic]) -> "Log":
        """The decisions at `rows` (indices or flags)."""
        customer = np.unique(self.customer[rows], return_inverse=True)[1].reshape(-1).astype(np.int64)
        return Log(self.action[rows], self.propensity[rows], self.reward[rows], customer, self.actions)


def make_log(
    action: np.ndarray,
    propensity: np.ndarray,
    reward: np.ndarray,
    actions: Sequence[str],
    customer: np.ndarray | None = None,
) -> Log:
    """The log, checked; `customer` [N] is any key of each decision's customer (None: every decision is of another).

    Raises DataError for an empty log, lengths that differ, an action that is none of `actions`, and propensities that
    are missing, 0 (what was drawn cannot have been impossible), negative or above 1.
    """
    names, size = tuple(actions), len(np.asarray(action))
    if size == 0:
        raise DataError("log: it holds no decision; there is nothing to evaluate a policy on")
    arrays = {"propensity": propensity, "reward": reward} | ({} if customer is None else {"customer": customer})
    for name, values in arrays.items():
        if np.shape(values) != (size,):
            raise DataError(f"log.{name}: expected one value for each of {size:,} decisions, got {np.shape(values)}")
    chosen = np.asarray(action, dtype=np.int64)
    outside = np.flatnonzero((chosen < 0) | (chosen >= len(names)))
    if len(outside):
        raise DataError(f"log.action: {len(outside):,} of {size:,} name none of the {len(names)} actions")
    drawn, earned = np.asarray(propensity, dtype=np.float64), np.asarray(reward, dtype=np.float64)
    _check_propensity(drawn)
    bad = np.flatnonzero(~np.isfinite(earned))
    if len(bad):
        raise DataError(f"log.reward: {len(bad):,} of {size:,} are missing or not finite (first: row {bad[0]})")
    whose = np.arange(size) if customer is None else np.unique(np.asarray(customer), return_inverse=True)[1].reshape(-1)
    return Log(chosen, drawn, earned, whose.astype(np.int64), names)


def _check_propensity(drawn: Floats) -> None:
    missing = int(np.isnan(drawn).sum())
    if missing:
        raise DataError(
            f"log.propensity: {missing:,} of {len(drawn):,} are missing; log the probability with which each decision "
            "was drawn, or leave these decisions out"
        )
    zero = int((drawn <= 0).sum())
    if zero:
        raise DataError(
            f"log.propensity: {zero:,} of {len(drawn):,} are 0 or less, though the action was drawn; a drawn action's "
            "probability lies above 0"
        )
    above = int((drawn > 1).sum())
    if above:
        raise DataError(f"log.propensity: {above:,} of {len(drawn):,} are above 1; probabilities lie in (0, 1]")


def check_policy(probabilities: np.ndarray, log: Log) -> Floats:
    """The policy's probabilities, float64 [N, A], if each decision's are in [0, 1] and sum to 1; else DataError."""
    given = np.asarray(probabilities, dtype=np.float64)
    if given.shape != (len(log), len(log.actions)):
        raise DataError(
            f"policy: expected probabilities of {len(log.actions)} actions for each of {len(log):,} decisions, "
            f"got {given.shape}"
        )
    if not np.isfinite(given).all() or (given < 0).any():
        raise DataError("policy: some probabilities are negative or not finite; they lie in [0, 1]")
    off = np.flatnonzero(np.abs(given.sum(axis=1) - 1) > EXACT)
    if len(off):
        raise DataError(
            f"policy: the probabilities of {len(off):,} of {len(log):,} decisions do not sum to 1 "
            f"(first: decision {off[0]}, sum {given[off[0]].sum():.6f})"
        )
    return given


def taken(values: Floats, log: Log) -> Floats:
    """Of `values` [N, A] those of the actions that were drawn, [N]."""
    drawn: Floats = values[np.arange(len(log)), log.action]
    return drawn


def importance_weights(log: Log, probabilities: Floats) -> Floats:
    """w = π(a | x) / propensity of the drawn actions, [N]; their mean is 1 in expectation where nothing is missing."""
    return taken(probabilities, log) / log.propensity
