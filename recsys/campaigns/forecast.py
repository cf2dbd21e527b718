"""What to expect of a planned campaign from past ones: told only where it beats the mean of the past, else refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys.bootstrap import resampling_weights
from recsys.campaigns.intervals import Estimate

FEWEST = 10
"""Past campaigns with a known return."""
PENALTY = 1.0
"""Of the ridge regression: an attribute's value counts as if one campaign more with the mean return had it."""
SAMPLES = 2_000


@dataclass(frozen=True)
class Forecast:
    """A forecast beside its skill, or why there is none."""

    campaigns: int
    skill: Estimate | None
    """1 - squared error / squared error of the mean, both of campaigns that were left out of the fit; 0 is no skill."""
    value: Estimate | None
    refused: str

    def told(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "campaigns": self.campaigns,
            "skill": self.skill.told() if self.skill else None,
            "value": self.value.told() if self.value else None,
            "refused": self.refused,
        }


def forecast(
    returns: np.ndarray, attributes: Sequence[Mapping[str, str]], planned: Mapping[str, str], seed: int = 0
) -> Forecast:
    """The return of a campaign with the attributes `planned`, from those [C] of past campaigns with theirs.

    A ridge regression on the attributes' values, judged by leaving out one campaign at a time, beside the mean of the
    others. It is told only if the interval of its skill (bootstrap over campaigns) lies above zero. The range is that
    of the residuals of campaigns left out (jackknife: Barber, Candès, Ramdas, Tibshirani, Annals of Statistics 2021).
    """
    count = len(returns)
    if count < FEWEST:
        return Forecast(count, None, None, f"{count} past campaigns have a known return; {FEWEST} are needed")
    known = {name: {row[name] for row in attributes} for name in planned}
    if new := [f"{name}={value}" for name, value in planned.items() if value not in known[name]]:
        return Forecast(count, None, None, f"no past campaign has {new[0]}")
    design = np.stack([_row(row, known) for row in attributes])
    guessed, meant = np.empty(count), np.empty(count)
    for place in range(count):
        rest = np.arange(count) != place
        guessed[place] = _fitted(design[rest], returns[rest], design[place])
        meant[place] = returns[rest].mean()
    squares = np.stack([(returns - guessed) ** 2, (returns - meant) ** 2], axis=1)
    skill = _skill(squares, seed)
    if not skill.low > 0:
        why = f"knowing {', '.join(planned)} foretells the return no better than the mean of past campaigns"
        return Forecast(count, skill, None, why)
    value = _fitted(design, returns, _row(planned, known))
    half = float(np.sort(np.abs(returns - guessed))[min(count, int(np.ceil(0.95 * (count + 1)))) - 1])
    return Forecast(count, skill, Estimate(value, value - half, value + half, "jackknife"), "")


def _row(row: Mapping[str, str], known: Mapping[str, set[str]]) -> np.ndarray:
    """One column for each value of each attribute."""
    return np.array([float(row[name] == value) for name, values in known.items() for value in sorted(values)])


def _fitted(design: np.ndarray, returns: np.ndarray, asked: np.ndarray) -> float:
    centre = design.mean(axis=0)
    x, y = design - centre, returns - returns.mean()
    slope = np.linalg.solve(x.T @ x + PENALTY * np.eye(x.shape[1]), x.T @ y)
    return float(returns.mean() + (asked - centre) @ slope)


def _skill(squares: np.ndarray, seed: int) -> Estimate:
    if not squares[:, 1].sum() > 0:
        return Estimate(0.0, 0.0, 0.0, "bootstrap over campaigns")
    weights = np.concatenate(list(resampling_weights(len(squares), SAMPLES, np.random.default_rng(seed))))
    sums = weights @ squares
    sums = sums[sums[:, 1] > 0]
    low, high = np.quantile(1 - sums[:, 0] / sums[:, 1], [0.025, 0.975])
    value = float(1 - squares[:, 0].sum() / squares[:, 1].sum())
    return Estimate(value, float(low), float(high), "bootstrap over campaigns")
