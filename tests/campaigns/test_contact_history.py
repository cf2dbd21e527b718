"""What past contacts leave of a customer: worked out by hand, and the same alone as among all others."""

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from recsys.campaigns.contact_history import history
from recsys.campaigns.plan import CampaignPlan, Caps, Channel, Fatigue, Lift, Product

DAY = date(2024, 6, 1)
LIFT = Lift(value=0.1, origin="assumed", source="nobody")
PLAN = CampaignPlan(
    products=(Product(product="P1", margin=100),),
    channels=(
        Channel(channel="email", cost=1, lift=LIFT, cooling_off_days=7, pressure=0.5),
        Channel(channel="phone", cost=9, lift=LIFT, pressure=2.0),
    ),
    fatigue=Fatigue(half_life_days=10, cost=3),
    caps=Caps(contacts=2, window_days=30, in_window=3),
)


def _contacts(seed: int, count: int = 200) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    midnight = datetime(DAY.year, DAY.month, DAY.day)
    at = [midnight - timedelta(seconds=int(s)) for s in rng.integers(-200_000, 60 * 86400, count)]
    return pl.DataFrame(
        {
            "customer_id": [f"C{n:02}" for n in rng.integers(0, 30, count)],
            "channel": [("email", "phone", "post", None)[n] for n in rng.integers(0, 4, count)],
            "contacted": rng.random(count) < 0.8,
            "at": [None if rng.random() < 0.05 else one for one in at],
        },
        schema_overrides={"at": pl.Datetime("us")},
    )


def test_pressure_rest_and_caps_are_those_worked_out_by_hand() -> None:
    contacts = _contacts(0)
    ids = pl.Series("customer_id", [f"C{n:02}" for n in reversed(range(32))])
    found = history(contacts, ids, PLAN, DAY)
    midnight, weights = datetime(DAY.year, DAY.month, DAY.day), {"email": 0.5, "phone": 2.0}
    for row, customer in enumerate(ids):
        mine = contacts.filter(pl.col("customer_id") == customer, "contacted").rows(named=True)
        past = [(one["channel"], (midnight - one["at"]).total_seconds() / 86400) for one in mine if one["at"]]
        past = [(channel, age) for channel, age in past if age > 0]
        pressure = sum(weights.get(channel, 1.0) * 2 ** (-age / 10) for channel, age in past)
        assert found.pressure[row] == pytest.approx(pressure, rel=1e-12)
        assert found.resting[row].tolist() == [any(channel == "email" and age <= 7 for channel, age in past), False]
        assert found.left[row] == min(2, max(0, 3 - sum(age <= 30 for _, age in past)))
    assert found.resting.any() and (found.left == 0).any() and (found.left == 2).any()


def test_a_customer_alone_is_as_among_all_and_tables_may_be_in_any_order() -> None:
    for seed in range(5):
        contacts = _contacts(seed)
        ids = contacts["customer_id"].unique().sort()
        whole = history(contacts.sample(fraction=1, shuffle=True, seed=seed), ids, PLAN, DAY)
        for row, customer in enumerate(ids):
            alone = history(contacts.filter(customer_id=customer), pl.Series([customer]), PLAN, DAY)
            assert alone.pressure[0] == whole.pressure[row], "to the last bit"
            assert (alone.resting[0] == whole.resting[row]).all() and alone.left[0] == whole.left[row]


def test_without_a_table_or_a_day_nothing_has_happened() -> None:
    ids = pl.Series("customer_id", ["C00", "C01"])
    for contacts, day in ((None, DAY), (_contacts(0), None), (_contacts(0).clear(), DAY)):
        found = history(contacts, ids, PLAN, day)
        assert not found.pressure.any() and not found.resting.any() and found.left.tolist() == [2, 2]
