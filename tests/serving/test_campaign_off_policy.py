"""A plan beside what logged decisions say of it: near the truth that made the log, or refused with the reason."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from recsys.lake.store import Lake, LakeWriter
from tests.conftest import ROOT, SmallBank, called

ACTION, ADDS, COST = "credit_card/email/standard", 700.0, 4


def logged_lake(small: Lake, path: Path, propensity: float = 0.5, contacted: float = 0.5) -> None:
    """The small bank with ten decisions a customer: a contact, drawn by chance, adds ADDS to what it earns."""
    rng, ids = np.random.default_rng(0), small.read("customers")["customer_id"].unique().sort()
    n = 10 * len(ids)
    took = rng.random(n) < contacted
    day = [datetime(2024, 6, 1) + timedelta(days=int(days)) for days in rng.integers(0, 100, n)]
    who = pl.Series("customer_id", np.repeat(ids.to_numpy(), 10))
    names = [f"D{place:05d}" for place in range(n)]
    decisions = pl.DataFrame(
        {
            "decision_id": names,
            "customer_id": who,
            "at": pl.Series(day, dtype=pl.Datetime("us")),
            "action": pl.Series([ACTION if one else "none" for one in took], dtype=pl.String),
            "propensity": np.where(took, propensity, 1 - propensity) if propensity < 1 else np.ones(n),
            "bundle_id": ["before"] * n,
        }
    )
    outcomes = decisions.select(
        pl.concat_str(pl.lit("O"), "decision_id").alias("outcome_id"),
        "customer_id",
        (pl.col("at") + pl.duration(days=1)).alias("at"),
        "decision_id",
        pl.lit("bought").alias("kind"),
        pl.Series("revenue", (300 + ADDS * took + rng.normal(0, 100, n)).astype(np.int64)),
    )
    attributes = {name: list(small.attributes(name)) for name in small.tables}
    with LakeWriter(
        path, buckets=small.buckets, currency="GBP", source=small.source, until=small.as_of, attributes=attributes
    ) as lake:
        for name in small.tables:
            lake.append(name, small.read(name))
        lake.append("decisions", decisions)
        lake.append("outcomes", outcomes)


def planned(bank: SmallBank, lake: Path, folder: Path) -> dict[str, object]:
    example = yaml.safe_load((ROOT / "docs" / "campaign_plan.yaml").read_text())
    example |= {"products": [{"product": "credit_card", "margin": 90_000}], "channels": example["channels"][:1]}
    example |= {"levels": [{"level": "standard"}], "budget": 50_000, "caps": {"contacts": 1}}
    (folder / "plan.yaml").write_text(yaml.safe_dump(example))
    called("campaign", "plan", str(folder / "plan.yaml"), str(bank.bundle), str(lake), str(folder / "out"))
    found: dict[str, object] = json.loads((folder / "out" / "plan.json").read_text())["off_policy"]
    return found


def test_the_log_tells_what_the_plan_earns_beside_the_model(small_bank: SmallBank, tmp_path: Path) -> None:
    logged_lake(Lake.open(small_bank.lake), tmp_path / "lake")
    told = planned(small_bank, tmp_path / "lake", tmp_path)
    rows = pl.read_parquet(tmp_path / "out" / "bucket=*.parquet")
    plan_share = (rows["action"].is_not_null() | (rows["reason"] == "held out to measure the effect")).mean()
    truth = 0.9 * float(plan_share) * (ADDS - COST)  # type: ignore[arg-type]  # a tenth is held out
    assert told["decisions"] == 3000 and told["customers"] == 300
    assert told["low"] < truth < told["high"]  # type: ignore[operator]
    assert told["low"] < told["value"] < told["high"] < told["low"] + 100  # type: ignore[operator]
    page = (tmp_path / "out" / "plan.html").read_text()
    assert "By 3,000 logged decisions" in page and "at least" in page


@pytest.mark.parametrize(
    ("propensity", "contacted", "said"),
    [(1.0, 0.5, "chance decided nothing"), (0.5, 0.0, "are not in the log"), (0.004, 0.004, "effective")],
)
def test_a_log_that_cannot_tell_is_refused_with_the_reason(
    small_bank: SmallBank, tmp_path: Path, propensity: float, contacted: float, said: str
) -> None:
    logged_lake(Lake.open(small_bank.lake), tmp_path / "lake", propensity, contacted)
    told = planned(small_bank, tmp_path / "lake", tmp_path)
    assert said in str(told["why"]) and "value" not in told
    assert "cannot be told" in (tmp_path / "out" / "plan.html").read_text()
