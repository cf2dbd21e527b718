"""Fitting of the adoption part: hazards learned on earlier cuts, calibrated on the validation cut."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
import torch
from pydantic import BaseModel, ByteSize, ConfigDict, Field, field_validator, model_validator
from torch import Tensor

from recsys.adoption import AdoptionModel, by_horizon, hazard_loss
from recsys.calibration import Knots, fit_isotonic
from recsys.errors import ConfigError, DataError
from recsys.features.adoption_examples import add_months, adoption_cuts, labels_end
from recsys.features.definition import FeatureDefinition
from recsys.features.encoder import ArrayShape, Encoder
from recsys.features.examples import Part
from recsys.lake.parts import BucketReader
from recsys.progress import Progress
from recsys.two_tower import ModelConfig
from training.adoption_rows import HELD, AdoptionBatch, AdoptionExamples, adoption_rows, write_arrays
from training.batches import Epochs
from training.loop import FitResult, TrainingConfig, quiet_and_deterministic, run_fit

CALIBRATION_CELLS = 1 << 22
"""Customer-product pairs that calibration reads at most."""
_FLOAT = 4


class AdoptionConfig(BaseModel):
    """P(acquired within each horizon): what it learns from and for how long. Leave the section out to not build it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    horizons_months: tuple[int, ...] = (1, 3, 6)
    """Calendar months, ascending. The test needs the longest once, the validation once more, before training begins."""
    snapshots: int = Field(default=8, ge=1)
    """Days, a month apart, from which training sees every customer."""
    examples: int = Field(default=100_000, ge=1000)
    """Customers × days that training reads at most, and the validation likewise, drawn by a hash whatever happened."""
    dim: int = Field(default=32, ge=1)
    """Dimensions of the towers; the rest of `model` holds for them too."""
    epochs: int = Field(default=5, ge=1)
    """Passes over the examples at most; the validation likelihood picks the one that is kept."""
    batch_size: int = Field(default=512, ge=1)
    """Examples in a step."""
    learning_rate: float = Field(default=1e-2, gt=0)
    """Highest learning rate; the rest of `training` holds here too."""
    memory: ByteSize = Field(default=ByteSize(256 << 20), ge=0)
    """batch_size × products × horizons × 4 bytes must fit into this."""

    @field_validator("horizons_months")
    @classmethod
    def _ascending(cls, horizons: tuple[int, ...]) -> tuple[int, ...]:
        if not horizons or list(horizons) != sorted(set(horizons)) or horizons[0] < 1 or horizons[-1] > 120:
            raise ValueError("horizons_months must be distinct months from 1 to 120, ascending, such as [1, 3, 6]")
        return horizons

    @model_validator(mode="after")
    def _reaching(self) -> Self:
        least = self.horizons_months[-1] - self.horizons_months[0] + 1
        if self.snapshots < least:
            raise ValueError(
                f"snapshots must be {least} or more, so that the longest horizon of one of them is over in training"
            )
        return self


@dataclass(frozen=True)
class Adoption:
    """What training made of the section."""

    fitted: FitResult[AdoptionModel]
    knots: tuple[Knots, ...]
    """One for each horizon."""
    examples: int
    """Training examples."""


def fit_adoption(
    config: AdoptionConfig,
    reader: BucketReader,
    definition: FeatureDefinition,
    encoder: Encoder,
    products: dict[str, np.ndarray],
    *,
    until: date | None,
    model: ModelConfig,
    training: TrainingConfig,
    seed: int,
    threads: int,
    work: Path,
    progress: Progress,
) -> Adoption:
    """Train, pick the best epoch and calibrate; `work` keeps arrays and checkpoints.

    `until` is the day after the last event that counts. Training labels end before the validation cut, validation
    labels at the test cut. Raises DataError if a part has
    no example or nothing was acquired in it, ConfigError if a step would not fit into `memory`.
    """
    check_memory(config, len(encoder.products))
    parts: dict[Part, AdoptionExamples] = {}
    cuts = adoption_cuts(config.horizons_months, config.snapshots, until)
    for part in ("train", "validation"):
        end = labels_end(cuts, part, until)
        found = adoption_rows(reader, definition, config.horizons_months, cuts[part], end, config.examples)
        parts[part] = write_arrays(
            _shown(found, progress, reader.lake.buckets, part), encoder, len(config.horizons_months), work / part
        )
        if not (parts[part].finished == len(config.horizons_months)).any():
            raise DataError(f"adoption: {too_short(config, cuts)}")
    rates = base_hazards(parts["train"], len(config.horizons_months))
    update = {name: getattr(config, name) for name in ("epochs", "batch_size", "learning_rate")}
    settings = training.model_copy(update=update)
    towers = model.model_copy(update={"dim": config.dim})
    content = [config.model_dump(mode="json"), towers.model_dump(mode="json"), settings.model_dump(mode="json")]
    identity = _identity(content, encoder.shape, rates, len(parts["train"]), seed)
    with quiet_and_deterministic(threads):
        torch.manual_seed(seed)
        catalogue = {name: torch.from_numpy(np.array(values)) for name, values in products.items()}
        network = AdoptionModel(towers, encoder.shape, catalogue, torch.from_numpy(rates).float())
        fitted = run_fit(
            Hazards(network, parts["validation"], settings.batch_size),
            Epochs(parts["train"], settings.batch_size, seed),
            settings,
            seed=seed,
            identity=identity,
            directory=work / "checkpoints",
            progress=progress,
        )
        knots = _calibrated(fitted.model, parts["validation"], seed)
    return Adoption(fitted, knots, len(parts["train"]))


def check_memory(config: AdoptionConfig, products: int) -> None:
    """ConfigError if the log-odds of a step would not fit into the configured memory."""
    needed = config.batch_size * products * len(config.horizons_months) * _FLOAT
    if needed > config.memory:
        raise ConfigError(
            f"adoption.memory: a step of {config.batch_size:,} customers × {products:,} products × "
            f"{len(config.horizons_months)} horizons needs {needed >> 20:,} MiB, "
            f"more than {config.memory >> 20:,} MiB; lower adoption.batch_size or raise adoption.memory"
        )


def too_short(config: AdoptionConfig, cuts: Mapping[Part, tuple[date, ...]]) -> str:
    """Why there is nothing to learn from, and what would help."""
    longest = config.horizons_months[-1]
    return (
        f"no customer was seen before {add_months(cuts['validation'][0], -longest)}, {3 * longest} months before the "
        f"end: a horizon of {longest} months is needed once each for training, validation and test; shorten "
        "adoption.horizons_months, or leave the section out (--set adoption=null)"
    )


class Hazards:
    """The task of telling in which interval, if any, each product that is not held will be acquired."""

    metric = "log_likelihood"

    def __init__(self, model: AdoptionModel, validation: AdoptionExamples, batch_size: int) -> None:
        self.model = model
        self.validation = validation
        self.batch_size = batch_size

    def loss(self, batch: AdoptionBatch) -> Tensor:
        """Cross-entropy over the cells that are known."""
        return hazard_loss(self.model(batch["arrays"]), batch["first"], batch["finished"])

    def validate(self) -> float:
        """Mean log-likelihood of a cell of the validation cut."""
        total, rows = 0.0, 0
        for start in range(0, len(self.validation), self.batch_size):
            batch = self.validation.batch(slice(start, start + self.batch_size))
            device = self.model.head.weight.device
            arrays = {name: values.to(device) for name, values in batch["arrays"].items()}
            first, finished = batch["first"].to(device), batch["finished"].to(device)
            total -= float(hazard_loss(self.model(arrays), first, finished)) * len(first)
            rows += len(first)
        return total / rows


def base_hazards(examples: AdoptionExamples, intervals: int, step: int = 1 << 16) -> np.ndarray:
    """float64 [P, I] how often each product was acquired in each interval by those who could, one case added."""
    happened = np.zeros((examples.first.shape[1], intervals))
    known = np.zeros_like(happened)
    for start in range(0, len(examples), step):
        first, finished = examples.first[start : start + step], examples.finished[start : start + step]
        for i in range(intervals):
            over = (finished > i)[:, None]
            known[:, i] += ((first >= i) & over).sum(axis=0)
            happened[:, i] += ((first == i) & over).sum(axis=0)
    overall = (happened.sum(axis=0) + 0.5) / (known.sum(axis=0) + 1)
    return (happened + overall) / (known + 1)


@torch.no_grad()
def _calibrated(model: AdoptionModel, validation: AdoptionExamples, seed: int) -> tuple[Knots, ...]:
    """Knots of each horizon from the validation cut, pooled over products."""
    count = max(1, CALIBRATION_CELLS // validation.first.shape[1])
    rows = np.sort(np.random.default_rng(seed).permutation(len(validation))[:count])
    found, outcomes = [], []
    for start in range(0, len(rows), 1024):
        batch = validation.batch(rows[start : start + 1024])
        first = batch["first"].numpy()
        open_to = first != HELD
        found.append(by_horizon(model(batch["arrays"]).numpy())[open_to])
        outcomes.append(first[open_to])
    probabilities, when = np.concatenate(found), np.concatenate(outcomes)
    return tuple(fit_isotonic(probabilities[:, i], when <= i) for i in range(probabilities.shape[1]))


def _shown(
    rows: Iterator[tuple[int, pl.DataFrame]], progress: Progress, buckets: int, part: str
) -> Iterator[tuple[int, pl.DataFrame]]:
    for bucket, frame in rows:
        progress(bucket + 1, buckets, f"adoption: features for {part}")
        yield bucket, frame


def _identity(content: Sequence[object], shape: ArrayShape, rates: np.ndarray, examples: int, seed: int) -> str:
    """What a checkpoint must share with a fit for the fit to go on from it."""
    value = json.dumps([list(content), asdict(shape), rates.tolist(), examples, seed], sort_keys=True)
    return hashlib.sha256(value.encode()).hexdigest()
