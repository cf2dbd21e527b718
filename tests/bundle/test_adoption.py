"""The adoption part of a bundle: read, refused where it does not fit, and verified down to its calibration."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recsys.bundle import Adoption, Bundle, verify, write_bundle
from recsys.errors import BundleError
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.store import Lake
from tests.conftest import SmallBank

Changed = Callable[[str, Callable[[bytes], bytes]], Bundle]


@pytest.fixture
def changed(small_bank: SmallBank, tmp_path: Path) -> Changed:
    """The small bank's bundle with one file of the part rewritten, every hash right."""

    def rewrite(path: str, change: Callable[[bytes], bytes]) -> Bundle:
        bundle = Bundle.load(small_bank.bundle)
        parts = {name: bundle.part(name) for name in bundle.contents.parts}
        parts["adoption"][path] = change(parts["adoption"][path])
        about, hashed = bundle.manifest["lake"], bundle.contents.feature_hash
        return write_bundle(tmp_path, "changed", parts, lake=about, feature_hash=hashed, seconds={})

    return rewrite


def test_probabilities_of_real_customers_rise_and_do_not_depend_on_the_company(small_bank: SmallBank) -> None:
    bundle, lake = Bundle.load(small_bank.bundle), Lake.open(small_bank.lake)
    adoption = Adoption.of(bundle)
    assert adoption is not None
    assert adoption.horizons_months == (1, 3, 6)
    assert adoption.columns == ("probability_1m", "probability_3m", "probability_6m")
    tables = lake.bucket(0)
    ids = tables["customers"]["customer_id"].unique().sort()
    rows = features(tables, scoring_examples(ids, lake.as_of), bundle.definition)
    vectors = adoption.vectors_from_rows(rows)
    every = np.tile(np.arange(len(bundle.encoder.products)), (len(ids), 1))
    whole = adoption.probabilities(vectors, every)
    assert ((whole >= 0) & (whole <= 1)).all() and (np.diff(whole, axis=2) >= 0).all() and whole.std() > 0.001
    for i in (0, 5):
        for index in (every[:1, 3:4], every[:1, :7]):
            alone = adoption.probabilities(adoption.vectors_from_rows(rows.slice(i, 1)), index)
            assert np.array_equal(alone[0], whole[i, index[0]])
    assert adoption.probabilities(vectors[:0], every[:0]).shape == (0, every.shape[1], 3)


def test_a_bundle_without_the_part_has_no_probabilities(bundle: Bundle) -> None:
    assert Adoption.of(bundle) is None
    assert all("adoption" not in check.name for check in verify(bundle.path))


def test_verify_covers_the_part(small_bank: SmallBank) -> None:
    checks = {check.name: check for check in verify(small_bank.bundle)}
    assert all(check.ok for check in checks.values())
    assert {"adoption graphs", "adoption parity at batch 1", "adoption equal bits", "adoption horizons"} <= set(checks)


def test_an_answer_other_than_the_models_fails(changed: Changed) -> None:
    def worse(content: bytes) -> bytes:
        value = json.loads(content)
        value["probabilities"][3][2][1] += 1e-4
        return json.dumps(value).encode()

    failed = [check.name for check in verify(changed("adoption/expected.json", worse).path) if not check.ok]
    assert failed == [f"adoption parity at batch {batch}" for batch in (1, 7, 512)]


def test_product_rows_of_another_catalogue_are_refused(changed: Changed) -> None:
    def shorter(content: bytes) -> bytes:
        stream = io.BytesIO()
        np.save(stream, np.load(io.BytesIO(content))[:-1])
        return stream.getvalue()

    with pytest.raises(BundleError, match="adoption/products.npy"):
        Adoption(changed("adoption/products.npy", shorter))


@pytest.mark.parametrize("months", [[], [3, 1, 6], [1, 3], [1, 3, "6"], None])
def test_horizons_that_make_no_sense_are_refused(changed: Changed, months: object) -> None:
    def other(content: bytes) -> bytes:
        return json.dumps(json.loads(content) | {"horizons_months": months}).encode()

    broken = changed("adoption/calibration.json", other)
    with pytest.raises(BundleError, match="ascending horizons_months"):
        Adoption(broken)
    assert [check.name for check in verify(broken.path) if not check.ok] == ["adoption graphs", "parity"]
