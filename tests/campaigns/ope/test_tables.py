"""Logs read from the tables of a lake: real decisions, contacts, and tables that cannot tell."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.campaigns.ope.evaluation import evaluate
from recsys.campaigns.ope.tables import from_contacts, from_decisions
from recsys.errors import ConfigError, DataError
from recsys.lake.catalog import import_catalog
from recsys.shipped import shipped

START = datetime(2025, 1, 1)


def _decisions(**changes: list[object]) -> pl.DataFrame:
    columns: dict[str, list[object]] = {
        "decision_id": ["D1", "D2", "D3"],
        "customer_id": ["A", "B", "A"],
        "at": [START, START + timedelta(days=1), START + timedelta(days=2)],
        "product_id": ["card", "loan", None],
        "propensity": [0.5, 0.25, 0.25],
    }
    return pl.DataFrame(columns | changes)


def _outcomes(days: int = 3) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "outcome_id": ["O1", "O2", "O3"],
            "decision_id": ["D1", "D1", None],
            "at": [START + timedelta(days=days), START + timedelta(days=40), START],
            "kind": ["converted", "refused", "converted"],
            "revenue": [900, 50, 7],
        }
    )


def test_the_outcomes_of_a_decision_are_its_reward() -> None:
    logged = from_decisions(_decisions(), _outcomes(), "converted")
    assert logged.log.actions == ("card", "loan", "none"), "deciding for nothing is an action, too"
    assert logged.log.reward.tolist() == [1.0, 0.0, 0.0]
    assert logged.log.customer.tolist() == [0, 1, 0]
    assert from_decisions(_decisions(), _outcomes(), "revenue").log.reward.tolist() == [950.0, 0.0, 0.0]
    assert from_decisions(_decisions(), _outcomes(), "revenue", days=30).log.reward.tolist() == [900.0, 0.0, 0.0]


def test_outcomes_before_their_decision_are_refused_with_an_example() -> None:
    with pytest.raises(DataError, match="1 of 2 are before their decision .first: O1, 2024-12-30"):
        from_decisions(_decisions(), _outcomes(days=-2), "converted")


def test_what_no_log_can_be_read_from_is_named() -> None:
    with pytest.raises(DataError, match="decisions: the table holds none"):
        from_decisions(_decisions()[:0], _outcomes(), "converted")
    with pytest.raises(DataError, match="log.propensity: 1 of 3 are missing"):
        from_decisions(_decisions(propensity=[0.5, None, 0.5]), _outcomes(), "converted")
    with pytest.raises(DataError, match="decisions: has no column propensity"):
        from_decisions(_decisions().drop("propensity"), _outcomes(), "converted")
    with pytest.raises(ConfigError, match="kinds are converted, refused, and revenue"):
        from_decisions(_decisions(), _outcomes(), "clicked")
    with pytest.raises(DataError, match="contacts: the table holds none"):
        from_contacts(pl.DataFrame({"customer_id": []}), "converted")


def test_withheld_contacts_are_decisions_as_well() -> None:
    contacts = pl.DataFrame(
        {
            "contact_id": ["K1", "K2"],
            "customer_id": ["A", "B"],
            "at": [START, START],
            "arm": ["treated", "control"],
            "propensity": [0.7, 0.3],
            "cost": [85, 0],
            "converted": [True, False],
            "revenue": [1000, None],
        }
    )
    assert from_contacts(contacts, "converted").log.reward.tolist() == [1.0, 0.0]
    assert from_contacts(contacts, "revenue").log.reward.tolist() == [915.0, 0.0], "revenue less cost"
    assert from_contacts(contacts, "revenue").log.actions == ("control", "treated")


def test_the_womens_thompson_log_cannot_tell_of_a_uniform_policy(datasets: Path, tmp_path: Path) -> None:
    lake = import_catalog(shipped("catalog", "obd"), tmp_path / "lake", datasets / "obd")
    made = lake.read("decisions").join(lake.read("customers"), on="customer_id").filter(pl.col("policy") == "bts")
    answered = {}
    for campaign in ("men", "women"):
        log = from_decisions(made.filter(pl.col("campaign") == campaign), lake.read("outcomes"), "clicked").log
        uniform = np.full((len(log), len(log.actions)), 1 / len(log.actions))
        found = evaluate(log, uniform, np.full(uniform.shape, log.reward.mean()), samples=50)
        answered[campaign] = found.answered
        if campaign == "women":
            assert "effective sample size is 2.1 of 10,000" in found.overlap.refused[0]
    assert answered == {"men": True, "women": False}
