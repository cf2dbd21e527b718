"""Examples of adoption as arrays: every customer from several days, and when each product was first acquired."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TypedDict

import numpy as np
import polars as pl
import torch
from torch import Tensor

from recsys.features.adoption_examples import adoption_examples
from recsys.features.definition import FeatureDefinition
from recsys.features.encoder import FIRST, Encoder
from recsys.features.features import features
from recsys.lake.parts import BucketReader, joined

HELD = -1


class AdoptionBatch(TypedDict):
    """Some examples as tensors, as `hazard_loss` reads them."""

    arrays: dict[str, Tensor]
    first: Tensor
    finished: Tensor


@dataclass(frozen=True)
class AdoptionExamples:
    """Examples at rest, memory-mapped: row i of each array is example i."""

    arrays: dict[str, np.ndarray]
    """The encoder's customer arrays."""
    first: np.ndarray
    """int8 [N, P] the interval in which each product was first acquired, as many as there are for none, -1 for held."""
    finished: np.ndarray
    """int8 [N] intervals that are over."""

    def __len__(self) -> int:
        return len(self.finished)

    def batch(self, rows: np.ndarray | slice) -> AdoptionBatch:
        """The given rows."""
        return AdoptionBatch(
            arrays={name: torch.from_numpy(np.array(values[rows])) for name, values in self.arrays.items()},
            first=torch.from_numpy(self.first[rows].astype(np.int64)),
            finished=torch.from_numpy(self.finished[rows].astype(np.int64)),
        )


def copies(days: int, share: float) -> float:
    """What a bucket's rows of so many days take at most, in sizes of its tables (measured: docs/scale.md)."""
    return 2.0 + 0.25 * days * min(1.0, share)


def adoption_rows(
    reader: BucketReader,
    definition: FeatureDefinition,
    horizons: Sequence[int],
    days: Sequence[date],
    end: date,
    most: int | None = None,
) -> Iterator[tuple[int, pl.DataFrame]]:
    """For each bucket its number and feature rows with `targets`, `intervals`, `finished`; about `most` rows in all."""
    lake = reader.lake
    share = 1.0 if most is None else most / max(1, lake.tables["customers"].rows * len(days))
    for bucket in range(lake.buckets):
        found = []
        for tables in reader.parts(bucket, copies(len(days), share)):
            examples = adoption_examples(tables, horizons, days, end, share)
            rows = features(tables, examples, definition)
            found.append(rows.with_columns(examples["targets"], examples["intervals"], examples["finished"]))
        yield bucket, joined(found)


def first_acquired(rows: pl.DataFrame, encoder: Encoder, intervals: int) -> np.ndarray:
    """int8 [N, P] of `AdoptionExamples.first` from rows of `adoption_rows`."""
    first = np.full((rows.height, len(encoder.products)), intervals, dtype=np.int8)
    row, index = encoder.flat_products(rows["targets"])
    known = index >= FIRST
    told = rows["intervals"].filter(rows["intervals"].list.len() > 0).explode().to_numpy()
    first[row[known], index[known] - FIRST] = told[known]
    row, index = encoder.flat_products(rows["holdings"])
    known = index >= FIRST
    first[row[known], index[known] - FIRST] = HELD
    return first


def write_arrays(
    rows: Iterator[tuple[int, pl.DataFrame]], encoder: Encoder, horizons: int, folder: Path
) -> AdoptionExamples:
    """Encode rows into memory-mapped arrays under `folder`, one bucket in memory at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.bin"):
        old.unlink()
    kinds: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}
    total = 0
    for _, frame in rows:
        if not frame.height:
            continue
        chunk = encoder.encode(frame)
        chunk["first"] = first_acquired(frame, encoder, horizons)
        chunk["finished"] = frame["finished"].to_numpy().astype(np.int8)
        for name, values in chunk.items():
            kinds[name] = (values.dtype, values.shape[1:])
            with (folder / f"{name}.bin").open("ab") as stream:
                np.ascontiguousarray(values).tofile(stream)
        total += frame.height
    maps = {
        name: np.memmap(folder / f"{name}.bin", dtype=dtype, mode="r", shape=(total, *tail))
        for name, (dtype, tail) in kinds.items()
    }
    if not total:
        return AdoptionExamples({}, np.empty((0, 0), dtype=np.int8), np.empty(0, dtype=np.int8))
    first, finished = maps.pop("first"), maps.pop("finished")
    return AdoptionExamples(dict(maps), first, finished)
