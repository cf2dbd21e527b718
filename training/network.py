"""Training of the two-tower model: configuration, the Lightning module, and the fit that can be resumed."""

import hashlib
import json
import logging
import math
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytorch_lightning as lightning
import torch
from pydantic import BaseModel, ByteSize, ConfigDict, Field
from torch import Tensor

from recsys.errors import ConfigError, DataError
from recsys.features.encoder import FIRST, ArrayShape
from recsys.losses import full_softmax_loss, sample_candidates, sampled_softmax_loss
from recsys.metrics import rank_metrics
from recsys.progress import Progress
from recsys.two_tower import ModelConfig, TwoTower
from training.batches import Batch, Epochs, Examples

LAST, BEST = "last.ckpt", "best.pt"
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


class TrainingConfig(BaseModel):
    """The optimiser and when to stop."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(10, ge=1)
    """Passes over the examples at most; the learning rate's cosine ends here."""
    batch_size: int = Field(512, ge=1)
    """Examples in a step."""
    learning_rate: float = Field(3e-3, gt=0)
    """Highest learning rate of AdamW."""
    weight_decay: float = Field(0.01, ge=0)
    """AdamW's decay of tables and matrices; biases and norms have none."""
    warmup: float = Field(0.05, ge=0, lt=1)
    """Share of all steps in which the learning rate rises from zero; then it falls as a cosine."""
    patience: int = Field(3, ge=1)
    """Epochs without a better validation metric before stopping."""
    metric: str = Field("ndcg@10", pattern=r"^((ndcg|recall|precision|f1|hr|map)@[1-9][0-9]{0,3}|mrr)$")
    """The validation metric, over eligible products, that picks the epoch whose weights are kept."""
    gradient_clip: float = Field(1.0, gt=0)
    """Longest gradient, over all parameters."""
    accelerator: Literal["cpu", "gpu", "auto"] = "cpu"
    """Where to train; repeatable bytes are promised for cpu."""


@dataclass(frozen=True)
class FitResult:
    """A fitted model and how it came about."""

    model: TwoTower
    """With the weights of the best epoch, in evaluation mode, on the CPU."""
    history: list[dict[str, float]]
    """One record an epoch: epoch (from 1), loss, the validation metric under its name, seconds."""
    best_epoch: int
    """From 1."""
    metric: float
    """The validation metric of the best epoch."""
    seconds: float
    """Training time over all epochs, those before a resumption included."""


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
    validation: dict[str, Any],
    seed: int,
    threads: int,
    directory: Path,
    progress: Progress | None = None,
) -> FitResult:
    """Fit on training examples, keeping the epoch that ranks the validation examples best.

    arrays: the encoder's customer arrays, which may be memory-mapped; targets, excluded: int32 [N, T] and [N, H]
    product indices, 0 where there is none, excluded products being no candidates of their row; weights float32 [N];
    products: the encoder's product arrays in catalogue order; validation: `arrays`, `targets`, `excluded` likewise,
    held in memory. `directory` gets a checkpoint an epoch; a fit that was stopped goes on from there and ends with
    the same weights as one that was not. Raises DataError if no validation example has a known target, ConfigError if
    `directory` belongs to another fit.
    """
    examples = Examples(arrays, targets, excluded, weights)
    held_out = _validation_examples(validation)
    counts = _target_counts(targets, shape.products - FIRST)
    identity = _identity(model, loss, training, shape, counts, len(examples), seed)
    directory.mkdir(parents=True, exist_ok=True)
    with _quiet_and_deterministic(threads):
        torch.manual_seed(seed)
        shares = (counts + 1) / (counts + 1).sum()
        catalogue = {name: torch.from_numpy(np.array(values)) for name, values in products.items()}
        two_tower = TwoTower(model, shape, catalogue, shares.log().float())
        network = Network(two_tower, loss, training, shares.float(), held_out, seed)
        network.steps = -(-len(examples) // training.batch_size)
        network.directory, network.identity, network.progress = directory, identity, progress
        network.resume()
        if not network.finished:
            _trainer(training).fit(
                network,
                train_dataloaders=Epochs(examples, training.batch_size, seed, lambda: network.current_epoch),
                ckpt_path=directory / LAST if network.history else None,
                weights_only=True,
            )
        network.model.load_state_dict(torch.load(directory / BEST, map_location="cpu", weights_only=True))
    best = network.best
    return FitResult(
        model=network.model.cpu().eval(),
        history=network.history,
        best_epoch=int(best["epoch"]),
        metric=best[training.metric],
        seconds=sum(record["seconds"] for record in network.history),
    )


class Network(lightning.LightningModule):
    """The model, its loss, its optimiser, and after every epoch: validate, keep the best, write the checkpoint."""

    def __init__(
        self,
        model: TwoTower,
        loss: LossConfig,
        training: TrainingConfig,
        shares: Tensor,
        validation: Examples,
        seed: int,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.training_config = training
        self.validation = validation
        self.seed = seed
        self.steps = 1
        self.directory = Path()
        self.identity = ""
        self.progress: Progress | None = None
        self.history: list[dict[str, float]] = []
        self._losses: list[Tensor] = []
        self._began = 0.0
        self.register_buffer("shares", shares, persistent=False)
        self.shares: Tensor

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """The batch's loss, exact or sampled."""
        targets, weights, excluded = batch["targets"], batch["weights"], batch["excluded"]
        if self.training_config.batch_size * len(self.shares) * _FLOAT <= self.loss.memory:
            customers, products = self.model(batch["arrays"])
            loss = full_softmax_loss(customers, products, targets, weights, excluded)
        else:
            columns, correction = sample_candidates(targets, self.shares, self.loss.negatives)
            customers, candidates = self.model(batch["arrays"], columns)
            loss = sampled_softmax_loss(customers, candidates, columns, correction, targets, weights, excluded)
        self._losses.append(loss.detach())
        if self.progress is not None:
            done = self.current_epoch * self.steps + index + 1
            self.progress(done, self.training_config.epochs * self.steps, self._state())
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW with warm-up and cosine."""
        config = self.training_config
        learned = [p for p in self.model.parameters() if p.requires_grad]
        decayed = [p for p in learned if p.ndim > 1 and p.shape[-1] > 1]
        others = [p for p in learned if not (p.ndim > 1 and p.shape[-1] > 1)]
        groups = [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
        total = config.epochs * self.steps
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, total, config.warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        """Dropout and sampling of an epoch depend on seed and epoch alone, so a resumed fit draws the same."""
        torch.manual_seed(int(np.random.SeedSequence((self.seed, self.current_epoch)).generate_state(1)[0]))
        self._losses = []
        self._began = time.perf_counter()

    def on_train_epoch_end(self) -> None:
        """Validate, keep the weights if they are the best so far, write the checkpoint, stop when patience is over."""
        name = self.training_config.metric
        record = {
            "epoch": float(self.current_epoch + 1),
            "loss": float(torch.stack(self._losses).mean()),
            name: self.validate(),
        }
        record["seconds"] = time.perf_counter() - self._began
        self.history.append(record)
        if self.best is record:
            _replace(self.directory / BEST, self.model.state_dict())
        partial = self.directory / f"{LAST}.partial"
        self.trainer.save_checkpoint(partial)
        os.replace(partial, self.directory / LAST)
        self.trainer.should_stop = self.finished

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The checkpoint says which fit it belongs to and what happened so far."""
        checkpoint["identity"] = self.identity
        checkpoint["history"] = self.history

    def resume(self) -> None:
        """Take over the history of the last checkpoint, if there is one."""
        path = self.directory / LAST
        if not path.exists():
            return
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        if checkpoint["identity"] != self.identity:
            raise ConfigError(f"{self.directory}: holds the checkpoints of another fit; remove it or name another")
        self.history = checkpoint["history"]

    @property
    def best(self) -> dict[str, float]:
        """The record of the best epoch so far, the earlier of equals."""
        return max(self.history, key=lambda record: record[self.training_config.metric])

    @property
    def finished(self) -> bool:
        """Whether all epochs were made, or patience is over."""
        if not self.history:
            return False
        waited = self.history[-1]["epoch"] - self.best["epoch"]
        return len(self.history) >= self.training_config.epochs or waited >= self.training_config.patience

    @torch.no_grad()
    def validate(self) -> float:
        """Mean over the validation customers of the metric, ranking every product that is not excluded."""
        self.model.eval()
        products, table = self.model.product(self.model.catalogue()).T, self.model.held_table()
        size = max(1, _VALIDATION_CELLS // products.shape[1])
        total = 0.0
        for start in range(0, len(self.validation), size):
            batch = self.validation.batch(slice(start, start + size))
            arrays = {name: values.to(self.device) for name, values in batch["arrays"].items()}
            scores = (self.model.customer(arrays, table) @ products).cpu().numpy()
            total += _metric(self.training_config.metric, scores, batch["targets"], batch["excluded"]).sum()
        self.model.train()
        return float(total / len(self.validation))

    def _state(self) -> str:
        epoch = f"epoch {self.current_epoch + 1} of {self.training_config.epochs}"
        if not self.history:
            return epoch
        name = self.training_config.metric
        return f"{epoch}, {name} {self.history[-1][name]:.4f}"


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
) -> str:
    """What a checkpoint must share with a fit for the fit to go on from it."""
    sections = [section.model_dump(mode="json") for section in (model, loss, training)]
    content = json.dumps([sections, asdict(shape), counts.tolist(), examples, seed], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _rate(step: int, total: int, warmup: float) -> float:
    """The learning rate's factor: rising over the first share of steps, then half a cosine down to zero."""
    rising = max(1, round(total * warmup))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1, total - rising))))


def _replace(path: Path, state: dict[str, Any]) -> None:
    partial = path.with_name(f"{path.name}.partial")
    torch.save(state, partial)
    os.replace(partial, path)


def _trainer(training: TrainingConfig) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator=training.accelerator,
        devices=1,
        max_epochs=training.epochs,
        gradient_clip_val=training.gradient_clip,
        deterministic=True,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@contextmanager
def _quiet_and_deterministic(threads: int) -> Iterator[None]:
    """Deterministic algorithms on `threads` threads and no chatter from Lightning; all as it was afterwards."""
    logger = logging.getLogger("pytorch_lightning")
    level, before = logger.level, torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    logger.setLevel(logging.ERROR)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric|lightning_utilities)\b")
            yield
    finally:
        logger.setLevel(level)
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(deterministic)
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
