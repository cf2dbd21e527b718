"""Effects where chance decided who was contacted: with the chances as logged, campaign by campaign, and pooled."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from recsys.drivers.effects import Effect, Mean, difference, mean_had_all, placed, weighted

FOLDS = 5
UNLIKELY = 0.001
"""Arms that lie further from their logged chances than this are not trusted: a sample ratio mismatch."""
FEWEST_IN_ARM = 30
EXPLAINED = 0.05


@dataclass(frozen=True)
class Trial:
    """Rows of one campaign, n of the N of all: who they are, the arm of each, and its chance as logged."""

    name: str
    rows: np.ndarray  # int64 [n], places among all rows
    arm: np.ndarray  # int64 [n], 0 is the control
    chance: np.ndarray  # float64 [n], of the arm that was drawn
    outcome: np.ndarray  # float64 [n]
    design: np.ndarray  # float64 [n, W], what was known before; only makes intervals narrower
    customer: np.ndarray  # int64 [n]
    arms: tuple[str, ...]


@dataclass(frozen=True)
class Arms:
    """What a trial says: the mean outcome under each arm, as means over all N rows."""

    trial: Trial
    means: tuple[Mean, ...]


def mismatch(arm: np.ndarray, chance: np.ndarray, arms: int) -> float:
    """p-value that the arms were drawn with their logged chances, the smallest over arms times their number.

    The weights 1 / chance of an arm's rows sum to the number of rows, give or take the draw.
    """
    found = []
    for place in range(arms):
        drawn = chance[arm == place]
        spread = np.sqrt(((1 - drawn) / drawn**2).sum())
        apart = abs((1 / drawn).sum() - len(arm))
        if len(drawn) == 0:
            return 0.0
        found.append(2 * ndtr(-apart / spread) if spread > 0 else 1.0)
    return float(min(1.0, min(found) * arms))


def refused(trial: Trial) -> str:
    """Why a trial tells nothing; empty if it does."""
    counts = np.bincount(trial.arm, minlength=len(trial.arms))
    if counts.min() < FEWEST_IN_ARM:
        return f"the arm {trial.arms[int(counts.argmin())]} has fewer than {FEWEST_IN_ARM} rows"
    if mismatch(trial.arm, trial.chance, len(trial.arms)) < UNLIKELY:
        return "the sizes of the arms do not fit the logged chances (sample ratio mismatch)"
    return ""


def arms_of(trial: Trial, size: int) -> Arms:
    """The mean outcome had all of a trial been in each arm."""
    predicted = cross_fitted(trial)
    means = []
    for place in range(len(trial.arms)):
        mean = mean_had_all(trial.outcome, trial.arm == place, trial.chance, predicted[:, place])
        means.append(placed(mean, trial.rows, size))
    return Arms(trial, tuple(means))


def pooled_effect(found: Sequence[Arms], customers: np.ndarray, arm: str | None = None, shares: bool = True) -> Effect:
    """Effect of an arm against the control, or of all other arms as they were drawn, averaged over trials by rows.

    Trials without that arm are left out. `customers` is int [N].
    """
    used = [one for one in found if arm is None or arm in one.trial.arms[1:]]
    total = sum(len(one.trial.rows) for one in used)
    share = [len(one.trial.rows) / total for one in used]
    treated = weighted([_treated(one, arm) for one in used], share)
    untreated = weighted([one.means[0] for one in used], share)
    effect = difference(treated, untreated, customers, shares)
    return Effect(**{**vars(effect), "rows": total})


def _treated(found: Arms, arm: str | None) -> Mean:
    trial = found.trial
    if arm is not None:
        return found.means[trial.arms.index(arm)]
    counts = np.bincount(trial.arm, minlength=len(trial.arms))[1:]
    return weighted(list(found.means[1:]), (counts / counts.sum()).tolist())


def cross_fitted(trial: Trial) -> np.ndarray:
    """float64 [n, A]: the outcome under each arm by a ridge regression on the other folds; folds are of customers.

    One slope for all arms, with the penalty that is best where the design, of columns of unit variance, explains
    EXPLAINED of the variance evenly. Its error does not bias the effect.
    """
    fold = trial.customer % FOLDS
    predicted = np.empty((len(fold), len(trial.arms)))
    for place in range(FOLDS):
        held, rest = fold == place, fold != place
        if not held.any():
            continue
        weight = 1 / trial.chance[rest]
        level = np.array([_level(trial, rest & (trial.arm == a)) for a in range(len(trial.arms))])
        design = trial.design[rest] - trial.design[rest].mean(axis=0)
        left = trial.outcome[rest] - level[trial.arm[rest]]
        weight = weight / weight.mean()
        penalty = design.shape[1] * (1 - EXPLAINED) / EXPLAINED * np.eye(design.shape[1])
        slope = np.linalg.solve((design * weight[:, None]).T @ design + penalty, design.T @ (weight * left))
        predicted[held] = level + ((trial.design[held] - trial.design[rest].mean(axis=0)) @ slope)[:, None]
    return predicted


def _level(trial: Trial, chosen: np.ndarray) -> float:
    """Mean outcome of an arm by its chances; of all rows where the other folds have none of it."""
    if not chosen.any():
        return float(trial.outcome.mean())
    return float(np.average(trial.outcome[chosen], weights=1 / trial.chance[chosen]))
