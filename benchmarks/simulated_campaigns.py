"""Campaigns of the synthetic bank drawn anew from its response model, so that estimates meet a known truth."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.drivers.outcome import Outcome
from recsys.drivers.randomised import Trial
from recsys.features.definition import FeatureConfig
from recsys.lake.parts import MEMORY
from recsys.lake.store import Lake
from recsys.progress import progress_bar
from recsys.synthetic.campaigns import CAMPAIGNS
from training.driver_data import Units, gather
from training.driver_trials import contact_trials


class Truth:
    """What the bank's response model says of each contact: P(outcome) under each arm of its campaign."""

    def __init__(self, lake: Lake) -> None:
        self._rows = pl.read_parquet(f"{lake.path}.truth/uplift.parquet")

    def chances(self, units: Units, trial: Trial) -> np.ndarray:
        """float64 [n, A]: the probability of converting, which in a campaign that keeps customers is staying."""
        rows = units.rows[trial.rows].select("contact_id")
        found = []
        for arm in trial.arms[1:]:
            told = self._rows.filter((pl.col("campaign_id") == trial.name) & (pl.col("arm") == arm))
            found.append(rows.join(told, on="contact_id", how="left", maintain_order="left"))
        base, effects = found[0]["baseline"].to_numpy(), [one["effect"].to_numpy() for one in found]
        if found[0]["outcome"][0] == "left":
            base, effects = 1 - base, [-effect for effect in effects]
        return np.stack([base, *(base + effect for effect in effects)], axis=1)


@dataclass(frozen=True)
class Known:
    """A campaign of the bank with what is true of it."""

    trial: Trial
    chances: np.ndarray
    """float64 [n, A]: P(outcome) under each arm."""
    draws: np.ndarray
    """float64 [n, A]: the chance of each arm."""
    design: str


def known_campaigns(lake: Lake) -> list[Known]:
    """Every campaign of the synthetic bank whose contacts make a trial, with its customers' features and its truth."""
    with progress_bar("Reading") as progress:
        units = gather(lake, Outcome("contact", "converted"), None, FeatureConfig(windows=(90,)), MEMORY, progress)
    trials, _ = contact_trials(units)
    truth, designs = Truth(lake), {c.campaign_id: c for c in CAMPAIGNS}
    return [
        Known(
            trial,
            truth.chances(units, trial),
            _draws(trial, designs[trial.name].shares),
            designs[trial.name].design,
        )
        for trial in trials
    ]


def drawn_anew(known: Known, rng: np.random.Generator) -> Trial:
    """The same customers, with arms drawn with their chances and outcomes with their probabilities."""
    size = len(known.trial.rows)
    arm = (rng.random(size)[:, None] > known.draws.cumsum(axis=1)[:, :-1]).sum(axis=1)
    each = np.arange(size)
    outcome = (rng.random(size) < known.chances[each, arm]).astype(float)
    return Trial(
        known.trial.name, each, arm, known.draws[each, arm], outcome, known.trial.design, each, known.trial.arms
    )


def true_effect(known: Known, arm: int) -> float:
    """The mean effect of an arm on the campaign's customers."""
    return float((known.chances[:, arm] - known.chances[:, 0]).mean())


def _draws(trial: Trial, shares: tuple[float, ...]) -> np.ndarray:
    """float64 [n, A]: the chance of each arm; a targeted campaign draws its own for each customer."""
    if len(trial.arms) == 2:
        treated = np.where(trial.arm == 1, trial.chance, 1 - trial.chance)
        return np.stack([1 - treated, treated], axis=1)
    by_arm = {arm: trial.chance[trial.arm == place][0] for place, arm in enumerate(trial.arms)}
    assert np.isclose(sum(by_arm.values()), 1) and np.isclose(by_arm[trial.arms[0]], shares[0])
    return np.tile([by_arm[arm] for arm in trial.arms], (len(trial.rows), 1))
