"""Training of the two-tower model: the choice of loss, the ranking metric that picks the epoch, and the fit."""

import hashlib
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ByteSize, ConfigDict, Field
from threadpoolctl import threadpool_limits
from torch import Tensor

from recsys.errors import ConfigError, DataError
from recsys.features.encoder import FIRST, ArrayShape
from recsys.losses import full_softmax_loss, sample_candidates, sampled_softmax_loss
from recsys.metrics import rank_metrics
from recsys.progress import Progress
from recsys.two_tower import SPARSE_ROWS, ModelConfig, TwoTower
from training.batches import Batch, Epochs, Examples
from training.loop import FitResult, OnEpoch, TrainingConfig, quiet_and_deterministic, run_fit
from training.spectral import spectral_table, tag_table

_VALIDATION_CELLS = 1 << 24
"""Scores held at once in validation: 64 MiB."""
_FLOAT = 4


class LossConfig(BaseModel):
    """Which softmax loss, and how it samples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory: ByteSize = Field(ByteSize(64 << 20), ge=0)
    """The loss is exact while the scores of one step, batch × products × 4 bytes, fit into this; above, it is sampled.
    Time grows with the same product: on 12,000 products sampling took half the time for the same validation metric."""
    negatives: int = Field(2048, ge=0)
    """Uniform draws from the catalogue that join the batch's own products as candidates of the sampled loss."""


def fit_two_tower(
    *,
    model: ModelConfig,
    loss: LossConfig,
    training: TrainingConfig,
    shape: ArrayShape,
    arrays: dict[str, np.ndarray],
    targets: np.ndarray,
    weights: np.ndarray,
    excluded: np.ndarray,
    products: dict[str, np.ndarray],
    validation: dict[str, Any] | None,
    seed: int,
    threads: int,
    directory: Path,
    progress: Progress | None = None,
    on_epoch: OnEpoch | None = None,
    stop_after: int | None = None,
) -> FitResult[TwoTower]:
    """Fit on training examples, keeping the epoch that ranks the validation examples best.

    arrays: the encoder's customer arrays, which may be memory-mapped; targets, excluded: int32 [N, T] and [N, H]
    product indices, 0 where there is none, excluded products being no candidates of their row; weights float32 [N];
    products: the encoder's product arrays in catalogue order; validation: `arrays`, `targets`, `excluded` likewise,
    held in memory, None with `stop_after`, the epoch after which a fit ends that validates nothing.

    `directory` gets a checkpoint an epoch; a fit that was stopped goes on from there and ends with
    the same weights as one that was not. Raises DataError if no validation example has a known target, ConfigError if
    `directory` belongs to another fit.
    """
    _check_devices(training, loss, shape)
    examples = Examples(arrays, targets, excluded, weights)
    held_out = None if validation is None else _validation_examples(validation)
    counts = _target_counts(targets, shape.products - FIRST)
    identity = _identity(model, loss, training, shape, counts, len(examples), seed, stop_after)
    with quiet_and_deterministic(threads):
        torch.manual_seed(seed)
        shares = (counts + 1) / (counts + 1).sum()
        catalogue = {name: torch.from_numpy(np.array(values)) for name, values in products.items()}
        two_tower = TwoTower(model, shape, catalogue, shares.log().float())
        started = time.perf_counter()
        if model.tag_start:
            _start_tags(two_tower, seed, threads)
        if model.spectral_start:
            _start_products(two_tower, examples, seed, threads, progress)
        started = time.perf_counter() - started
        ranking = Ranking(two_tower, loss, training, shares.float(), held_out)
        fitted = run_fit(
            ranking,
            Epochs(examples, training.batch_size, seed, max(1, training.shuffle // examples.row_bytes)),
            training,
            seed=seed,
            identity=identity,
            directory=directory,
            progress=progress,
            on_epoch=on_epoch,
            stop_after=stop_after,
            weight=ranking.weight,
        )
    return replace(fitted, seconds=fitted.seconds + started)


class Ranking:
    """The task of ranking each customer's next products first."""

    def __init__(
        self, model: TwoTower, loss: LossConfig, training: TrainingConfig, shares: Tensor, validation: Examples | None
    ) -> None:
        self.model = model
        self.metric = training.metric
        self.config = loss
        self.batch_size = training.batch_size
        self.shares = shares
        self.validation = validation

    def loss(self, batch: Batch) -> Tensor:
        """The batch's loss, exact or sampled."""
        targets, weights, excluded = batch["targets"], batch["weights"], batch["excluded"]
        if self.batch_size * len(self.shares) * _FLOAT <= self.config.memory:
            customers, products = self.model(batch["arrays"])
            return full_softmax_loss(customers, products, targets, weights, excluded)
        columns, correction = sample_candidates(targets, self.shares.to(targets.device), self.config.negatives)
        customers, candidates = self.model(batch["arrays"], columns)
        return sampled_softmax_loss(customers, candidates, columns, correction, targets, weights, excluded)

    def weight(self, batch: Batch) -> float:
        """What the rows of a batch count for in its loss."""
        return float((batch["weights"] * (batch["targets"] >= 0).any(dim=1)).sum())

    def validate(self) -> float:
        """Mean over the validation customers of the metric, ranking every product that is not excluded."""
        assert self.validation is not None
        products, table = self.model.product(self.model.catalogue()).T, self.model.held_table()
        size = max(1, _VALIDATION_CELLS // products.shape[1])
        total = 0.0
        for start in range(0, len(self.validation), size):
            batch = self.validation.batch(slice(start, start + size))
            arrays = {name: values.to(table.device) for name, values in batch["arrays"].items()}
            scores = (self.model.customer(arrays, table) @ products).cpu().numpy()
            total += _metric(self.metric, scores, batch["targets"], batch["excluded"]).sum()
        return float(total / len(self.validation))


def _check_devices(training: TrainingConfig, loss: LossConfig, shape: ArrayShape) -> None:
    """ConfigError where several processes would have to share a table that is learned row by row."""
    products = shape.products - FIRST
    sampled = training.batch_size * products * _FLOAT > loss.memory
    if training.devices > 1 and sampled and shape.products > SPARSE_ROWS:
        raise ConfigError(
            f"training.devices: {training.devices}: a catalogue of {products:,} products is learned row by row, which "
            "one process does; give training.devices: 1"
        )


def _start_products(model: TwoTower, examples: Examples, seed: int, threads: int, progress: Progress | None) -> None:
    """Give the product table its spectral start; what is unknown keeps its own."""
    if progress is not None:
        progress(0, 1, "which products come together")
    with threadpool_limits(threads, "blas"):
        table = spectral_table(examples, model.shape.products, model.config.dim, seed)
    known = torch.from_numpy(table.any(axis=1))
    with torch.no_grad():
        model.ids.weight[known] = torch.from_numpy(table)[known]


def _start_tags(model: TwoTower, seed: int, threads: int) -> None:
    """Give the tags of products a start from which products have them; tags that none has keep their own."""
    table, tags = model.product_tower.attributes.tags, model.catalogue().get("product_tags")
    if table is None or tags is None:
        return
    with threadpool_limits(threads, "blas"):
        start = tag_table(tags.numpy(), table.num_embeddings, table.embedding_dim, seed)
    known = torch.from_numpy(start.any(axis=1))
    with torch.no_grad():
        table.weight[known] = torch.from_numpy(start)[known]


def _metric(name: str, scores: np.ndarray, targets: Tensor, excluded: Tensor) -> np.ndarray:
    """float64 [N] the metric of each row."""
    allowed = np.ones(scores.shape, dtype=bool)
    found = np.zeros(scores.shape, dtype=bool)
    for mask, products, value in ((allowed, excluded, False), (found, targets, True)):
        rows, places = (products >= 0).numpy().nonzero()
        mask[rows, products.numpy()[rows, places]] = value
    ks = (int(name.partition("@")[2] or 1),)
    return rank_metrics(scores, allowed, found, ks)[name]


def _validation_examples(validation: dict[str, Any]) -> Examples:
    """Only those with a target in the catalogue."""
    targets = validation["targets"]
    known = np.flatnonzero((targets >= FIRST).any(axis=1))
    if not len(known):
        raise DataError(f"validation: none of {len(targets):,} examples has a target in the catalogue")
    return Examples(
        arrays={name: values[known] for name, values in validation["arrays"].items()},
        targets=targets[known],
        excluded=validation["excluded"][known],
        weights=np.ones(len(known), dtype=np.float32),
    )


def _target_counts(targets: np.ndarray, products: int, step: int = 1 << 20) -> Tensor:
    """float64 [P] how often each product is a target; counted in slices, for targets may be memory-mapped."""
    counts = np.zeros(products + FIRST, dtype=np.int64)
    for start in range(0, len(targets), step):
        counts += np.bincount(targets[start : start + step].ravel(), minlength=products + FIRST)
    return torch.from_numpy(counts[FIRST:].astype(np.float64))


def _identity(
    model: ModelConfig,
    loss: LossConfig,
    training: TrainingConfig,
    shape: ArrayShape,
    counts: Tensor,
    examples: int,
    seed: int,
    stop_after: int | None,
) -> str:
    """What a checkpoint must share with a fit for the fit to go on from it."""
    sections = [section.model_dump(mode="json") for section in (model, loss, training)]
    content = json.dumps([sections, asdict(shape), counts.tolist(), examples, seed, stop_after], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
