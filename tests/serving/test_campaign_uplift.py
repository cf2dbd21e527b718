"""The demo's plan by learned effects: it states no lift, and the end report says what contacts add."""

import json
import re
from pathlib import Path

import polars as pl
import pytest

from recsys.bundle import Bundle, Uplift, write_bundle
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.parts import MEMORY, BucketReader
from recsys.lake.store import Lake
from tests.conftest import ROOT, SmallBank, called
from training.config import load_config
from training.uplift import fit_uplift
from training.uplift_rows import prepare_uplift, product_attributes

PLAN = ROOT / "docs" / "campaign_plan_uplift.yaml"


def silent(done: int, total: int, what: str) -> None:
    pass


@pytest.fixture(scope="module")
def demo(small_bank: SmallBank, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bank with contacts enough, and the small bank's bundle with what they taught by the setting of `make demo`."""
    (setting,) = re.findall(r"^UPLIFT := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    quick = ["uplift.bags=2", "uplift.outcome_trees.trees=24", "uplift.effect_trees.trees=24"]
    config, folder = load_config("demo", [setting, *quick]).uplift, tmp_path_factory.mktemp("demo")
    assert config is not None
    called("data", "synth", str(folder / "lake"), "--customers", "1200", "--seed", "0", "--buckets", "2")
    lake, bundle = Lake.open(folder / "lake"), Bundle.load(small_bank.bundle)
    reader, definition, encoder = BucketReader(lake, MEMORY), bundle.definition, bundle.encoder
    places = {"until": lake.as_of, "log_unit": None, "work": folder / "work", "progress": silent}
    data = prepare_uplift(config, reader, definition, encoder, trusted=(), **places)  # type: ignore[arg-type]
    fitted = fit_uplift(
        config, data, product_attributes(lake), embed=None, embedding=0, seed=0, threads=1, progress=silent
    )
    few = scoring_examples(lake.bucket(0)["customers"]["customer_id"].unique().sort().head(8), lake.as_of)
    asked = encoder.encode(features(lake.bucket(0), few, definition))
    parts = {name: bundle.part(name) for name in bundle.contents.parts} | {"uplift": fitted.files(asked, None)}
    about, hashed = bundle.manifest["lake"], bundle.contents.feature_hash
    return lake.path, write_bundle(folder, "demo", parts, lake=about, feature_hash=hashed, seconds={}).path


def test_a_plan_by_learned_effects_on_the_bundle_of_the_demo(demo: tuple[Path, Path], tmp_path: Path) -> None:
    lake, bundle = demo
    called("campaign", "plan", str(PLAN), str(bundle), str(lake), str(tmp_path / "out"), "--threads", "1")
    contacts = pl.read_parquet(tmp_path / "out" / "bucket=*.parquet").filter(pl.col("action").is_not_null())
    assert contacts.height > 50 and (contacts["expected_gain"] > 0).all()
    told = json.loads((tmp_path / "out" / "plan.json").read_text())
    assert told["plan"]["effect"] == "uplift" and 0 <= told["gap"] < 0.01
    assert not any("lifts" in note for note in told["notes"])
    known = Uplift(Bundle.load(bundle)).trained_actions
    assert set(contacts["channel"]) <= set(known["channel"]) and set(contacts["level"]) <= set(known["level"])


def test_the_end_report_says_what_contacts_add(demo: tuple[Path, Path]) -> None:
    lake, bundle = demo
    text = "\n".join(called("report", str(bundle), "--lake", str(lake)))
    assert "What a contact adds to converted" in text
    assert re.search(r"A contact adds -?\d+\.\d\d% on average", text)
    assert f"recsys uplift report {bundle}" in text
