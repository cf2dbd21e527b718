"""`recsys value` with a contract: margins times the chance to stay that a bundle gives."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from recsys.__main__ import main
from recsys.bundle import Bundle, Churn
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.store import Lake
from recsys.lifetime_value.config import ValueConfig
from recsys.lifetime_value.contractual import contractual_value
from tests.conftest import SmallBank, called
from tests.once import made_once
from tests.serving.test_churn import _make_leaving_bank
from training.value_contract import COLUMNS

CONTRACT = """
horizon_months: 24
contract:
  attribute: age
  leave_months: 6
  origin: invented for this test
"""


@pytest.fixture(scope="module")
def leavers(tmp_path_factory: pytest.TempPathFactory) -> SmallBank:
    bundle = made_once("leaving_bank", tmp_path_factory, _make_leaving_bank)
    return SmallBank(bundle.parent.parent / "lake", bundle)


@pytest.fixture(scope="module")
def valued(leavers: SmallBank, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contract")
    (folder / "value.yaml").write_text(CONTRACT)
    words = ["--bundle", str(leavers.bundle), "--config", str(folder / "value.yaml"), "--out", str(folder / "out")]
    assert called("value", str(leavers.lake), *words)[-1] == str(folder / "out" / "value.html")
    return folder / "out"


def test_a_row_is_what_the_formula_gives_for_the_bundles_probability(leavers: SmallBank, valued: Path) -> None:
    rows = pl.read_parquet(valued / "bucket=*.parquet").sort("customer_id")
    assert dict(rows.schema) == COLUMNS and rows.height == 600 and rows.null_count().sum_horizontal().item() == 0
    bundle, lake = Bundle.load(leavers.bundle), Lake.open(leavers.lake)
    churn, customers = Churn.of(bundle), lake.read("customers").sort("customer_id")
    assert churn is not None
    asked = features({"customers": customers}, scoring_examples(customers["customer_id"], None), bundle.definition)
    chance = churn.scored(asked)["probability"].to_numpy().astype(np.float64)
    np.testing.assert_allclose(rows["probability"], chance, rtol=1e-6)
    found = contractual_value(
        customers["age"].to_numpy(), 1 - chance[:, None], np.array([6]), horizon=24, discount=0.1, leave=6
    )
    np.testing.assert_allclose(rows["value"], found.value, rtol=1e-6)
    np.testing.assert_allclose(rows["at_stake"], found.at_stake, rtol=1e-6)
    assert (rows["at_stake"] > 0).all()


def test_the_report_sums_up_the_rows_and_says_what_was_assumed(valued: Path) -> None:
    rows = pl.read_parquet(valued / "bucket=*.parquet")
    content = json.loads((valued / "value.json").read_text())
    assert content["kind"] == "contract" and content["customers"] == 600
    assert content["totals"]["value"]["value"] == pytest.approx(rows["value"].sum(), rel=1e-4)
    lost = (rows["probability"] * rows["at_stake"]).sum()
    assert content["totals"]["expected_loss"] == pytest.approx(lost, rel=1e-4)
    assert all(tier["customers"] >= 10 for tier in content["tiers"])
    assert "known for 6 months" in content["warnings"][0]
    page = (valued / "value.html").read_text()
    assert "invented for this test" in page and "http" not in page and rows["customer_id"][0] not in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "contract={attribute: age, origin: x}"], "which does not say over how many months"),
        (["--set", "contract={attribute: aeg, origin: x, leave_months: 3}"], "did you mean 'age'"),
        (["--set", "contract={attribute: age, origin: x, leave_months: 13}"], "horizon_months: 12 is less than the 13"),
        (["--set", "contract={origin: x}"], "give products, balance_rate or attribute"),
        ([], "give a section contract"),
    ],
)
def test_what_is_not_known_is_asked_for(
    words: list[str], message: str, leavers: SmallBank, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["value", str(leavers.lake), "--bundle", str(leavers.bundle), "--out", str(tmp_path / "out"), *words]
    with pytest.raises(SystemExit) as left:
        main(asked)
    assert left.value.code == 2 and message in capsys.readouterr().err


def test_a_contract_needs_a_bundle(leavers: SmallBank, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["value", str(leavers.lake), "--out", str(tmp_path), "--set", "contract={attribute: age, origin: x}"])
    assert left.value.code == 2 and "needs --bundle" in capsys.readouterr().err


def test_the_configurations_of_the_guide_are_read() -> None:
    text = (Path(__file__).parents[2] / "docs" / "value.md").read_text()
    blocks = [yaml.safe_load(block.split("```")[0]) for block in text.split("```yaml")[1:]]
    contract, purchases = (ValueConfig.model_validate(block) for block in blocks)
    assert contract.contract is not None and contract.contract.balance_rate == 0.012
    assert purchases.contract is None and purchases.purchases.holdout_days == 90
