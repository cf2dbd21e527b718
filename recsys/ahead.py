"""What a customer will do next, as a linear map of what is known of them now, found in closed form and without labels.

A reduced-rank ridge regression (Izenman, Journal of Multivariate Analysis 1975) from the features of an earlier day to
whether each thing was done at all between then and now, bent where single numbers and its own first directions pass
some of their quantiles. Its directions say what is to come; principal components of the features beside them say what
is, without the noise that an autoencoder must live with.
"""

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from recsys.autoencoder import Inputs
from recsys.features.definition import HOLDING_KINDS

KNOTS = (0.1, 0.3, 0.6)
"""Quantiles of each number, and of the leading directions, from which on it is read once more, so that the map may bend
there."""
DONE = ("transactions.", "interactions.")
"""How the names of numbers begin that say what customers do."""
RIDGES = (1e-3, 1e-2, 1e-1, 1.0)
"""Penalties, ascending, of which customers that were kept out pick one: the fewer customers, the higher."""
_NOTHING = 1e-9


class AheadConfig(BaseModel):
    """What a customer does next, as part of the embedding."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    horizon_days: int = Field(default=90, ge=1)
    """Days that are looked ahead; one of `features.windows`."""
    snapshots: int = Field(default=2, ge=1, le=24)
    """Earlier days, this horizon apart, that are learned from."""
    directions: int = Field(default=24, ge=1, le=1024)
    """Most directions of what is done within them: transactions by category and channel, and kinds of interaction."""
    bends: int = Field(default=4, ge=0, le=64)
    """Leading directions along which the map bends, too; 0 for none."""
    components: int = Field(default=32, ge=0, le=1024)
    """Most principal components of the scaled features beside them."""


class Ahead(nn.Module):
    """Scaled features [N, W] and numbers [N, M] of customers → [N, D].

    `floors` [W + K · M] are what the features, and the numbers K times after them, are lifted to at least; `weight`
    [W + K · M, D] is the map of what they are then. Where it bends along directions, `lines` [W + K · M, B] are these,
    `turns` [B] what they are lifted to at least, `beyond` [B, D] the map of what they are then.
    """

    def __init__(
        self,
        floors: Tensor,
        weight: Tensor,
        lines: Tensor | None = None,
        turns: Tensor | None = None,
        beyond: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.dim = weight.shape[1]
        self.register_buffer("floors", floors)
        self.register_buffer("weight", weight)
        self.register_buffer("lines", torch.zeros(len(weight), 0) if lines is None else lines)
        self.register_buffer("turns", torch.zeros(0) if turns is None else turns)
        self.register_buffer("beyond", torch.zeros(0, self.dim) if beyond is None else beyond)

    def forward(self, scaled: Tensor, numbers: Tensor) -> Tensor:
        """Not yet centred: the embedding does that, as for its other parts."""
        row = bent(scaled, numbers, self.get_buffer("floors"))
        lifted = torch.maximum(row @ self.get_buffer("lines"), self.get_buffer("turns"))
        return row @ self.get_buffer("weight") + lifted @ self.get_buffer("beyond")


def bent(scaled: Tensor, numbers: Tensor, floors: Tensor) -> Tensor:
    """[N, W + K · M] what the map reads; no more is known of a number below its floor than that it is below."""
    return torch.maximum(torch.cat([scaled, *[numbers] * len(KNOTS)], dim=1), floors)


def floors_of(numbers: np.ndarray, width: int) -> np.ndarray:
    """float32 [W + K · M] from numbers [N, M] of customers and the width W of the scaled features, which have none."""
    lowest = np.full(width, np.finfo(np.float32).min, dtype=np.float32)
    return np.concatenate([lowest, *np.quantile(numbers, KNOTS, axis=0, method="lower").astype(np.float32)])


def targets_of(inputs: Inputs, horizon_days: int) -> tuple[str, ...]:
    """The numbers, among those that may be read, which say what a customer did within the horizon.

    Not what the bank did (contacts), nor what products came and went: that is what other models are asked for.
    """
    never = tuple(f"interactions.{kind}." for kind in HOLDING_KINDS)
    ending = (name for name in inputs.numbers if name.endswith(f".{horizon_days}d"))
    return tuple(name for name in ending if name.startswith(DONE) and not name.startswith(never))


class Moments:
    """Means and covariances of rows x [N, W], and with what follows them, y [N, T], added up batch by batch."""

    def __init__(self, width: int, targets: int = 0) -> None:
        self.count, self._width = 0, width
        self._sums = np.zeros(width + targets)
        self._products = np.zeros((width + targets, width + targets))

    def add(self, x: np.ndarray, y: np.ndarray | None = None) -> None:
        """Rows of the next batch."""
        both = (x if y is None else np.concatenate([x, y], axis=1)).astype(np.float64)
        self.count += len(x)
        self._sums += both.sum(axis=0)
        self._products += both.T @ both

    def settled(self) -> tuple[np.ndarray, np.ndarray]:
        """[W + T] the means of x and y, [W + T, W + T] their covariance."""
        means = self._sums / max(self.count, 1)
        return means, self._products / max(self.count, 1) - np.outer(means, means)

    @property
    def covariance(self) -> np.ndarray:
        """[W, W] of x."""
        return self.settled()[1][: self._width, : self._width]


def directions(then: Moments, width: int, most: int, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """[W, R] and [R, T]: x of `width` columns to the sums that tell most of y, and those to y, about the means."""
    covariance = then.settled()[1]
    within, across = covariance[:width, :width], covariance[:width, width:]
    slopes = np.linalg.solve(within + ridge * np.eye(width), across)
    chosen = leading(slopes.T @ within @ slopes, most)
    return slopes @ chosen, chosen.T


def told(slopes: np.ndarray, then: Moments, judged: Moments) -> float:
    """Share of the variance of y in `judged` that the slopes [W, T], about the means of `then`, tell; 0 for none."""
    width = len(slopes)
    means, covariance = judged.settled()
    away = means - then.settled()[0]
    off = away[width:] - away[:width] @ slopes
    spread = float(np.trace(covariance[width:, width:]) + away[width:] @ away[width:])
    left = np.trace(covariance[width:, width:]) - 2 * (slopes * covariance[:width, width:]).sum()
    left += (slopes * (covariance[:width, :width] @ slopes)).sum() + off @ off
    return 1 - float(left) / spread if spread > 0 else 0.0


def leading(matrix: np.ndarray, most: int) -> np.ndarray:
    """[D, R] eigenvectors of a covariance [D, D], the largest first, without those of no variance.

    The entry of a vector that is farthest from 0 is above it.
    """
    values, vectors = np.linalg.eigh(matrix)
    kept = np.argsort(-values, kind="stable")[:most]
    kept = kept[values[kept] > _NOTHING * max(1.0, float(values.max(initial=0.0)))]
    found: np.ndarray = vectors[:, kept]
    signs = np.sign(found[np.abs(found).argmax(axis=0), np.arange(len(kept))])
    return found * signs


def evened(weight: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The weight [W, D] with each column scaled so that x, of this covariance, has variance 1 through it.

    A column through which x does not vary is left out.
    """
    variance = np.einsum("wd,wv,vd->d", weight, covariance, weight, optimize=True)
    kept = variance > _NOTHING
    found: np.ndarray = weight[:, kept] / np.sqrt(variance[kept])
    return found
