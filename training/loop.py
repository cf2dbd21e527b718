"""The loop that every network is trained in: optimiser, best epoch, checkpoints, and a fit that can be resumed."""

import logging
import math
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np
import pytorch_lightning as lightning
import torch
from pydantic import BaseModel, ByteSize, ConfigDict, Field
from torch import Tensor, nn

from recsys.errors import ConfigError
from recsys.progress import Progress
from training.batches import Epochs
from training.optimizer import SparseAdamW, clip_gradients
from training.processes import as_in_one, hush, mean_over_processes, relayed, settle, strategy

LAST, BEST = "last.ckpt", "best.pt"
Model = TypeVar("Model", bound=nn.Module)
OnEpoch = Callable[[dict[str, float]], None]
"""Called after each epoch with its record (see `FitResult.history`); what it raises ends the fit."""


class TrainingConfig(BaseModel):
    """The optimiser and when to stop."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(10, ge=1)
    """Passes over the examples at most; the learning rate's cosine ends here."""
    customers: int | None = Field(None, ge=1)
    """About how many customers give examples of training and validation, chosen by a hash of their ids; all if not
    given. The test is never a sample, and adoption has a sample of its own (adoption.examples)."""
    shuffle: ByteSize = Field(ByteSize(1 << 30), ge=1 << 20)
    """Examples up to this size are shuffled all together; more, in windows of about this size of random shards."""
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
    devices: int = Field(1, ge=1, le=64)
    """Processes (cpu) or cards (gpu) that share every batch of the recommender; see docs/scale.md."""


@dataclass(frozen=True)
class FitResult(Generic[Model]):
    """A fitted model and how it came about."""

    model: Model
    """With the weights of the best epoch, in evaluation mode, on the CPU."""
    history: list[dict[str, float]]
    """One record an epoch: epoch (from 1), loss, the validation metric under its name, seconds."""
    best_epoch: int
    """From 1."""
    metric: float
    """The validation metric of the best epoch."""
    seconds: float
    """Training time over all epochs, those before a resumption included; with a refit, of both fits."""
    refit: tuple[dict[str, float], ...] = ()
    """The records of the last fit on training and validation together: epoch, loss, seconds; empty without one."""


class Task(Protocol[Model]):
    """What differs between networks: the model, its loss, and the validation metric that picks the best epoch."""

    model: Model
    metric: str

    def loss(self, batch: Any) -> Tensor:
        """The loss of one batch, a scalar."""
        ...

    def validate(self) -> float:
        """The metric over the validation examples, higher is better; called in evaluation mode."""
        ...


def run_fit(
    task: Task[Model],
    epochs: Epochs,
    training: TrainingConfig,
    *,
    seed: int,
    identity: str,
    directory: Path,
    progress: Progress | None = None,
    on_epoch: OnEpoch | None = None,
    stop_after: int | None = None,
    weight: Callable[[Any], float] | None = None,
) -> FitResult[Model]:
    """Train the task's model over the epochs' examples, keeping the epoch with the best metric.

    With `stop_after` nothing is validated: the fit takes the same course of the learning rate, ends after that epoch,
    and its last weights are kept; the result's metric is then not a number. With a `weight`, that of a batch in a mean
    over parts of a batch, `training.devices` processes share every batch; without one the task is fitted in this one.

    Called within `quiet_and_deterministic`. `directory` gets a checkpoint an epoch; a fit that was stopped goes on
    from there and ends with the same weights as one that was not; `on_epoch` hears of the earlier epochs too. Raises
    ConfigError if `directory` belongs to another fit, one of another `identity`, or `on_epoch` is to hear of several
    processes' epochs.
    """
    several = weight is not None and training.devices > 1
    if several and on_epoch is not None:
        raise ConfigError(f"training.devices: {training.devices}: a search tries one process's trainings; give it 1")
    directory.mkdir(parents=True, exist_ok=True)
    loop = Loop(task, training, seed, stop_after)
    loop.weight = weight if several else None
    loop.steps = len(epochs)
    loop.directory, loop.identity, loop.progress, loop.on_epoch = directory, identity, progress, on_epoch
    loop.resume()
    if on_epoch is not None:
        for record in loop.history:
            on_epoch(record)
    epochs.epoch, epochs.part = loop.present_epoch, loop.part
    if not loop.finished:
        with _interrupted_as_usual(), relayed(progress) if several else nullcontext(progress) as loop.progress:
            _trainer(loop.epochs, training, several).fit(
                loop,
                train_dataloaders=epochs,
                ckpt_path=directory / LAST if loop.history else None,
                weights_only=True,
            )
        loop.resume()  # the history of other processes comes back with their last checkpoint
    task.model.load_state_dict(torch.load(directory / BEST, map_location="cpu", weights_only=True))
    return FitResult(
        model=task.model.cpu().eval(),
        history=loop.history,
        best_epoch=int(loop.best["epoch"]),
        metric=loop.best.get(task.metric, math.nan),
        seconds=sum(record["seconds"] for record in loop.history),
    )


class Loop(lightning.LightningModule):
    """A task's model and optimiser, and after every epoch: validate, keep the best, write the checkpoint."""

    def __init__(self, task: Task[Any], training: TrainingConfig, seed: int, stop_after: int | None = None) -> None:
        super().__init__()
        self.model = task.model
        self.task = task
        self.training_config = training
        self.seed = seed
        self.stop_after = stop_after
        self.epochs = stop_after or training.epochs
        self.steps = 1
        self.directory = Path()
        self.identity = ""
        self.progress: Progress | None = None
        self.on_epoch: OnEpoch | None = None
        self.weight: Callable[[Any], float] | None = None
        """Of a part of a batch in the batch's mean; None in a fit of one process."""
        self.threads = torch.get_num_threads()
        self.history: list[dict[str, float]] = []
        self._losses: list[Tensor] = []
        self._began = 0.0

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        hush()  # only other processes are sent a loop

    def training_step(self, batch: Any, index: int) -> Tensor:
        """The batch's loss."""
        loss = self.task.loss(batch)
        if self.weight is not None:
            loss = as_in_one(loss, self.weight(batch))
        self._losses.append(loss.detach())
        if self.progress is not None and self.trainer.is_global_zero:
            done = self.current_epoch * self.steps + index + 1
            self.progress(done, self.epochs * self.steps, self._state())
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
        optimizer = SparseAdamW(groups, lr=config.learning_rate, fused=True)
        total = config.epochs * self.steps
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, total, config.warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        """Lightning's own cannot read sparse gradients."""
        clip_gradients(self.model.parameters(), self.training_config.gradient_clip)

    def on_fit_start(self) -> None:
        """A new process computes as the one that started it, and has its share of the threads."""
        if self.weight is not None:
            settle(max(1, self.threads // self.trainer.world_size))

    def present_epoch(self) -> int:
        """From 0."""
        return int(self.current_epoch)

    def part(self) -> tuple[int, int]:
        """Which of how many processes this is."""
        return (0, 1) if self.weight is None else (self.trainer.global_rank, self.trainer.world_size)

    def on_train_epoch_start(self) -> None:
        """Dropout and sampling of an epoch depend on seed and epoch alone, so a resumed fit draws the same."""
        torch.manual_seed(int(np.random.SeedSequence((self.seed, self.current_epoch)).generate_state(1)[0]))
        self._losses = []
        self._began = time.perf_counter()

    def on_train_epoch_end(self) -> None:
        """Validate, keep the weights if they are the best so far, write the checkpoint, stop when patience is over."""
        loss = torch.stack(self._losses).mean()
        if self.weight is not None:
            loss = mean_over_processes(loss)
        record = {"epoch": float(self.current_epoch + 1), "loss": float(loss)}
        if self.stop_after is None:
            record[self.task.metric] = self.trainer.strategy.broadcast(self._validate())
        record["seconds"] = time.perf_counter() - self._began
        self.history.append(record)
        if self.best is record and self.trainer.is_global_zero:
            _replace(self.directory / BEST, self.model.state_dict())
        partial = self.directory / f"{LAST}.partial"
        self.trainer.save_checkpoint(partial)  # the first process writes, the others wait for it
        if self.trainer.is_global_zero:
            os.replace(partial, self.directory / LAST)
        if self.on_epoch is not None:
            self.on_epoch(record)
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
        """The record of the best epoch so far, the earlier of equals; of the last one where nothing is validated."""
        if self.stop_after is not None:
            return self.history[-1]
        return max(self.history, key=lambda record: record[self.task.metric])

    @property
    def finished(self) -> bool:
        """Whether all epochs were made, or patience is over."""
        if not self.history:
            return False
        waited = self.history[-1]["epoch"] - self.best["epoch"]
        return len(self.history) >= self.epochs or waited >= self.training_config.patience

    @torch.no_grad()
    def _validate(self) -> float:
        self.model.eval()
        found = self.task.validate()
        self.model.train()
        return found

    def _state(self) -> str:
        epoch = f"epoch {self.current_epoch + 1} of {self.epochs}"
        if self.stop_after is not None:
            return f"last fit, {epoch}"
        if not self.history:
            return epoch
        name = self.task.metric
        return f"{epoch}, {name} {self.history[-1][name]:.4f}"


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


def _trainer(epochs: int, training: TrainingConfig, several: bool) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator=training.accelerator,
        devices=training.devices if several else 1,
        strategy=strategy() if several else "auto",
        use_distributed_sampler=False,
        max_epochs=epochs,
        deterministic=True,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@contextmanager
def _interrupted_as_usual() -> Iterator[None]:
    """KeyboardInterrupt for Ctrl-C: Lightning makes a silent exit of it, and is deaf to the next one from then on."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as exit:
        if not isinstance(exit.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None


@contextmanager
def quiet_and_deterministic(threads: int) -> Iterator[None]:
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
