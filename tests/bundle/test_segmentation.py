"""Embedding and segments of bundles that training made: parity from raw rows, equal bits, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import numpy_helper

from recsys.bundle import Bundle, verify, write_bundle
from recsys.bundle.embedding import ABOUT, CustomerEmbedding
from recsys.bundle.segmentation import EXPECTED, GRAPH, TABLE, Segmentation
from recsys.errors import BundleError
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.store import Lake
from tests.card_customers import card_config, customers, write_lake
from tests.conftest import SmallBank

Change = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def rows(whole_bank: SmallBank) -> pl.DataFrame:
    lake, definition = Lake.open(whole_bank.lake), Bundle.load(whole_bank.bundle).definition
    tables = {name: lake.read(name) for name in lake.tables}
    return features(tables, scoring_examples(tables["customers"]["customer_id"].sort(), lake.as_of), definition)


def changed(bundle: Path, out: Path, changes: dict[str, Change]) -> Path:
    """The bundle with some files changed, and hashes that fit them."""
    loaded = Bundle.load(bundle)
    parts = {name: loaded.part(name) for name in loaded.contents.parts}
    for files in parts.values():
        for name in files:
            files[name] = changes.get(name, lambda content: content)(files[name])
    lake, hashed = loaded.manifest["lake"], loaded.contents.feature_hash
    return write_bundle(out, "changed", parts, lake=lake, feature_hash=hashed, seconds={}).path


def failed(bundle: Path) -> dict[str, str]:
    return {check.name: check.detail for check in verify(bundle) if not check.ok}


def test_answers_are_those_of_training_with_and_without_a_recommender(whole_bank: SmallBank, card_bundle: Path) -> None:
    for path in (whole_bank.bundle, card_bundle):
        checks = {check.name: check for check in verify(path)}
        assert all(check.ok for check in checks.values()), failed(path)
        for part in ("embedding", "segments"):
            assert {f"{part} parity at batch {batch}" for batch in (1, 7, 512)} <= set(checks)
            assert f"{part} equal bits" in checks
    assert "parity at batch 1" not in checks and "item table" not in checks


def test_the_bank_has_every_kind_of_input_and_the_cards_have_none_of_events(
    whole_bank: SmallBank, card_bundle: Path
) -> None:
    about = CustomerEmbedding(Bundle.load(whole_bank.bundle)).about
    every = {"numbers", "missing", "categories", "tags", "holdings", "history", "history_kind", "history_age"}
    assert set(about.arrays) == every
    assert about.sequence == 4 and about.autoencoder == 6 and about.ahead and "holdings" in about.features
    about = CustomerEmbedding(Bundle.load(card_bundle)).about
    assert set(about.arrays) == {"numbers", "missing", "categories"} and about.sequence == about.ahead == 0


def test_categories_alone_make_a_bundle_that_is_sound(tmp_path: Path) -> None:
    from training.fit import train

    rows = customers(90).select("customer_id", region="branch")
    lake = write_lake(tmp_path / "lake", rows)
    config = card_config(segments={"algorithms": ["k_means"], "fewest": 2, "most": 2, "bootstraps": 2})
    made = train(config, lake, tmp_path, lambda done, total, what: None)
    assert failed(made) == {}
    assert CustomerEmbedding(Bundle.load(made)).about.arrays == ("categories",)


def test_a_customer_gets_equal_bits_in_any_batch(whole_bank: SmallBank, rows: pl.DataFrame) -> None:
    segmentation = Segmentation(Bundle.load(whole_bank.bundle))
    whole = segmentation.assigned(rows)
    for size in (1, 3, 50):
        parts = pl.concat([segmentation.assigned(part) for part in rows.head(60).iter_slices(size)])
        assert parts.equals(whole.head(60)), size
    backwards = segmentation.assigned(rows.reverse()).reverse()
    assert backwards.equals(whole)
    assert Segmentation(Bundle.load(whole_bank.bundle), threads=2).assigned(rows).equals(whole)


def test_everybody_is_labelled_with_the_nearest_prototype(whole_bank: SmallBank, rows: pl.DataFrame) -> None:
    segmentation = Segmentation(Bundle.load(whole_bank.bundle))
    found = segmentation.assigned(rows)
    assert found["customer_id"].equals(rows["customer_id"]) and found.null_count().sum_horizontal().item() == 0
    index, distance = segmentation.assign(segmentation.places(segmentation.embed(rows)))
    assert (distance.argmin(axis=1) == index).all() and np.array_equal(distance.min(axis=1), found["distance"])
    assert found["segment_id"].to_list() == [segmentation.ids[i] for i in index]
    named = found.select("segment_id", "segment").unique()
    assert dict(named.iter_rows()).items() <= dict(zip(segmentation.ids, segmentation.names, strict=True)).items()
    shares = np.bincount(index, minlength=len(segmentation.ids)) / len(index)
    np.testing.assert_allclose(shares, [entry.share for entry in segmentation.segments], atol=1e-6)
    unusual = found.filter("unusual")
    assert 0.04 < unusual.height / found.height < 0.07
    assert (unusual["unusual_features"].list.len() > 0).all()
    about = segmentation.embedding.about
    assert set(unusual["unusual_features"].explode()) <= set(about.features)


def test_nobody_asked_about_is_an_empty_answer(whole_bank: SmallBank, rows: pl.DataFrame) -> None:
    segmentation = Segmentation(Bundle.load(whole_bank.bundle))
    none = segmentation.assigned(rows.clear())
    assert none.height == 0 and none.schema == segmentation.assigned(rows.head(1)).schema


def _moved(graph: bytes) -> bytes:
    model = onnx.load_from_string(graph)
    for i, value in enumerate(model.graph.initializer):
        if value.name == "twice":
            moved = numpy_helper.to_array(value).copy()
            moved[0, 0] += 0.5
            model.graph.initializer[i].CopyFrom(numpy_helper.from_array(moved, "twice"))
    content: bytes = model.SerializeToString()
    return content


def _without_the_last(table: bytes) -> bytes:
    content = json.loads(table)
    del content["segments"][-1]
    return json.dumps(content).encode()


def _twice(table: bytes) -> bytes:
    content = json.loads(table)
    content["segments"][1]["id"] = content["segments"][0]["id"]
    return json.dumps(content).encode()


def _wider(about: bytes) -> bytes:
    content = json.loads(about)
    content["autoencoder"] += 1
    return json.dumps(content).encode()


def _unknown_array(about: bytes) -> bytes:
    content = json.loads(about)
    content["arrays"].append("shoes")
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("file", "change", "check", "said"),
    [
        (GRAPH, _moved, "segments parity at batch 1", "distances differ"),
        (TABLE, _without_the_last, "segments graphs", f"{GRAPH}: output 'distance' must be"),
        (TABLE, _twice, "segments graphs", f"{TABLE}: an id names two segments"),
        (TABLE, lambda content: b"{}", "segments graphs", TABLE),
        (ABOUT, _wider, "embedding graphs", "customer.onnx: output 'customer_vector' must be"),
        (ABOUT, _unknown_array, "embedding graphs", "shoes"),
        (EXPECTED, lambda content: b"{}", "segments parity", "distance"),
        ("embedding/expected.json", lambda content: b"{}", "embedding parity", "vectors"),
    ],
)
def test_files_that_do_not_fit_are_refused_by_name(
    card_bundle: Path, tmp_path: Path, file: str, change: Change, check: str, said: str
) -> None:
    """Their hashes were made to fit: what finds them is the check of what is in them."""
    found = failed(changed(card_bundle, tmp_path, {file: change}))
    assert said in found[check], found


def test_a_tampered_file_is_found_by_its_hash(card_bundle: Path, tmp_path: Path) -> None:
    for name in (GRAPH, TABLE):
        out = tmp_path / name.replace("/", "-")
        shutil.copytree(card_bundle, out)
        content = bytearray((out / name).read_bytes())
        content[len(content) // 2] ^= 1
        (out / name).write_bytes(bytes(content))
        assert name in failed(out)["files"]
        with pytest.raises(BundleError, match=name):
            Bundle.load(out)
