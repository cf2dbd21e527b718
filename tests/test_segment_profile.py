"""A bundle's profile says when segments grow or shrink, when customers lie farther out, and which feature changed."""

import json

import numpy as np
import polars as pl
import pytest

from recsys.drift import DriftConfig
from recsys.features.definition import FeatureConfig, define
from recsys.features.everyone import everyone
from recsys.lake.parts import BucketReader
from recsys.lake.store import Lake
from recsys.segment_profile import DISTANCE, SEGMENT, UNUSUAL, SegmentsProfile, SegmentsProfileState, segments_drift
from recsys.synthetic.generate import generate

IDS = ("S1", "S2", "S3")


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return generate(tmp_path_factory.mktemp("profiled") / "bank", 600, 5, 2)


def assigned(
    rows: pl.DataFrame, seed: int, shares: tuple[float, ...] = (0.5, 0.3, 0.2), far: float = 1
) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    place = rng.choice(3, rows.height, p=shares)
    distance = rng.gamma(4, 1, rows.height) * np.where(place == 1, far, 1)
    return pl.DataFrame(
        {
            "customer_id": rows["customer_id"],
            "segment_id": [IDS[i] for i in place],
            "distance": pl.Series(distance, dtype=pl.Float32),
            "unusual": distance > 9,
        }
    )


def profiled(lake: Lake, seed: int, **changes: object) -> SegmentsProfileState:
    definition = define(lake, FeatureConfig())
    state = SegmentsProfileState(definition, IDS)
    told: list[tuple[int, int, str]] = []
    for rows in everyone(BucketReader(lake), definition, lake.as_of, lambda *what: told.append(what), "profiled"):
        state.update(rows, assigned(rows, seed + rows.height, **changes))  # type: ignore[arg-type]
    assert told[-1] == (lake.buckets, lake.buckets, "profiled")
    return state


def test_what_changed_is_named(lake: Lake) -> None:
    profile = SegmentsProfile.model_validate_json(profiled(lake, 0).finish().model_dump_json())
    assert profile.customers.customers == lake.tables["customers"].rows
    same = segments_drift(profile, profiled(lake, 0), DriftConfig())
    assert not same.flagged and same.segments.psi == 0 and all(c.psi < 1e-9 for c in same.features.columns)
    shifted = segments_drift(profile, profiled(lake, 1, shares=(0.1, 0.3, 0.6)), DriftConfig())
    assert [column.column for column in shifted.flagged] == [SEGMENT] and shifted.segments.flag == "act"
    assert {cell.cell for cell in shifted.segments.cells[:2]} == {"S1", "S3"}
    farther = segments_drift(profile, profiled(lake, 2, far=3), DriftConfig())
    assert farther.distance.flag and farther.unusual.flag and farther.distances["S2"].flag == "act"
    assert not farther.segments.flag and not farther.distances["S1"].flag and not farther.features.flagged
    named = {column["column"] for column in json.loads(json.dumps(farther.as_json()))["features"]["columns"]}
    assert set(define(lake, FeatureConfig()).numbers) <= named and not named & {SEGMENT, UNUSUAL, DISTANCE}


def test_a_segment_that_nobody_is_in(lake: Lake) -> None:
    profile = profiled(lake, 0, shares=(0.6, 0.4, 0.0)).finish()
    found = segments_drift(profile, profiled(lake, 0), DriftConfig())
    assert set(found.distances) == {"S1", "S2"} and found.segments.flag
