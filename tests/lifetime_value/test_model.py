"""Values of customers and of all together hold what really follows, as often as their intervals say."""

import numpy as np
import polars as pl
import pytest

from recsys.lifetime_value.bg_nbd import BgNbd
from recsys.lifetime_value.config import PurchaseConfig
from recsys.lifetime_value.gamma_gamma import GammaGamma
from recsys.lifetime_value.independence import by_frequency, independence
from recsys.lifetime_value.model import Horizon, ValueModel, expected, fit_value, total, valued
from recsys.lifetime_value.simulation import simulated

TRUTH = BgNbd(0.6, 6.0, 0.9, 2.5), GammaGamma(6.0, 4.0, 1_500.0)
HORIZON = 180


@pytest.fixture(scope="module")
def made() -> pl.DataFrame:
    return simulated(*TRUTH, 20_000, 500, 7.0, HORIZON, seed=5)


@pytest.fixture(scope="module")
def model(made: pl.DataFrame) -> ValueModel:
    return fit_value(made.drop("later"), PurchaseConfig(margin=0.5), seed=0)


def test_intervals_of_customers_hold_what_they_do(made: pl.DataFrame, model: ValueModel) -> None:
    told = valued(model, made.drop("later").head(4_000), Horizon(HORIZON), 200, seed=1)
    later = made["later"].head(4_000)
    held = ((later >= told["purchases_low"]) & (later <= told["purchases_high"])).mean()
    assert held is not None and 0.95 <= held <= 0.995  # whole numbers hold more than 95 %
    assert (told["value_low"] <= told["value"]).all()


def test_the_interval_of_a_total_holds_it_about_as_often_as_it_says() -> None:
    held = 0
    for seed in range(25):
        made = simulated(*TRUTH, 1_000, 400, 7.0, HORIZON, seed)
        fitted = fit_value(made.drop("later"), PurchaseConfig(), seed=0)
        found = total(fitted, made.drop("later"), Horizon(HORIZON), "purchases", 0)
        assert found is not None
        held += found.low <= made["later"].sum() <= found.high
    assert held >= 19  # 95 % of 25 are 24; fewer than 19 come once in ten thousand


def test_a_value_is_purchases_times_spend_times_margin(made: pl.DataFrame, model: ValueModel) -> None:
    told = expected(model, made, Horizon(HORIZON))
    np.testing.assert_allclose(told["value"], told["purchases"] * told["spend"] * 0.5)
    later = expected(model, made, Horizon(HORIZON, 0.2))
    ratio = (later["value"] / told["value"]).to_numpy()
    assert (ratio < 1).all() and (ratio > 1.2 ** (-HORIZON / 365)).all()


def test_what_is_at_stake_is_the_value_of_one_who_is_still_there(made: pl.DataFrame, model: ValueModel) -> None:
    told = valued(model, made.drop("later").head(500), Horizon(HORIZON), 40, seed=0)
    np.testing.assert_allclose(told["at_stake"] * told["p_alive"], told["value"], rtol=1e-9)
    assert (told["at_stake"] >= told["value"] - 1e-9).all()


def test_the_same_seed_gives_the_same_rows(made: pl.DataFrame, model: ValueModel) -> None:
    few = made.drop("later").head(300)
    one, two = (valued(model, few, Horizon(90), 50, seed=2) for _ in range(2))
    assert one.equals(two) and not one.equals(valued(model, few, Horizon(90), 50, seed=3))


def test_without_amounts_purchases_are_told_and_value_is_not(made: pl.DataFrame) -> None:
    free = made.drop("later").with_columns(pl.lit(0, pl.Int64).alias("spend"))
    model = fit_value(free, PurchaseConfig(), seed=0)
    told = valued(model, free.head(50), Horizon(90), 40, seed=0)
    assert model.spending is None
    assert told["value"].null_count() == told["at_stake"].null_count() == 50
    assert (told["purchases"] > 0).all()
    assert total(model, free, Horizon(90), "value", 0) is None


def test_independent_spend_is_taken_as_such_and_dependent_spend_is_not(made: pl.DataFrame) -> None:
    frequency, spend = made["frequency"].to_numpy(), made["spend"].to_numpy()
    found = independence(frequency, spend)
    assert found is not None and found.holds and abs(found.correlation.value) < 0.05
    grown = independence(frequency, spend * (1 + frequency))
    assert grown is not None and not grown.holds and grown.correlation.low > 0.1
    assert independence(frequency[:0], spend[:0]) is None


def test_groups_by_frequency_are_never_of_fewer_than_ten(made: pl.DataFrame) -> None:
    frequency, spend = made["frequency"].to_numpy(), made["spend"].to_numpy()
    money = GammaGamma(6.0, 4.0, 1_500.0)
    found = by_frequency(frequency, spend, money.spend(frequency, spend))
    assert found["customers"].min() >= 10  # type: ignore[operator]
    assert found["customers"].sum() == (frequency > 0).sum()
    np.testing.assert_allclose(found["spend"], found["expected"], rtol=0.1)
