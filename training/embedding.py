"""Fitting of the embedding: customers as seen on the last day, an autoencoder, their histories, what they do next."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from recsys.ahead import AheadConfig, targets_of
from recsys.autoencoder import Autoencoder, AutoencoderConfig, Inputs, bin_edges
from recsys.durable import rename
from recsys.embedding import Embedding
from recsys.errors import ConfigError, DataError
from recsys.features.definition import FeatureDefinition
from recsys.features.encoder import Encoder
from recsys.features.encoder_state import EncoderState
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.parts import BucketReader, joined, sample_share
from recsys.lake.store import Lake
from recsys.progress import Progress
from recsys.sequence_encoder import HISTORY, SequenceConfig, SequenceEncoder
from training.ahead import EDGES_ROWS, Earlier, FittedAhead, earlier, earlier_days, fit_ahead, refusal
from training.batches import Epochs
from training.customers import Chosen, Customers
from training.loop import FitResult, Model, OnEpoch, Task, TrainingConfig, quiet_and_deterministic, run_fit
from training.rows import map_arrays, mapped_arrays

COPIES = 3.0
"""What the feature rows of a bucket take at most, in sizes of its tables."""
VALIDATION_ROWS = 20_000
"""Customers that an epoch is judged by at most."""
DONE = "encoder.json"
_BATCH, _CONTRASTED = 4096, 512


class EmbeddingConfig(BaseModel):
    """Customer embeddings: what they are learned from and how. Leave the section out to not build them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    autoencoder: AutoencoderConfig = AutoencoderConfig()
    """Learns to find a customer's features again from a short vector."""
    sequence: SequenceConfig | None = SequenceConfig()
    """Learns from the order of events, where the lake has histories; null for none."""
    ahead: AheadConfig | None = AheadConfig()
    """Learns what customers do next, where the lake has dated events; null for none."""
    exclude: tuple[str, ...] = ()
    """Columns of the feature rows that are not read, besides those that are protected."""
    customers: int = Field(default=200_000, ge=100)
    """About how many customers are learned from and clustered, drawn by a hash; all are embedded."""
    validation_share: float = Field(default=0.1, gt=0, lt=1)
    """Share of them that picks the epochs."""
    unusual_share: float = Field(default=0.001, gt=0, lt=0.5)
    """Share of them whose reconstruction error counts as unusual."""


@dataclass(frozen=True)
class Fitted:
    """What training made of the section."""

    model: Embedding
    autoencoder: FitResult[Autoencoder]
    sequence: FitResult[SequenceEncoder] | None
    ahead: FittedAhead | str
    """What customers do next, or why it was not learned."""


def write_customers(
    reader: BucketReader,
    definition: FeatureDefinition,
    as_of: date | None,
    work: Path,
    progress: Progress,
    log_unit: float | None = None,
) -> EncoderState:
    """Write the feature rows of every customer, seen from `as_of`, under `work`; return what an encoder saw."""
    lake = reader.lake
    state = EncoderState(definition, lake.read("products"), log_unit)
    folder = work / "rows"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    count = 0
    for bucket in range(lake.buckets):
        parts = []
        for tables in reader.parts(bucket, COPIES):
            ids = tables["customers"]["customer_id"].unique().sort()
            if len(ids):
                parts.append(features(tables, scoring_examples(ids, as_of), definition))
        if parts:
            rows = joined(parts)
            state.update(rows)
            rows.write_parquet(folder / f"{bucket:05d}.parquet", compression="lz4")
            count += rows.height
        progress(bucket + 1, lake.buckets, "features of every customer")
    if not count:
        raise DataError(f"{lake.path}: no customer to learn an embedding from")
    return state


def prepare_customers(
    lake: Lake,
    config: EmbeddingConfig,
    definition: FeatureDefinition,
    encoder: Encoder | None,
    as_of: date | None,
    memory: int,
    work: Path,
    progress: Progress,
    log_unit: float | None = None,
) -> tuple[Customers, Encoder]:
    """The customers' rows and arrays under `work`, made unless they were finished there before, and their encoder.

    Without an `encoder` one is fitted on these customers, with the `log_unit` of the features.
    """
    share = sample_share(lake, config.customers)
    done = work / DONE
    if not done.exists():
        state = write_customers(BucketReader(lake, memory, share), definition, as_of, work, progress, log_unit)
        encoder = encoder or state.finish()
        map_arrays(sorted((work / "rows").glob("*.parquet")), work / "arrays", encoder.encode)
        partial = done.with_suffix(".partial")
        partial.write_text(encoder.model_dump_json(), encoding="utf-8")
        rename(partial, done)
    encoder = Encoder.model_validate_json(done.read_text(encoding="utf-8"))
    rows = tuple(sorted((work / "rows").glob("*.parquet")))
    return Customers(rows, mapped_arrays(work / "arrays"), share), encoder


def prepare_earlier(
    lake: Lake,
    config: EmbeddingConfig,
    customers: Customers,
    inputs: Inputs,
    definition: FeatureDefinition,
    encoder: Encoder,
    as_of: date | None,
    memory: int,
    work: Path,
    progress: Progress,
) -> list[Earlier] | str:
    """The same customers as of earlier days, the latest first, and what they did since; or why nothing is learned."""
    reason = refusal(config.ahead, definition, inputs)
    if reason or config.ahead is None or as_of is None:
        return reason or "the lake has no dated events"
    found: list[Earlier] = []
    for day in earlier_days(config.ahead, as_of):
        folder = work / str(day)
        then, _ = prepare_customers(lake, config, definition, encoder, day, memory, folder, progress)
        found.append(earlier(customers, then, definition, targets_of(inputs, config.ahead.horizon_days)))
        customers = then
    return found


def inputs_of(config: EmbeddingConfig, lake: Lake, encoder: Encoder) -> Inputs:
    """What the autoencoder reads. Raises ConfigError for an excluded name that is no column of a feature row."""
    columns = (*encoder.customer.numbers, *encoder.customer.categories, *encoder.customer.tags)
    for name in config.exclude:
        if name not in columns:
            raise ConfigError(f"embedding.exclude: there is no column {name!r}; there are {', '.join(columns)}")
    never = [a.name for a in lake.attributes("customers") if a.role != "feature"]
    return Inputs.of(encoder, (*config.exclude, *never))


def fit_embedding(
    config: EmbeddingConfig,
    customers: Customers,
    inputs: Inputs,
    encoder: Encoder,
    before: list[Earlier] | str,
    *,
    training: TrainingConfig,
    seed: int,
    threads: int,
    work: Path,
    progress: Progress,
) -> Fitted:
    """Fit both encoders and what customers do next, and settle their scales; `work` gets the checkpoints.

    `before` is what `prepare_earlier` found.
    """
    with quiet_and_deterministic(threads):
        fit = _Fit(config, customers, training, seed, progress)
        autoencoder = fit.autoencoder(inputs, work / "autoencoder")
        sequence = fit.sequence(encoder, work / "sequence")
        ahead = fit.ahead(autoencoder.model, before)
        parts = (sequence.model if sequence else None, ahead.model if isinstance(ahead, FittedAhead) else None)
        model = Embedding(autoencoder.model, *parts).eval()
        _settle(model, customers)
    return Fitted(model, autoencoder, sequence, ahead)


def fit_part(
    part: Literal["autoencoder", "sequence"],
    config: EmbeddingConfig,
    customers: Customers,
    inputs: Inputs,
    encoder: Encoder,
    *,
    training: TrainingConfig,
    seed: int,
    threads: int,
    work: Path,
    progress: Progress,
    on_epoch: OnEpoch,
) -> FitResult[Any]:
    """One of the two encoders; `on_epoch` hears of each epoch. Raises ConfigError if there is nothing to fit it on."""
    with quiet_and_deterministic(threads):
        fit = _Fit(config, customers, training, seed, progress, on_epoch)
        found = fit.autoencoder(inputs, work) if part == "autoencoder" else fit.sequence(encoder, work)
    if found is None:
        raise ConfigError("embedding.sequence: hardly any customer of this lake has a history to learn from")
    return found


def split(rows: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from and rows to judge by, ascending; a handful of customers are both."""
    order = np.random.default_rng((seed, 11)).permutation(rows)
    held_out = min(VALIDATION_ROWS, int(rows * share))
    if not held_out:
        return np.sort(order), np.sort(order)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


class Reconstruction:
    """The task of finding customers again from their vectors."""

    metric = "reconstruction"

    def __init__(self, model: Autoencoder, judging: Chosen) -> None:
        self.model = model
        self.judging = judging

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """From noisy arrays to the arrays as they are."""
        return self.model.loss(batch)

    def validate(self) -> float:
        """Minus the mean error of a feature (`Autoencoder.errors`), without noise, of customers that were kept out."""
        return -_mean(self.model, self.judging, lambda arrays: self.model.error(arrays).mean(), _BATCH)


class Contrast:
    """The task of finding the other slice of the same customer's history."""

    metric = "contrast"

    def __init__(self, model: SequenceEncoder, judging: Chosen) -> None:
        self.model = model
        self.judging = judging

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropy over the batch."""
        return self.model.loss(batch)

    def validate(self) -> float:
        """Minus the mean loss on the customers that were kept out, in slices and batches that stay the same."""
        drawn = torch.Generator().manual_seed(0)
        return -_mean(self.model, self.judging, lambda arrays: self.model.loss(arrays, drawn), _CONTRASTED)


def _mean(
    model: torch.nn.Module, judging: Chosen, measure: Callable[[dict[str, Tensor]], Tensor], batch_size: int
) -> float:
    """Of all rows, batch by batch, where the model is."""
    total, device = 0.0, next(model.parameters()).device
    for start in range(0, len(judging), batch_size):
        found = judging.batch(slice(start, start + batch_size))
        batch = {name: values.to(device) for name, values in found.items()}
        total += float(measure(batch)) * len(next(iter(batch.values())))
    return total / len(judging)


class _Fit:
    """What the fits of both encoders share."""

    def __init__(
        self,
        config: EmbeddingConfig,
        customers: Customers,
        training: TrainingConfig,
        seed: int,
        progress: Progress,
        on_epoch: OnEpoch | None = None,
    ) -> None:
        self.config, self.customers, self.training = config, customers, training
        self.seed, self.progress, self.on_epoch = seed, progress, on_epoch
        self.learning, self.judging = split(len(customers), config.validation_share, seed)

    def autoencoder(self, inputs: Inputs, work: Path) -> FitResult[Autoencoder]:
        """Fit the autoencoder."""
        config = self.config.autoencoder
        torch.manual_seed(self.seed)
        edges, gaps = _numbers_of(self.customers, inputs, self.learning, config.bins)
        task = Reconstruction(Autoencoder(config, inputs, edges, gaps), Chosen(self.customers, self.judging))
        identity = [config.model_dump(mode="json"), asdict(inputs), edges.tolist()]
        return self._run(task, self.customers, self.learning, config, identity, work)

    def sequence(self, encoder: Encoder, work: Path) -> FitResult[SequenceEncoder] | None:
        """Fit the encoder of histories; None where it is not asked for, or hardly anybody has events enough."""
        config = self.config.sequence
        if config is None or not encoder.shape.history:
            return None
        enough = (np.asarray(self.customers.arrays["history"]) != 0).sum(axis=1) >= config.least_events
        learning, judging = (rows[enough[rows]] for rows in (self.learning, self.judging))
        if len(learning) < config.batch_size or not len(judging):
            return None
        arrays = {name: self.customers.arrays[name] for name in HISTORY if name in self.customers.arrays}
        histories = Customers(self.customers.rows, arrays, self.customers.share)
        torch.manual_seed(self.seed)
        task = Contrast(SequenceEncoder(config, encoder.shape), Chosen(histories, judging))
        identity = [config.model_dump(mode="json"), asdict(encoder.shape)]
        return self._run(task, histories, learning, config, identity, work)

    def ahead(self, autoencoder: Autoencoder, before: list[Earlier] | str) -> FittedAhead | str:
        """Fit what customers do next, from what the autoencoder reads; why not, where it cannot be."""
        if isinstance(before, str) or self.config.ahead is None:
            return before if isinstance(before, str) else "not asked for"
        autoencoder.cpu().eval()
        return fit_ahead(self.config.ahead, autoencoder, self.customers, before, self.learning, self.judging)

    def _run(
        self,
        task: Task[Model],
        customers: Customers,
        learning: np.ndarray,
        config: AutoencoderConfig | SequenceConfig,
        identity: Sequence[object],
        work: Path,
    ) -> FitResult[Model]:
        names = ("epochs", "batch_size", "learning_rate", "weight_decay")
        update = {name: getattr(config, name) for name in names}
        content = json.dumps([*identity, len(learning), self.seed], sort_keys=True)
        return run_fit(
            task,
            Epochs(Chosen(customers, learning), config.batch_size, self.seed),
            self.training.model_copy(update=update),
            seed=self.seed,
            identity=hashlib.sha256(content.encode()).hexdigest(),
            directory=work,
            progress=self.progress,
            on_epoch=self.on_epoch,
        )


def _numbers_of(customers: Customers, inputs: Inputs, learning: np.ndarray, bins: int) -> tuple[Tensor, Tensor]:
    """Edges of the bins and shares of gaps of the numbers that are read, from customers that are learned from."""
    if not inputs.numbers:
        return torch.zeros(0, bins - 1), torch.zeros(0)
    step = -(-len(learning) // EDGES_ROWS)
    rows, columns = learning[::step], list(inputs.number_places)
    numbers, missing = (np.array(customers.arrays[name][rows])[:, columns] for name in ("numbers", "missing"))
    return torch.from_numpy(bin_edges(numbers, missing, bins)), torch.from_numpy(missing.mean(axis=0))


@torch.no_grad()
def _settle(model: Embedding, customers: Customers) -> None:
    vectors, errors = [], []
    for start in range(0, len(customers), _BATCH):
        found, _, error = model.raw(customers.batch(slice(start, start + _BATCH)))
        vectors.append(found)
        errors.append(error)
    model.settle(torch.cat(vectors), torch.cat(errors))
