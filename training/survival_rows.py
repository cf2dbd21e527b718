"""Customers as arrays with how long they stayed, for the survival model, in a working directory."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from recsys.churn.config import ChurnConfig
from recsys.churn.survival_examples import survival_days, survival_examples
from recsys.errors import ConfigError, DataError
from recsys.features.adoption_examples import add_months
from recsys.features.definition import FeatureDefinition
from recsys.features.encoder import Encoder
from recsys.features.examples import Part
from recsys.features.features import features
from recsys.lake.parts import BucketReader, joined
from recsys.lake.store import Lake
from recsys.progress import Progress
from training.adoption_rows import copies
from training.rows import map_arrays, mapped_arrays

QUIET_MONTHS = 3
"""Months in which a lake that keeps its closed accounts may have none."""


@dataclass(frozen=True)
class SurvivalData:
    """Customers and how long they stayed."""

    arrays: dict[str, np.ndarray]
    """The encoder's customer arrays."""
    time: np.ndarray
    """int16 [N] the month of leaving, or the months seen."""
    event: np.ndarray
    """bool [N] whether they left."""

    def __len__(self) -> int:
        return len(self.time)


def prepare_survival(
    config: ChurnConfig,
    reader: BucketReader,
    definition: FeatureDefinition,
    encoder: Encoder,
    *,
    until: date | None,
    work: Path,
    progress: Progress,
) -> dict[Part, SurvivalData]:
    """Arrays of training and validation under `work`. The test is not read.

    Raises ConfigError for days before which nobody is known to have left, DataError where nobody left, or nobody was
    seen through the last month of the longest horizon.
    """
    assert config.survival is not None
    check_survival_days(config, reader.lake, until)
    shutil.rmtree(work, ignore_errors=True)
    found: dict[Part, SurvivalData] = {}
    for part in ("train", "validation"):
        folder = work / "rows" / part
        folder.mkdir(parents=True)
        for bucket, rows in survival_rows(config, reader, definition, part, until, progress):
            rows.write_parquet(folder / f"{bucket:05d}.parquet", compression="lz4")
        paths = sorted(folder.glob("*.parquet"))
        if paths:
            map_arrays(paths, work / "arrays" / part, lambda frame: _arrays(frame, encoder))
            found[part] = _data(work / "arrays" / part)
        _check(found.get(part), part, config.survival.months)
    return found


def survival_rows(
    config: ChurnConfig,
    reader: BucketReader,
    definition: FeatureDefinition,
    part: Part,
    until: date | None,
    progress: Progress,
) -> Iterator[tuple[int, pl.DataFrame]]:
    """For each bucket with any its number and the part's feature rows, with `as_of`, `time` and `event`."""
    assert config.survival is not None
    lake, (days, ends) = reader.lake, survival_days(config, until)
    fraction = {"test": config.test_share, "validation": config.validation_share}
    known = lake.tables["customers"].rows * fraction.get(part, 1 - sum(fraction.values())) * len(days[part])
    share = min(1.0, config.survival.examples / max(1.0, known))
    for bucket in range(lake.buckets):
        found = []
        for tables in reader.parts(bucket, copies(len(days[part]), share)):
            examples = survival_examples(tables, config, part, days[part], ends[part], share)
            if examples.height:
                rows = features(tables, examples, definition)
                found.append(rows.with_columns(examples["as_of"], examples["time"], examples["event"]))
        if found:
            yield bucket, joined(found)
        progress(bucket + 1, lake.buckets, f"survival: features for {part}")


def _arrays(frame: pl.DataFrame, encoder: Encoder) -> dict[str, np.ndarray]:
    told = {"time": frame["time"].to_numpy().astype(np.int16), "event": frame["event"].to_numpy().astype(bool)}
    return encoder.encode(frame) | told


def _data(folder: Path) -> SurvivalData:
    arrays = mapped_arrays(folder)
    time, event = np.array(arrays.pop("time")), np.array(arrays.pop("event"))
    return SurvivalData(arrays, time, event)


def check_survival_days(config: ChurnConfig, lake: Lake, until: date | None) -> tuple[date, ...]:
    """The days from which training sees its customers.

    Before closed accounts were kept, those who are known are those who stayed, which is no survival: ConfigError.
    """
    days = survival_days(config, until)[0]["train"]
    assert config.rule is not None
    if not config.rule.accounts_closed or "closed" not in lake.schema("accounts"):
        return days
    first = lake.scan("accounts").select(pl.col("closed").min()).collect().item()
    early = [day for day in days if first is not None and add_months(day, QUIET_MONTHS) <= first]
    if early:
        raise ConfigError(
            f"churn.survival.snapshots: {len(days)} days begin on {days[0]}, and the lake's first closed account is of "
            f"{first}, so nobody seen before could have left; take {len(early)} fewer, or shorten the longest horizon"
        )
    return days


def _check(data: SurvivalData | None, part: str, months: int) -> None:
    if data is None:
        raise DataError(f"churn.survival: the {part} part has no customer seen for a whole month")
    if not data.event.any():
        raise DataError(f"churn.survival: none of the {len(data):,} examples of the {part} part left; check churn.rule")
    longest = int(data.time.max())
    if longest < months:
        raise DataError(
            f"churn.survival.horizons_months: nobody of the {part} part is followed for {months} months, at most for "
            f"{longest}; shorten the longest horizon to that, or give a longer history"
        )
