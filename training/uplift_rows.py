"""Units of uplift in a working directory: feature rows as of the day of the contact, encoder, arrays."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from recsys.durable import rename
from recsys.errors import DataError
from recsys.features.definition import FeatureDefinition
from recsys.features.encoder import Encoder
from recsys.features.encoder_state import EncoderState
from recsys.features.features import features
from recsys.lake.buckets import stable_hashes
from recsys.lake.parts import BucketReader, joined
from recsys.lake.store import Lake
from recsys.progress import Progress
from recsys.uplift.config import UpliftConfig
from recsys.uplift.trials import Trials, find_trials
from recsys.uplift.units import Part, Split, check_units, split_of, units, without_holders
from training.churn_checks import outcome_leaks
from training.rows import map_arrays, mapped_arrays

DONE = "encoder.json"
COPIES = 3.0
"""What the units of a bucket take at most, in sizes of its tables."""
KEPT = ("as_of", "trial", "arm", "propensity", "outcome")


@dataclass(frozen=True)
class UpliftUnits:
    """N units: customers as they were seen on the day of a contact, made or withheld."""

    arrays: dict[str, np.ndarray]
    """The encoder's customer arrays."""
    outcome: np.ndarray
    """float64 [N]."""
    trial: np.ndarray
    """int64 [N], place among the trials."""
    arm: np.ndarray
    """int64 [N], 0 the control."""
    propensity: np.ndarray
    """float64 [N] probability of that arm."""
    customer: np.ndarray
    """int64 [N], a hash."""

    def __len__(self) -> int:
        return len(self.outcome)


@dataclass(frozen=True)
class UpliftRows:
    """What uplift learns from."""

    trials: Trials
    split: Split
    encoder: Encoder
    train: UpliftUnits


def prepare_uplift(
    config: UpliftConfig,
    reader: BucketReader,
    definition: FeatureDefinition,
    encoder: Encoder | None,
    *,
    until: date | None,
    trusted: Sequence[str],
    log_unit: float | None,
    work: Path,
    progress: Progress,
) -> UpliftRows:
    """Make rows and arrays under `work`, or open them if they were finished there before. The test is not read.

    Raises ConfigError or DataError where the lake cannot tell what a contact adds, or a column that is not `trusted`
    tells the outcome by itself.
    """
    trials = find_trials(reader.lake, config, until)
    split = split_of(trials, config)
    done = work / DONE
    if not done.exists():
        shutil.rmtree(work, ignore_errors=True)
        folder = work / "rows"
        folder.mkdir(parents=True)
        state = None if encoder else EncoderState(definition, reader.lake.read("products"), log_unit)
        for bucket, rows in unit_rows(config, reader, definition, trials, split, "train", progress):
            if state is not None:
                state.update(rows)
            rows.write_parquet(folder / f"{bucket:05d}.parquet", compression="lz4")
        paths = sorted(folder.glob("*.parquet"))
        _check(paths, definition, trusted)
        fitted = encoder or state.finish()  # type: ignore[union-attr]
        map_arrays(paths, work / "arrays", lambda frame: _arrays(frame, fitted))
        partial = done.with_suffix(".partial")
        partial.write_text(fitted.model_dump_json(), encoding="utf-8")
        rename(partial, done)
    encoder = Encoder.model_validate(json.loads(done.read_text(encoding="utf-8")))
    return UpliftRows(trials, split, encoder, as_units(mapped_arrays(work / "arrays")))


def unit_rows(
    config: UpliftConfig,
    reader: BucketReader,
    definition: FeatureDefinition,
    trials: Trials,
    split: Split,
    part: Part,
    progress: Progress,
) -> Iterator[tuple[int, pl.DataFrame]]:
    """For each bucket with any its number and the feature rows of the part's units, with the columns KEPT."""
    lake = reader.lake
    chosen = split.test if part == "test" else split.train
    known = sum(trials.found[i].units for i in chosen)
    sampled = BucketReader(lake, reader.memory, min(1.0, config.examples / max(known, 1)))
    for bucket in range(lake.buckets):
        found = []
        for tables in sampled.parts(bucket, COPIES):
            rows = units(tables, config, trials.found, split, part)
            if rows.height:
                found.append(_seen(tables, rows, definition, trials))
        if found:
            yield bucket, joined(found)
        progress(bucket + 1, lake.buckets, f"uplift: features for {part}")


def _seen(
    tables: dict[str, pl.DataFrame], rows: pl.DataFrame, definition: FeatureDefinition, trials: Trials
) -> pl.DataFrame:
    examples = rows.select(
        "customer_id",
        "as_of",
        pl.lit(None, dtype=pl.Int64).alias("position"),
        pl.lit([], dtype=pl.List(pl.String)).alias("hidden"),
    )
    seen = features(tables, examples, definition).with_columns(rows[name] for name in KEPT)
    return without_holders(seen, trials.found)


def encoded(rows: pl.DataFrame, encoder: Encoder) -> UpliftUnits:
    """Feature rows with the columns KEPT as units in memory."""
    return as_units(_arrays(rows, encoder))


def as_units(arrays: dict[str, np.ndarray]) -> UpliftUnits:
    """The units among the arrays that `_arrays` makes."""
    rest = dict(arrays)
    trial, arm, customer = (np.array(rest.pop(name)).astype(np.int64) for name in ("trial", "arm", "customer"))
    outcome, propensity = (np.array(rest.pop(name)).astype(np.float64) for name in ("outcome", "propensity"))
    return UpliftUnits(rest, outcome, trial, arm, propensity, customer)


def _arrays(frame: pl.DataFrame, encoder: Encoder) -> dict[str, np.ndarray]:
    found = {name: frame[name].to_numpy() for name in KEPT if name != "as_of"}
    return encoder.encode(frame) | found | {"customer": stable_hashes(frame["customer_id"]).view(np.int64)}


def _check(paths: list[Path], definition: FeatureDefinition, trusted: Sequence[str]) -> None:
    if not paths:
        raise DataError(
            "uplift: no unit is left to learn from: of none the outcome and a propensity in between are known"
        )
    rows = pl.concat([pl.read_parquet(path) for path in paths])
    check_units(rows["arm"].to_numpy() > 0, rows["outcome"].to_numpy(), "train")
    leaks = [leak for leak in outcome_leaks(rows, definition) if leak.column not in trusted]
    if leaks:
        names = ", ".join(leak.column for leak in leaks)
        told = "; ".join(f"customers.{leak.column} (AUC {leak.auc:.4f})" for leak in leaks)
        raise DataError(
            f"uplift: {told} tells the outcome alone and is most likely known only afterwards. Give it the role "
            f"outcome in the catalog, or leave it out: --set 'features.exclude=[{names}]'; if the bank does know it in "
            f"advance: --set 'features.trusted=[{names}]'"
        )


def product_attributes(lake: Lake) -> pl.DataFrame:
    """The catalogue: product_id and its categories that are features, as text."""
    names = [a.name for a in lake.attributes("products") if a.role == "feature" and a.kind == "category"]
    return lake.read("products").select("product_id", *(pl.col(name).cast(pl.String) for name in names))
