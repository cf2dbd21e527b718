"""The true chance of still being there agrees with what became of the customers, and with the hazard of the month."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from recsys.errors import ConfigError
from recsys.survival import joint_band
from recsys.synthetic.forecast import true_survival
from tests.synthetic.conftest import Bank

CUT = date(2024, 1, 1)


@pytest.fixture(scope="module")
def forecast(synthetic: Bank) -> pl.DataFrame:
    """One year on, for a quarter of the bank."""
    return true_survival(8_000, 11, 4, CUT, 12, lives=4, only=[0])


def test_the_next_month_is_the_hazard_that_the_truth_records(synthetic: Bank, forecast: pl.DataFrame) -> None:
    """On average over campaigns, which the recorded hazard averages out."""
    hazard = synthetic.truth["attrition"].filter(pl.col("month") == CUT)
    both = forecast.join(hazard, on="customer_id")
    assert both.height == forecast.height > 1_500
    assert (1 - both["survival_1m"]).mean() == pytest.approx(both["hazard"].mean(), rel=0.05)
    assert np.corrcoef(1 - both["survival_1m"], both["hazard"])[0, 1] > 0.95


def test_as_many_stay_as_was_to_be_expected(synthetic: Bank, forecast: pl.DataFrame) -> None:
    left = synthetic.truth["customers"].select("customer_id", "left")
    both = forecast.join(left, on="customer_id", how="left")
    horizons = {3: date(2024, 4, 1), 6: date(2024, 7, 1), 12: date(2025, 1, 1)}
    known = np.stack([both[f"survival_{m}m"].to_numpy() for m in horizons], axis=1)
    stays = np.stack([(both["left"].is_null() | (both["left"] >= end)).to_numpy() for end in horizons.values()], axis=1)
    # By the next month's hazard: by the forecast itself, the lowest group would be that of the unluckiest lives.
    hazard = synthetic.truth["attrition"].filter(pl.col("month") == CUT)
    risk = both.join(hazard, on="customer_id", how="left", maintain_order="left")["hazard"].to_numpy()
    groups = np.argsort(np.argsort(-risk, kind="stable"), kind="stable") * 10 // len(known)
    band = joint_band(known, groups, level=0.999, samples=1000)
    share = np.stack([stays[groups == g].mean(axis=0) for g in range(10)])
    assert ((share >= band.low) & (share <= band.high)).all()
    assert share[0, 2] < share[9, 2] - 0.1


def test_a_day_that_no_month_begins_with_is_refused() -> None:
    with pytest.raises(ConfigError, match="12 months from 2024-02-01"):
        true_survival(10, 0, 1, date(2024, 2, 1), 12, 1)
    with pytest.raises(ConfigError, match="2024-01-02"):
        true_survival(10, 0, 1, date(2024, 1, 2), 1, 1)
