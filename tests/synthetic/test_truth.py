"""The truth beside the bank agrees with what happened in it."""

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.synthetic.products import PRODUCT_IDS
from recsys.synthetic.truth import adoption_matrix
from tests.synthetic.conftest import Bank


def _acquired(bank: Bank) -> pl.DataFrame:
    return (
        bank.tables["interactions"]
        .filter(pl.col("kind") == "acquired")
        .select("customer_id", "product_id", as_of=pl.col("at").dt.date().dt.month_start(), acquired=pl.lit(1.0))
        .unique()
    )


def _calibration(expected: np.ndarray, happened: np.ndarray, groups: int = 10) -> np.ndarray:
    """Standardised differences between what happened and what was expected, by group of equal expectation."""
    order = np.argsort(expected, kind="stable")
    share = np.cumsum(expected[order]) / expected.sum()
    group = np.minimum((share * groups).astype(int), groups - 1)
    p, y = expected[order], happened[order]
    difference = np.bincount(group, y - p, groups)
    return difference / np.sqrt(np.bincount(group, p * (1 - p), groups))


def test_adoption_probabilities_are_what_happens(synthetic: Bank) -> None:
    truth = synthetic.truth["adoption"]
    assert truth["as_of"].unique().sort().to_list() == [date(2024, month, 1) for month in range(7, 13)]
    joined = truth.join(_acquired(synthetic), on=["customer_id", "product_id", "as_of"], how="left")
    happened = joined["acquired"].fill_null(0.0).to_numpy()
    z = _calibration(joined["probability"].to_numpy().astype(float), happened)
    assert np.abs(z).max() < 3.5
    by_product = (
        joined.with_columns(y=pl.Series(happened))
        .group_by("product_id")
        .agg(
            z=(pl.col("y") - pl.col("probability")).sum()
            / (pl.col("probability") * (1 - pl.col("probability"))).sum().sqrt()
        )
    )
    assert by_product["z"].abs().max() < 4.0  # type: ignore[operator]


def test_nothing_is_acquired_that_the_truth_calls_impossible(synthetic: Bank) -> None:
    recent = _acquired(synthetic).filter(pl.col("as_of") >= date(2024, 7, 1))
    possible = synthetic.truth["adoption"].filter(pl.col("probability") > 0)
    assert recent.join(possible, on=["customer_id", "product_id", "as_of"], how="anti").is_empty()


def test_hazards_of_leaving_are_what_happens(synthetic: Bank) -> None:
    truth = synthetic.truth["attrition"]
    z = _calibration(truth["hazard"].to_numpy(), truth["left"].cast(pl.Float64).to_numpy())
    assert np.abs(z).max() < 3.5
    left = truth.group_by("customer_id").agg(pl.col("left").sum())
    gone = synthetic.truth["customers"].filter(pl.col("left").is_not_null())
    assert set(left.filter(pl.col("left") == 1)["customer_id"]) == set(gone["customer_id"])


def test_effects_of_contacts_agree_with_the_randomised_arms(synthetic: Bank) -> None:
    """Horvitz-Thompson difference per campaign and arm against the mean of the true effects."""
    for design in ("randomised", "targeted"):
        rows = _arms(synthetic, design)
        estimate, effect = rows["estimate"].to_numpy(), rows["effect"].to_numpy()
        z = (estimate - effect).sum() / np.sqrt(((estimate - effect) ** 2).sum())
        assert abs(z) < 3.5, design
    harmed = (synthetic.truth["uplift"].filter(pl.col("outcome") == "acquired")["effect"] < 0).mean()
    assert 0.2 < harmed < 0.7  # type: ignore[operator]


def _arms(bank: Bank, design: str) -> pl.DataFrame:
    """For each contact and treated arm: the inverse-propensity estimate of the effect beside the true one."""
    from recsys.synthetic.campaigns import campaign_frame

    chosen = campaign_frame().filter((pl.col("design") == design) & (pl.col("objective") == "sale"))
    contacts = bank.tables["contacts"].select("contact_id", "propensity", "converted", drawn="arm")
    rows = bank.truth["uplift"].filter(pl.col("campaign_id").is_in(chosen["campaign_id"].implode()))
    rows = rows.join(contacts, on="contact_id").with_columns(y=pl.col("converted").cast(pl.Float64))
    treated = pl.when(pl.col("drawn") == pl.col("arm")).then(pl.col("y") / pl.col("propensity")).otherwise(0.0)
    control = pl.when(pl.col("drawn") == "control").then(pl.col("y") / pl.col("propensity")).otherwise(0.0)
    return rows.with_columns(estimate=treated - control)


def test_targeting_confounds_the_naive_difference(synthetic: Bank) -> None:
    rows = _arms(synthetic, "targeted")
    contacted = rows["drawn"] == "treated"
    y = rows["y"]
    naive = y.filter(contacted).mean() - y.filter(~contacted).mean()  # type: ignore[operator]
    assert naive > 1.15 * rows["effect"].mean()  # type: ignore[operator]


def test_logged_propensities_are_shares_of_the_arms(synthetic: Bank) -> None:
    several = synthetic.tables["contacts"].filter(pl.col("arm") == "standard")["campaign_id"].unique()
    contacts = synthetic.tables["contacts"].filter(~pl.col("campaign_id").is_in(several.implode()))
    probability = pl.when(pl.col("contacted")).then(pl.col("propensity")).otherwise(1 - pl.col("propensity"))
    rows = contacts.select(p=probability, y=pl.col("contacted").cast(pl.Float64))
    z = _calibration(rows["p"].to_numpy(), rows["y"].to_numpy())
    assert np.abs(z).max() < 3.5


def test_adoption_matrix_places_customers_and_products(synthetic: Bank, tmp_path: Path) -> None:
    synthetic.truth["adoption"].write_parquet(tmp_path / "adoption.parquet")
    row = synthetic.truth["adoption"].row(17, named=True)
    customers = ["nobody", row["customer_id"]]
    matrix = adoption_matrix(tmp_path, row["as_of"], customers, PRODUCT_IDS)
    assert matrix[1, PRODUCT_IDS.index(row["product_id"])] == pytest.approx(row["probability"])
    assert (matrix[0] == 0).all()
    with pytest.raises(ValueError, match="2024-07-01"):
        adoption_matrix(tmp_path, date(2024, 7, 2), customers, PRODUCT_IDS)
