"""The truth about contacts that any campaign might make, beside what the bank's own campaigns recorded."""

from pathlib import Path

import numpy as np
import polars as pl

from recsys.synthetic.campaigns import CAMPAIGNS
from recsys.synthetic.decisions import ACTIONS, COSTS, PAIRS, opportunities
from recsys.synthetic.generate import generate
from recsys.synthetic.ids import customer_ids


def test_true_effects_are_those_that_the_banks_campaigns_recorded(tmp_path: Path) -> None:
    generate(tmp_path / "bank", 400, 5, buckets=1)
    recorded = pl.read_parquet(tmp_path / "bank.truth" / "uplift.parquet")
    months, ids = list(opportunities(400, 5)), customer_ids(400).to_list()
    compared = 0
    for campaign in CAMPAIGNS:
        pair = (campaign.product, campaign.channel)
        rows = recorded.filter((pl.col("campaign_id") == campaign.campaign_id) & (pl.col("arm") == "treated"))
        if pair not in PAIRS or rows.is_empty():
            continue
        one, action = months[campaign.month], 1 + PAIRS.index(pair)
        place = {ids[customer]: row for row, customer in enumerate(one.customer)}
        here = np.array([place[name] for name in rows["customer_id"]])
        assert one.eligible[here, action].all()
        effect = (one.chance - one.baseline)[here, action]
        # another campaign of the month may keep customers: the chance of staying is its arms' mean in the record
        np.testing.assert_allclose(effect, rows["effect"].to_numpy(), atol=0.01)
        np.testing.assert_allclose(np.median(np.abs(effect - rows["effect"].to_numpy())), 0, atol=1e-6)
        compared += len(rows)
    assert compared > 100


def test_doing_nothing_is_free_always_possible_and_changes_nothing() -> None:
    one = next(opportunities(200, 1, months=1))
    assert ACTIONS[0] == "none" and COSTS[0] == 0
    assert one.eligible[:, 0].all()
    assert (one.value[:, 0] == 0).all() and (one.features[:, 0] == 0).all()
    assert one.value[:, 1:].min() < 0 < one.value[:, 1:].max(), "some contacts lose money, some earn it"
