"""Batch assignment: everybody has the segment that the bundle gives them one by one, and a run continues."""

import json
from pathlib import Path

import polars as pl
import pytest

from recsys.bundle import Bundle
from recsys.bundle.segmentation import Segmentation
from recsys.errors import BundleError, DataError
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.parts import PROGRAM, table_bytes
from recsys.lake.store import Lake
from serving.assign import COLUMNS, assign
from serving.buckets import COPIES
from serving.score import score
from tests.conftest import SmallBank, called, without_segments


@pytest.fixture(scope="module")
def whole(segmented_bank: SmallBank, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("assigned") / "segments"
    assert called(
        "segments", "assign", str(segmented_bank.bundle), "--lake", str(segmented_bank.lake), "--out", str(out)
    )
    return out


def content(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def test_everybody_has_the_segment_of_a_single_question(whole: Path, segmented_bank: SmallBank) -> None:
    lake, bundle = Lake.open(segmented_bank.lake), Bundle.load(segmented_bank.bundle)
    rows = pl.concat([pl.read_parquet(path) for path in sorted(whole.glob("bucket=*.parquet"))])
    assert rows.schema == COLUMNS and set(rows["customer_id"]) == set(lake.read("customers")["customer_id"])
    assert rows["customer_id"].n_unique() == rows.height == 800
    segmentation = Segmentation(bundle)
    known = dict(zip(segmentation.ids, segmentation.names, strict=True))
    assert {(row[1], row[2]) for row in rows.iter_rows()} <= set(known.items())
    for customer in rows["customer_id"].sample(8, seed=0):
        alone = features(lake.customers([customer]), scoring_examples([customer], lake.as_of), bundle.definition)
        assert segmentation.assigned(alone).equals(rows.filter(pl.col("customer_id") == customer).drop("bundle_id"))
    flagged = rows.filter("unusual")["unusual_features"].list.len()
    assert rows.filter(~pl.col("unusual"))["unusual_features"].list.len().sum() == 0 and (flagged <= 3).all()
    assert rows["distance"].is_finite().all() and (rows["distance"] >= 0).all()


def test_the_manifest_says_what_was_assigned(whole: Path, segmented_bank: SmallBank) -> None:
    manifest = json.loads((whole / "manifest.json").read_text())
    assert manifest["customers"] == manifest["rows"] == 800 and manifest["answers"] == "segments"
    assert segmented_bank.bundle.name.endswith(manifest["bundle_id"])


def test_a_run_that_was_cut_short_continues_to_the_same_bytes(
    whole: Path, segmented_bank: SmallBank, tmp_path: Path
) -> None:
    out = tmp_path / "again"
    assign(segmented_bank.bundle, segmented_bank.lake, out)
    (out / "manifest.json").unlink()
    (out / "bucket=0001.parquet").unlink()
    assert not assign(segmented_bank.bundle, segmented_bank.lake, out).already
    assert content(out) == content(whole) and assign(segmented_bank.bundle, segmented_bank.lake, out).already
    largest = max(table_bytes(Lake.open(segmented_bank.lake), b) for b in range(2))
    assign(segmented_bank.bundle, segmented_bank.lake, tmp_path / "parts", memory=PROGRAM + int(COPIES * largest / 3))
    assert content(tmp_path / "parts") == content(whole)


def test_scores_and_segments_do_not_mix(whole: Path, whole_bank: SmallBank, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="belongs to another run"):
        score(whole_bank.bundle, whole_bank.lake, whole)
    score(whole_bank.bundle, whole_bank.lake, tmp_path / "scores")
    with pytest.raises(DataError, match="recommendations there, segments now"):
        assign(whole_bank.bundle, whole_bank.lake, tmp_path / "scores")


def test_a_bundle_without_segments_is_refused(segmented_bank: SmallBank, tmp_path: Path) -> None:
    without = without_segments(Bundle.load(segmented_bank.bundle), tmp_path)
    with pytest.raises(BundleError, match="has no segments; train it with the sections embedding and segments"):
        assign(without, segmented_bank.lake, tmp_path / "none")
