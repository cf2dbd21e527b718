"""Logs of a policy whose every alternative has a known value."""

from functools import cache

import numpy as np

from recsys.campaigns.ope.log import Log, make_log

ACTIONS = ("none", "e-mail", "call")


def rates(x: np.ndarray) -> np.ndarray:
    """[N, 3] true chance of a reward: e-mail helps where x is high, a call where it is low."""
    slopes = np.array([0.0, 1.2, -1.2])
    return 1 / (1 + np.exp(-(-1.2 + slopes * x[:, None])))


def policy(x: np.ndarray, sharp: float = 1.5) -> np.ndarray:
    """[N, 3] probabilities that favour the better action."""
    score = sharp * np.stack([np.zeros(len(x)), x, -x], axis=1)
    weight = np.exp(score)
    return weight / weight.sum(axis=1, keepdims=True)


def drawn(size: int, seed: int, behaviour: float = -0.4) -> tuple[Log, np.ndarray]:
    """A log of `size` decisions by `policy(x, behaviour)`, and the context x [N, 1]."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=size)
    chances = policy(x, behaviour)
    action = (rng.random(size)[:, None] > chances.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    every = np.arange(size)
    reward = (rng.random(size) < rates(x)[every, action]).astype(float)
    return make_log(action, chances[every, action], reward, ACTIONS), x[:, None]


@cache
def true_value(sharp: float) -> float:
    x = np.random.default_rng(99).normal(size=200_000)
    return float((policy(x, sharp) * rates(x)).sum(axis=1).mean())
