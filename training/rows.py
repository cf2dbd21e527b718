"""Feature rows and arrays of a training run, bucket by bucket, kept in its working directory."""

from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import polars as pl

from recsys.errors import DataError
from recsys.features.definition import FeatureDefinition
from recsys.features.encoder import Encoder
from recsys.features.encoder_state import EncoderState
from recsys.features.examples import EvaluationConfig, Learning, protocol_examples
from recsys.features.features import features
from recsys.lake.parts import BucketReader, joined
from recsys.progress import Progress
from training.batches import Examples


def example_rows(
    reader: BucketReader, definition: FeatureDefinition, config: EvaluationConfig, part: Learning
) -> Iterator[tuple[int, dict[str, pl.DataFrame], pl.DataFrame]]:
    """For each part of each bucket the bucket's number, tables, and feature rows with `targets` and `weight`."""
    for bucket in range(reader.lake.buckets):
        for tables in reader.parts(bucket, copies(config)):
            examples = protocol_examples(tables, config, part, reader.lake.as_of)
            rows = features(tables, examples, definition)
            yield bucket, tables, rows.with_columns(examples["targets"], examples["weight"])


def copies(config: EvaluationConfig) -> float:
    """What the training rows of a bucket take at most, in sizes of its tables (measured: docs/scale.md)."""
    many = {"temporal": 0.25 * config.snapshots, "given": 1.0 * config.folds}
    return 2.0 + many.get(config.protocol, 2.0)


def write_rows(
    reader: BucketReader,
    definition: FeatureDefinition,
    config: EvaluationConfig,
    work: Path,
    progress: Progress,
    parts: tuple[Learning, ...] = ("train", "validation"),
    log_unit: float | None = None,
) -> EncoderState:
    """Write the rows of the parts as Parquet under `work/rows`; return what the encoder saw in training.

    Raises DataError if a part has no example.
    """
    lake = reader.lake
    state = EncoderState(definition, lake.read("products"), log_unit)
    for i, part in enumerate(parts):
        folder = work / "rows" / part
        folder.mkdir(parents=True, exist_ok=True)
        examples = 0
        found = example_rows(reader, definition, config, part)
        for bucket, parts_of_bucket in groupby(found, key=itemgetter(0)):
            rows = joined([rows for _, _, rows in parts_of_bucket])
            if part == "train":
                state.update(rows)
            rows.write_parquet(folder / f"{bucket:05d}.parquet", compression="lz4")
            examples += rows.height
            progress(i * lake.buckets + bucket + 1, len(parts) * lake.buckets, f"features for {part}")
        if not examples:
            raise DataError(
                f"evaluation.protocol: {config.protocol} finds no {part} example in this lake; "
                "`recsys check` shows what it looks for"
            )
    return state


def write_arrays(work: Path, part: Learning, encoder: Encoder) -> None:
    """Encode the rows of a part into arrays under `work/arrays`, one bucket in memory at a time."""
    paths = sorted((work / "rows" / part).glob("*.parquet"))
    size = pl.scan_parquet(paths).select(
        pl.col("targets").list.len().max().alias("targets"), pl.col("holdings").list.len().max().alias("held")
    )
    width, held = (int(value or 0) for value in size.collect().row(0))

    def arrays(frame: pl.DataFrame) -> dict[str, np.ndarray]:
        chunk = encoder.encode(frame)
        chunk["targets"] = encoder.padded_products(frame["targets"], width)
        chunk["excluded"] = encoder.padded_products(frame["holdings"], max(held, 1))
        chunk["weights"] = frame["weight"].to_numpy().astype(np.float32)
        return chunk

    map_arrays(paths, work / "arrays" / part, arrays)


def map_arrays(paths: list[Path], folder: Path, made: Callable[[pl.DataFrame], dict[str, np.ndarray]]) -> None:
    """Write what is `made` of each file's rows, one after another, as one `.npy` per array into `folder`."""
    total = int(pl.scan_parquet(paths).select(pl.len()).collect().item())
    folder.mkdir(parents=True, exist_ok=True)
    maps: dict[str, np.memmap] = {}
    start = 0
    for path in paths:
        frame = pl.read_parquet(path)
        if not frame.height:
            continue
        for name, values in made(frame).items():
            if name not in maps:
                maps[name] = np.lib.format.open_memmap(
                    folder / f"{name}.npy", mode="w+", dtype=values.dtype, shape=(total, *values.shape[1:])
                )
            maps[name][start : start + frame.height] = values
        start += frame.height
    for mapped in maps.values():
        mapped.flush()


def open_arrays(work: Path, part: Learning) -> Examples:
    """The arrays of a part, memory-mapped."""
    maps = mapped_arrays(work / "arrays" / part)
    targets, excluded, weights = maps.pop("targets"), maps.pop("excluded"), maps.pop("weights")
    return Examples(arrays=maps, targets=targets, excluded=excluded, weights=weights)


def mapped_arrays(folder: Path) -> dict[str, np.ndarray]:
    """The arrays that `map_arrays` wrote, memory-mapped."""
    return {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}
