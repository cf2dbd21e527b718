"""The customers of a lake beside those that a bundle's segments were found in."""

from datetime import date

from recsys.bundle.segmentation import Segmentation
from recsys.drift import DriftConfig
from recsys.features.everyone import everyone
from recsys.lake.parts import BucketReader
from recsys.progress import Progress
from recsys.segment_profile import SegmentsDrift, SegmentsProfileState, segments_drift


def drift_of(
    segmentation: Segmentation, reader: BucketReader, as_of: date | None, config: DriftConfig, progress: Progress
) -> SegmentsDrift:
    """Assign every customer and compare with the profile in the bundle; a part of a bucket is in memory at a time."""
    state = SegmentsProfileState(segmentation.definition, segmentation.ids)
    for rows in everyone(reader, segmentation.definition, as_of, progress, "buckets"):
        state.update(rows, segmentation.assigned(rows))
    return segments_drift(segmentation.table.profile, state, config)


def drift_config(segmentation: Segmentation) -> DriftConfig:
    """The thresholds of the bundle's configuration."""
    return DriftConfig.model_validate(segmentation.bundle.config.get("segments", {}).get("drift", {}))
