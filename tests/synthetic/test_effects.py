"""The true effects of any contact agree with those that the bank's own campaigns recorded."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from recsys.errors import ConfigError
from recsys.synthetic.campaigns import campaign_frame
from recsys.synthetic.effects import true_effects
from tests.synthetic.conftest import Bank

MONTH = date(2023, 4, 1)
ACTION = {"product_id": ["easy_saver"], "channel": ["email"], "level": ["treated"]}


def test_the_effects_are_those_that_the_truth_records(synthetic: Bank) -> None:
    """The campaigns of a month without retention, whose truth differs from no other contact by a hair."""
    for row in campaign_frame().filter(pl.col("starts") == MONTH).to_dicts():
        for arm in row["arms"]:
            if arm == "control":
                continue
            action = pl.DataFrame({"product_id": [row["product_id"]], "channel": [row["main_channel"]], "level": [arm]})
            found = true_effects(8_000, 11, 4, MONTH, action, only=[0])
            known = synthetic.truth["uplift"].filter(pl.col("campaign_id") == row["campaign_id"], pl.col("arm") == arm)
            ours = pl.DataFrame(
                {
                    "customer_id": found.customers,
                    "ours_baseline": found.baseline[:, 0],
                    "ours": found.effect[:, 0],
                    "reachable": found.reachable[:, 0],
                }
            )
            both = ours.join(known, on="customer_id")
            assert both.height > 50
            assert both["reachable"].all()
            assert both["ours"].to_numpy() == pytest.approx(both["effect"].to_numpy(), abs=1e-9)
            assert both["ours_baseline"].to_numpy() == pytest.approx(both["baseline"].to_numpy(), abs=1e-9)


def test_some_are_harmed_and_not_everybody_can_be_reached() -> None:
    found = true_effects(600, 5, 2, MONTH, pl.DataFrame(ACTION))
    assert (found.effect < 0).any() and (found.effect > 0).any()
    assert 0 < found.reachable.mean() < 1
    assert np.isfinite(found.baseline).all() and len(found.customers) == len(found.effect)


@pytest.mark.parametrize("name, value", [("product_id", "gold_bar"), ("channel", "fax"), ("level", "loud")])
def test_what_the_bank_does_not_have_is_refused(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"actions.{name}: the bank has no '{value}'"):
        true_effects(10, 0, 1, MONTH, pl.DataFrame(ACTION | {name: [value]}))


def test_a_day_within_a_month_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be the first of a month"):
        true_effects(10, 0, 1, date(2023, 4, 2), pl.DataFrame(ACTION))
