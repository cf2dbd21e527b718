"""What a recommender learns from, made once in a working directory: features, encoder, arrays; and the fit on them.

Only training and validation examples are asked for here. `recsys train` and `recsys tune` share it.
"""

import json
import shutil
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from recsys.churn.splits import churn_days
from recsys.durable import rename
from recsys.features.adoption_examples import adoption_cuts
from recsys.features.definition import FeatureDefinition, define
from recsys.features.encoder import Encoder
from recsys.features.examples import cuts, last_day
from recsys.lake.parts import MEMORY, BucketReader, sample_share
from recsys.lake.store import Lake
from recsys.progress import Progress
from recsys.two_tower import TwoTower
from training.batches import Examples
from training.config import Config
from training.loop import FitResult, OnEpoch
from training.network import fit_two_tower
from training.rows import open_arrays, write_arrays, write_rows

VALIDATION_ROWS, VALIDATION_SCORES = 20_000, 1 << 28
"""Most examples of validation that an epoch is judged by, and most scores: ranking 41,000 products takes its time."""
DONE = "prepared.json"


@dataclass(frozen=True)
class Prepared:
    """The examples of training and validation as memory-mapped arrays, and what they were made with."""

    definition: FeatureDefinition
    encoder: Encoder
    products: dict[str, np.ndarray]
    """The encoder's product arrays in catalogue order."""
    learning: Examples
    held_out: Examples
    share: float
    """The share of the customers that were read."""


def prepare(config: Config, lake: Lake, work: Path, progress: Progress, memory: int = MEMORY) -> Prepared:
    """Make the arrays under `work`, or open them if they were finished there before.

    `work` must be named by everything that they depend on: lake, `features`, `evaluation`, `adoption` and
    `training.customers`. Raises ConfigError or DataError if the lake cannot support the configuration.
    """
    share = sample_share(lake, config.training.customers)
    done = work / DONE
    if not done.exists():
        definition = define(lake, config.features, before=first_unseen_day(config, lake))
        reader, unit = BucketReader(lake, memory, share), config.features.log_unit
        encoder = write_rows(reader, definition, config.evaluation, work, progress, log_unit=unit).finish()
        write_arrays(work, "train", encoder)
        write_arrays(work, "validation", encoder)
        shutil.rmtree(work / "rows")
        made = {"definition": definition.model_dump(mode="json"), "encoder": encoder.model_dump(mode="json")}
        partial = done.with_suffix(".partial")
        partial.write_text(json.dumps(made), encoding="utf-8")
        rename(partial, done)
    made = json.loads(done.read_text(encoding="utf-8"))
    encoder = Encoder.model_validate(made["encoder"])
    return Prepared(
        FeatureDefinition.model_validate(made["definition"]),
        encoder,
        encoder.encode_products(lake.read("products").sort("product_id")),
        open_arrays(work, "train"),
        open_arrays(work, "validation"),
        share,
    )


def fit_recommender(
    config: Config, data: Prepared, directory: Path, progress: Progress, on_epoch: OnEpoch | None = None
) -> FitResult[TwoTower]:
    """Fit the configuration's two-tower model; `directory` gets the checkpoints, `on_epoch` each epoch's record."""
    held_out, sample = data.held_out, judging_rows(config, data)
    validation = {
        "arrays": {name: values[sample] for name, values in held_out.arrays.items()},
        "targets": held_out.targets[sample],
        "excluded": held_out.excluded[sample],
    }
    return _fit(config, data, data.learning, validation, directory, progress, on_epoch)


def judging_rows(config: Config, data: Prepared) -> np.ndarray:
    """int [V] the rows of `data.held_out` that each epoch is judged by, ascending: all, or a sample drawn by `seed`."""
    most = min(VALIDATION_ROWS, max(1, VALIDATION_SCORES // max(1, len(data.encoder.products))))
    return np.sort(np.random.default_rng(config.seed).permutation(len(data.held_out.weights))[:most])


def prepare_refit(
    config: Config, lake: Lake, data: Prepared, work: Path, progress: Progress, memory: int = MEMORY
) -> Examples:
    """The examples of training and validation together, made under the `work` of `data` with its encoder."""
    done = work / "refit.done"
    if not done.exists():
        reader = BucketReader(lake, memory, data.share)
        write_rows(reader, data.definition, config.evaluation, work, progress, ("refit",))
        write_arrays(work, "refit", data.encoder)
        shutil.rmtree(work / "rows")
        done.touch()
    return open_arrays(work, "refit")


def refit_recommender(
    config: Config,
    data: Prepared,
    learning: Examples,
    chosen: FitResult[TwoTower],
    directory: Path,
    progress: Progress,
) -> FitResult[TwoTower]:
    """`chosen`, with the model of a new fit on all of `learning` that ends after the chosen epoch.

    The learning rate takes the course that it took until then, so that what is fitted is what validation judged.
    """
    again = _fit(config, data, learning, None, directory, progress, stop_after=chosen.best_epoch)
    return replace(chosen, model=again.model, seconds=chosen.seconds + again.seconds, refit=tuple(again.history))


def _fit(
    config: Config,
    data: Prepared,
    learning: Examples,
    validation: dict[str, Any] | None,
    directory: Path,
    progress: Progress,
    on_epoch: OnEpoch | None = None,
    stop_after: int | None = None,
) -> FitResult[TwoTower]:
    return fit_two_tower(
        model=config.model,
        loss=config.loss,
        training=config.training,
        shape=data.encoder.shape,
        arrays=learning.arrays,
        targets=learning.targets,
        weights=learning.weights,
        excluded=learning.excluded,
        products=data.products,
        validation=validation,
        seed=config.seed,
        threads=config.threads,
        directory=directory,
        progress=progress,
        on_epoch=on_epoch,
        stop_after=stop_after,
    )


def first_unseen_day(config: Config, lake: Lake) -> date | None:
    """The first day that belongs to validation or test, None where nothing is split by time.

    It is the earliest of the recommender's, adoption's (whose test begins half a year before the end or so) and
    churn's.
    """
    last = last_day(config.evaluation, lake.as_of)
    days = []
    if config.recommender and config.evaluation.protocol == "temporal":
        days.append(cuts(config.evaluation, lake.as_of)["validation"][0])
        if config.adoption is not None:
            own = adoption_cuts(config.adoption.horizons_months, config.adoption.snapshots, last)
            days.append(own["test"][0])
    if config.churn is not None:
        day = churn_days(config.churn, last)["validation"][0]
        days += [day] if day is not None else []
    return min(days, default=None)
