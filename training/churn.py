"""Fitting of the churn part: models on training and validation, threshold and tiers, the files of the bundle."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from recsys.bundle.churn import About, Counted, churn_part
from recsys.churn.config import ChurnConfig
from recsys.churn.decision import choose_threshold, tier_bounds
from recsys.progress import Progress
from training.churn_models import ChurnModel, fit_churn_models
from training.churn_rows import LEARNING, ChurnRows


@dataclass(frozen=True)
class FittedChurn:
    """What training made of the section."""

    model: ChurnModel
    about: About

    def files(self, parity: Mapping[str, np.ndarray]) -> dict[str, bytes]:
        """The files of the part; `parity` are the encoder's customer arrays of the invented customers."""
        return churn_part(
            graph=self.model.graph(),
            about=self.about,
            log_odds=self.model.log_odds(parity),
            probability=self.model.probability(parity),
        )

    def report(self) -> dict[str, Any]:
        """For the bundle's report: metrics on rows that were held out."""
        told = self.about.model_dump(mode="json")
        return {name: told[name] for name in ("base_rate", "parts", "threshold", "tiers")} | {
            "candidates": self.model.report["candidates"]
        }


def fit_churn(
    config: ChurnConfig,
    data: ChurnRows,
    *,
    known_afterwards: tuple[str, ...],
    trusted: tuple[str, ...],
    seed: int,
    threads: int,
    work: Path,
    progress: Progress,
) -> FittedChurn:
    """Fit the candidates, and draw threshold and tiers on rows that the model has not seen."""
    model = fit_churn_models(
        config.fitted,
        data.encoder.shape,
        data.train,
        data.validation,
        seed=seed,
        threads=threads,
        work=work,
        progress=progress,
    )
    held = model.held_out
    parts = {part: _counted(data.part(part).outcome) for part in LEARNING}
    about = About(
        arrays=model.arrays,
        label=data.label.name if data.label else None,
        positive=data.label.positive if data.label else None,
        rule=config.rule,
        horizon_months=config.horizon_months if config.rule else None,
        days={part: _texts(days) for part, days in data.days.items()},
        parts=parts,
        base_rate=parts["train"].left / parts["train"].examples,
        threshold=choose_threshold(held.probability, held.outcome, config.costs),
        tiers=tier_bounds(held.probability, config.tiers),
        models=model.report,
        known_afterwards=known_afterwards,
        trusted=trusted,
    )
    return FittedChurn(model, about)


def _counted(outcome: np.ndarray) -> Counted:
    return Counted(examples=len(outcome), left=int(outcome.sum()))


def _texts(days: tuple[date | None, ...]) -> tuple[str, ...]:
    return tuple(day.isoformat() for day in days if day is not None)
