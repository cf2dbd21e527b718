"""The population that segments were found in, kept with them, so that it can be told when customers are others."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict

from recsys.drift import ColumnDrift, Drift, DriftConfig, drift
from recsys.features.definition import FeatureDefinition
from recsys.population import Population, PopulationState

SEGMENT, UNUSUAL, DISTANCE = "segment.id", "segment.unusual", "segment.distance"
"""Columns beside the features: the segment, whether the customer is unusual, the distance to the own prototype."""


class SegmentsProfile(BaseModel):
    """What the customers of a training run looked like; aggregates only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    customers: Population
    """Every feature, and the columns `SEGMENT`, `UNUSUAL` and `DISTANCE`."""
    distances: dict[str, Population]
    """By segment id the distance of its customers to its prototype."""


class SegmentsProfileState:
    """Counts over buckets, in any order and grouping."""

    def __init__(self, definition: FeatureDefinition, ids: Sequence[str]) -> None:
        self.customers = PopulationState.of_features(definition, (DISTANCE, UNUSUAL), (SEGMENT,))
        self.distances = {segment: PopulationState((DISTANCE,)) for segment in ids}

    def update(self, rows: pl.DataFrame, assigned: pl.DataFrame) -> None:
        """Add feature rows and, in the same order, what `Segmentation.assigned` says of them."""
        beside = assigned.select(
            pl.col("segment_id").alias(SEGMENT),
            pl.col("distance").cast(pl.Float64).alias(DISTANCE),
            pl.col("unusual").cast(pl.Float64).alias(UNUSUAL),
        )
        self.customers.update(rows.hstack(beside))
        for (segment,), members in beside.group_by(SEGMENT):
            self.distances[str(segment)].update(members)

    def finish(self, bins: int = 10) -> SegmentsProfile:
        """The profile, a number cut into about `bins` cells."""
        distances = {segment: state.finish(bins) for segment, state in self.distances.items()}
        return SegmentsProfile(customers=self.customers.finish(bins), distances=distances)


@dataclass(frozen=True)
class SegmentsDrift:
    """What has changed since the profile was made."""

    segments: ColumnDrift
    """The shares of the segments."""
    distance: ColumnDrift
    """Of everybody, to their own prototype."""
    unusual: ColumnDrift
    distances: dict[str, ColumnDrift]
    """By segment; those that nobody is in, now or then, are left out."""
    features: Drift

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def flagged(self) -> list[ColumnDrift]:
        """Everything with a flag: shares and distances first, then features, the farthest drifted first."""
        found = [self.segments, self.distance, self.unusual, *self.distances.values(), *self.features.columns]
        return [column for column in found if column.flag]


def segments_drift(profile: SegmentsProfile, now: SegmentsProfileState, config: DriftConfig) -> SegmentsDrift:
    """Compare the customers of now with the profile; raises DataError if nobody is there."""
    whole = drift(profile.customers, now.customers, config)
    named = {column.column: column for column in whole.columns}
    beside = {name: named[name] for name in (SEGMENT, DISTANCE, UNUSUAL)}
    distances = {}
    for segment, before in profile.distances.items():
        state = now.distances[segment]
        if before.customers and state.customers:
            (found,) = drift(before, state, config).columns
            distances[segment] = found
    features = Drift(whole.before, whole.now, tuple(c for c in whole.columns if c.column not in beside))
    return SegmentsDrift(beside[SEGMENT], beside[DISTANCE], beside[UNUSUAL], distances, features)
