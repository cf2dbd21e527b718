"""What a targeted campaign did, from the logged chances: Hájek and AIPW, with overlap and effective sample size."""

from dataclasses import dataclass, replace

import numpy as np

from recsys.drivers.effects import Effect, Mean, difference, mean_had_all, observed
from recsys.drivers.randomised import FEWEST_IN_ARM, UNLIKELY, Trial, cross_fitted, mismatch

FEWEST_EFFECTIVE = 50.0
"""Independent customers that the weights must leave in each arm; below, no verdict is given."""
THIN = 0.01
"""A chance below this gives one customer the weight of a hundred."""


@dataclass(frozen=True)
class Overlap:
    """How far the arms of a trial hold the same kinds of customers."""

    counts: tuple[int, ...]
    effective: tuple[float, ...]
    """Effective sample size of each arm: (Σw)² / Σw² (Kish)."""
    largest: float
    """The largest weight of one customer, as a share of their arm."""
    thin: int
    """Customers whose arm had a chance below THIN."""
    certain: int
    """Customers who were left out, because nothing but their arm could have been drawn for them."""


@dataclass(frozen=True)
class Weighed:
    """Three answers to the same question, for the arm against the control."""

    aipw: Effect
    hajek: Effect
    naive: Effect
    """The plain difference, wrong wherever the targeted are different: shown to be seen failing."""


def without_certain(trial: Trial) -> tuple[Trial, int]:
    """The trial without customers whose arm had the chance one, and how many these are.

    What another arm would have brought them cannot be known; the effect is that on the others.
    """
    free = trial.chance < 1
    if free.all():
        return trial, 0
    kept = {name: getattr(trial, name)[free] for name in ("rows", "arm", "chance", "outcome", "design", "customer")}
    return replace(trial, **kept), int((~free).sum())


def overlap(trial: Trial, certain: int = 0) -> Overlap:
    """What the chances leave to compare."""
    effective, largest = [], 0.0
    for place in range(len(trial.arms)):
        weight = 1 / trial.chance[trial.arm == place]
        total = float(weight.sum())
        effective.append(total**2 / float((weight**2).sum()) if total else 0.0)
        largest = max(largest, float(weight.max()) / total if total else 0.0)
    counts = np.bincount(trial.arm, minlength=len(trial.arms))
    thin = int((trial.chance < THIN).sum())
    return Overlap(tuple(counts.tolist()), tuple(effective), largest, thin, certain)


def refusal(trial: Trial, found: Overlap) -> str:
    """Why the chances tell nothing; empty if they do."""
    least = int(np.argmin(found.counts))
    if found.counts[least] < FEWEST_IN_ARM:
        left = f" ({found.certain:,} others had no choice of arm)" if found.certain else ""
        return f"the arm {trial.arms[least]} has {found.counts[least]} customers{left}; {FEWEST_IN_ARM} are needed"
    if mismatch(trial.arm, trial.chance, len(trial.arms)) < UNLIKELY:
        return "the sizes of the arms do not fit the logged chances (sample ratio mismatch)"
    least = int(np.argmin(found.effective))
    if found.effective[least] < FEWEST_EFFECTIVE:
        return (
            f"the arm {trial.arms[least]} tells as much as {found.effective[least]:.0f} customers once weighted "
            f"(effective sample size; {FEWEST_EFFECTIVE:.0f} are needed): the chances of its customers are too extreme"
        )
    return ""


@dataclass(frozen=True)
class Predicted:
    """A trial with cross-fitted predictions [n, A] of its outcome, from which any arm and any part is told."""

    trial: Trial
    under: np.ndarray

    @classmethod
    def of(cls, trial: Trial) -> "Predicted":
        """Fit them; folds are of customers."""
        return cls(trial, cross_fitted(trial))

    def sides(
        self, arm: int, part: np.ndarray | None = None, stands_for: np.ndarray | None = None
    ) -> tuple[Mean, Mean]:
        """AIPW means of the arm and of the control among the rows of `part` (bool [n]), all if not given."""
        trial, here = self.trial, slice(None) if part is None else part
        counts = None if stands_for is None else stands_for[here]
        treated, untreated = (
            mean_had_all(
                trial.outcome[here], trial.arm[here] == place, trial.chance[here], self.under[here, place], counts
            )
            for place in (arm, 0)
        )
        return treated, untreated

    def effect(self, arm: int, part: np.ndarray | None = None, shares: bool = True) -> Effect:
        """AIPW of the arm against the control among the rows of `part`."""
        customers = self.trial.customer if part is None else self.trial.customer[part]
        return difference(*self.sides(arm, part), customers, shares)

    def weighed(self, arm: int, shares: bool = True) -> Weighed:
        """AIPW beside Hájek's estimate, which uses the chances alone, and the plain difference."""
        trial, nothing = self.trial, np.zeros(len(self.trial.outcome))
        hajek = [mean_had_all(trial.outcome, trial.arm == place, trial.chance, nothing) for place in (arm, 0)]
        plain = [observed(trial.outcome, trial.arm == place) for place in (arm, 0)]
        return Weighed(
            self.effect(arm, shares=shares),
            difference(hajek[0], hajek[1], trial.customer, shares),
            difference(plain[0], plain[1], trial.customer, shares),
        )


def chance_of_contact(trial: Trial) -> np.ndarray | None:
    """float64 [n], that of any other arm than the control; None where a treated row's log does not tell it.

    A row's log has the chance of its own arm only, so it is known for two arms, or where an arm's chance is one for
    all.
    """
    if len(trial.arms) == 2:
        return np.where(trial.arm == 1, trial.chance, 1 - trial.chance)
    control = trial.chance[trial.arm == 0]
    if len(control) and np.allclose(control, control[0]):
        return np.full(len(trial.chance), 1 - control[0])
    return None
