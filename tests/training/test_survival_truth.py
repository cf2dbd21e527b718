"""Survival fitted on a synthetic bank beside the chance of staying that the bank was made with."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.bundle import Bundle, Survival
from recsys.churn.survival_examples import survival_days
from recsys.lake.parts import BucketReader
from recsys.lake.store import Lake
from recsys.survival import joint_band
from recsys.synthetic.forecast import true_survival
from tests.churn.staying import silent
from tests.conftest import SmallBank
from training.config import load_config
from training.fit import train
from training.survival_rows import survival_rows

SETTINGS = ["recommender=false", "adoption=null", "embedding=null", "segments=null", "threads=1"]
SETTINGS += ["churn.models={candidates: [logistic]}", "churn.snapshots=2", "churn.test_share=0.5"]
SETTINGS += ["churn.survival={snapshots: 13, trees: 60, learning_rate: 0.1, least_in_leaf: 40, stayed: 5}"]


def test_tenths_of_customers_stay_as_the_bank_was_made(segmented_bank: SmallBank, tmp_path: Path) -> None:
    """The bank of `segmented_bank` is that of 800 customers, seed 3, in two buckets."""
    lake, config = Lake.open(segmented_bank.lake), load_config("demo", SETTINGS).churn
    bundle = Bundle.load(train(load_config("demo", SETTINGS), lake, tmp_path, silent))
    survival = Survival.of(bundle)
    assert config is not None and survival is not None
    parts = survival_rows(config, BucketReader(lake), bundle.definition, "test", lake.as_of, silent)
    rows = pl.concat([rows for _, rows in parts])
    told = survival.survival(rows).astype(np.float64)
    cut = survival_days(config, lake.as_of)[0]["test"][0]
    known = true_survival(800, 3, lake.buckets, cut, 12, lives=12)
    asked = rows.select("customer_id").join(known, on="customer_id", how="left", maintain_order="left")
    truth = asked.select("survival_3m", "survival_6m", "survival_12m").to_numpy()
    groups = np.argsort(np.argsort(told[:, 2], kind="stable"), kind="stable") * 5 // len(told)
    band = joint_band(truth, groups, samples=1500)

    def inside(said: np.ndarray) -> bool:
        means = np.stack([said[groups == g].mean(axis=0) for g in range(5)])
        return bool(((means >= band.low) & (means <= band.high)).all())

    assert inside(told)
    assert np.corrcoef(told[:, 1], truth[:, 1])[0, 1] > 0.3
    assert not inside(told**3)
    assert (1 - told[:, 0]).mean() == pytest.approx((1 - truth[:, 0]).mean(), abs=0.02)
