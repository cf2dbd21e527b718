"""Training and validation of churn in a working directory: feature rows with outcomes, encoder, arrays."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from recsys.churn.config import ChurnConfig
from recsys.churn.labels import Label, check_outcomes, check_reach, churn_examples, find_label
from recsys.churn.splits import churn_days
from recsys.durable import rename
from recsys.features.definition import FeatureDefinition
from recsys.features.encoder import Encoder
from recsys.features.encoder_state import EncoderState
from recsys.features.examples import Part
from recsys.features.features import features
from recsys.lake.buckets import stable_hashes
from recsys.lake.parts import BucketReader, joined
from recsys.progress import Progress
from training.adoption_rows import copies
from training.churn_checks import refuse_leaks
from training.churn_models import ChurnData
from training.rows import map_arrays, mapped_arrays

LEARNING: tuple[Part, ...] = ("train", "validation")
DONE = "encoder.json"


@dataclass(frozen=True)
class ChurnRows:
    """What a churn model learns from."""

    label: Label | None
    days: dict[Part, tuple[date | None, ...]]
    encoder: Encoder
    train: ChurnData
    validation: ChurnData
    rows: dict[Part, tuple[Path, ...]]
    """Feature rows with `outcome` and `left`, a file for each bucket."""

    def part(self, part: Part) -> ChurnData:
        """Training or validation."""
        return self.train if part == "train" else self.validation


def prepare_churn(
    config: ChurnConfig,
    reader: BucketReader,
    definition: FeatureDefinition,
    encoder: Encoder | None,
    *,
    until: date | None,
    trusted: tuple[str, ...],
    log_unit: float | None,
    work: Path,
    progress: Progress,
) -> ChurnRows:
    """Make rows and arrays under `work`, or open them if they were finished there before. The test is not read.

    Without an `encoder` one is fitted on the training part alone. `until` is the day after the last event that counts.
    Raises ConfigError or DataError if the lake cannot tell who left, a part lacks one of the outcomes, or an attribute
    that is not `trusted` tells the outcome by itself.
    """
    label, days = find_label(reader.lake, config), churn_days(config, until)
    check_reach(reader.lake, config, days)
    done = work / DONE
    if not done.exists():
        shutil.rmtree(work, ignore_errors=True)
        state = None if encoder else EncoderState(definition, reader.lake.read("products"), log_unit)
        for part in LEARNING:
            left, examples = 0, 0
            folder = work / "rows" / part
            folder.mkdir(parents=True)
            for bucket, rows in churn_rows(config, label, reader, definition, part, until, progress):
                if part == "train" and state is not None:
                    state.update(rows)
                rows.write_parquet(folder / f"{bucket:05d}.parquet", compression="lz4")
                left, examples = left + int(rows["outcome"].sum()), examples + rows.height
            check_outcomes(left, examples, part, config, days[part])
        refuse_leaks(_paths(work, "train"), definition, trusted)
        fitted = encoder or state.finish()  # type: ignore[union-attr]
        for part in LEARNING:
            map_arrays(_paths(work, part), work / "arrays" / part, lambda frame: _arrays(frame, fitted))
        partial = done.with_suffix(".partial")
        partial.write_text(fitted.model_dump_json(), encoding="utf-8")
        rename(partial, done)
    encoder = Encoder.model_validate(json.loads(done.read_text(encoding="utf-8")))
    train, validation = (_data(work / "arrays" / part) for part in LEARNING)
    return ChurnRows(label, days, encoder, train, validation, {p: tuple(_paths(work, p)) for p in LEARNING})


def churn_rows(
    config: ChurnConfig,
    label: Label | None,
    reader: BucketReader,
    definition: FeatureDefinition,
    part: Part,
    until: date | None,
    progress: Progress,
) -> Iterator[tuple[int, pl.DataFrame]]:
    """For each bucket with any its number and the part's feature rows, with `as_of`, `outcome` and `left`."""
    lake, days = reader.lake, churn_days(config, until)[part]
    fraction = {"test": config.test_share, "validation": config.validation_share}
    known = lake.tables["customers"].rows * fraction.get(part, 1 - sum(fraction.values())) * len(days)
    share = min(1.0, config.examples / max(1.0, known))
    for bucket in range(lake.buckets):
        found = []
        for tables in reader.parts(bucket, copies(len(days), share)):
            examples = churn_examples(tables, config, label, part, days, until, share)
            if examples.height:
                rows = features(tables, examples, definition)
                found.append(rows.with_columns(examples["as_of"], examples["outcome"], examples["left"]))
        if found:
            yield bucket, joined(found)
        progress(bucket + 1, lake.buckets, f"churn: features for {part}")


def _arrays(frame: pl.DataFrame, encoder: Encoder) -> dict[str, np.ndarray]:
    outcome = frame["outcome"].to_numpy().astype(np.int8)
    return encoder.encode(frame) | {"outcome": outcome, "customers": stable_hashes(frame["customer_id"]).view(np.int64)}


def _data(folder: Path) -> ChurnData:
    arrays = mapped_arrays(folder)
    outcome, customers = np.array(arrays.pop("outcome")), np.array(arrays.pop("customers"))
    return ChurnData(arrays, outcome, customers)


def _paths(work: Path, part: Part) -> list[Path]:
    return sorted((work / "rows" / part).glob("*.parquet"))
