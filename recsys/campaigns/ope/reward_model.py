"""A model of the reward of every action, cross-fitted by customer: ridge regression, logistic where rewards are 0 or 1.

Linear in the context and in the action, and where `crossed` in their products, too, which is a model per action that
leans on the common one. Estimators that use it stay right without it being so; DM does not.
"""

import numpy as np

from recsys.campaigns.ope.log import Floats, Log
from recsys.errors import DataError

RIDGE = 1.0
"""Penalty on each coefficient of a standardised column but the constant's: half of it times the square."""
STEPS = 25
CHANGED = 1e-6
"""Newton's method ends when no coefficient moves by more."""


def cross_fitted(
    log: Log, context: Floats, *, crossed: bool = False, folds: int = 3, seed: int = 0, ridge: float = RIDGE
) -> Floats:
    """q(x, a), float64 [N, A]: each row from models that saw none of its customer's decisions.

    context: float64 [N, D], without missing values. Raises DataError for a context of another length or with values
    that are not finite. Where fewer customers than folds exist, the mean reward stands for q.
    """
    given: Floats = np.asarray(context, dtype=np.float64)
    if given.ndim != 2 or len(given) != len(log) or not np.isfinite(given).all():
        raise DataError(f"context: expected finite numbers, {len(log):,} rows of them, got {given.shape}")
    customers, actions = int(log.customer.max()) + 1, len(log.actions)
    if customers < folds:
        return np.full((len(log), actions), log.reward.mean())
    spread = given.std(axis=0)
    scaled = np.asarray((given - given.mean(axis=0)) / np.where(spread > 0, spread, 1.0), dtype=np.float64)
    fold = (np.random.default_rng(seed).permutation(customers) % folds)[log.customer]
    q = np.empty((len(log), actions))
    binary = bool(np.isin(log.reward, (0.0, 1.0)).all())
    for part in range(folds):
        inside, outside = fold != part, fold == part
        design = _design(scaled[inside], log.action[inside], actions, crossed)
        solve = logistic if binary else linear
        beta = solve(design, log.reward[inside], ridge)
        for action in range(actions):
            here = np.full(int(outside.sum()), action)
            score = _design(scaled[outside], here, actions, crossed) @ beta
            q[outside, action] = _sigmoid(score) if binary else score
    return q


def _design(context: Floats, action: np.ndarray, actions: int, crossed: bool) -> Floats:
    """The constant, the context, the action one-hot and, where crossed, the context in its action's columns."""
    hot = np.zeros((len(context), actions))
    hot[np.arange(len(context)), action] = 1.0
    parts = [np.ones((len(context), 1)), context, hot]
    if crossed:
        parts.append((hot[:, :, None] * context[:, None, :]).reshape(len(context), -1))
    return np.concatenate(parts, axis=1)


def linear(design: Floats, target: Floats, ridge: float) -> Floats:
    """Ridge coefficients [D]; the first column is the constant and is not penalised."""
    penalty = np.full(design.shape[1], ridge)
    penalty[0] = 0.0
    return np.asarray(np.linalg.solve(design.T @ design + np.diag(penalty + 1e-9), design.T @ target), dtype=np.float64)


def logistic(design: Floats, target: Floats, ridge: float) -> Floats:
    """Ridge logistic coefficients [D] by Newton's method (iteratively reweighted least squares).

    The constant is penalised as one decision in ten thousand, so that a log without a single reward has a fit.
    """
    penalty = np.full(design.shape[1], ridge)
    penalty[0] = 1e-4
    beta = np.zeros(design.shape[1])
    share = float(np.clip(target.mean(), 1e-4, 1 - 1e-4))
    beta[0] = np.log(share / (1 - share))
    for _ in range(STEPS):
        chance = _sigmoid(design @ beta)
        curve = np.maximum(chance * (1 - chance), 1e-9)
        slope = design.T @ (target - chance) - penalty * beta
        step = np.linalg.solve((design * curve[:, None]).T @ design + np.diag(penalty), slope)
        beta = beta + step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        if float(np.abs(step).max()) < CHANGED:
            break
    return beta


def _sigmoid(score: Floats) -> Floats:
    chance: Floats = 1 / (1 + np.exp(-np.clip(score, -35, 35)))
    return chance
