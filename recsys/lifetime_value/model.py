"""Customers' purchases and spend as one model of value: for each of them, and for all together, with intervals."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.bootstrap import Interval
from recsys.lifetime_value.bg_nbd import BgNbd, fit_bg_nbd
from recsys.lifetime_value.config import YEAR, PurchaseConfig
from recsys.lifetime_value.gamma_gamma import GammaGamma, fit_gamma_gamma
from recsys.lifetime_value.histories import collapsed
from recsys.lifetime_value.likelihood import Fitted, Z

CHUNK = 10_000
"""Customers whose futures are drawn at once."""
DRAWN = 5_000
"""Customers from whose drawn futures the chance in a total is taken."""
STEP = 1e-3
"""Step in the logarithm of a parameter by which a total is differenced."""


@dataclass(frozen=True)
class ValueModel:
    """Two fitted models, and what turns spend into value."""

    buying: Fitted
    spending: Fitted | None
    """None where amounts say nothing, or are so uneven that they have no mean."""
    unit: float
    """Days of the unit of time."""
    margin: float

    @property
    def bg_nbd(self) -> BgNbd:
        return BgNbd(*self.buying.values)

    @property
    def gamma_gamma(self) -> GammaGamma | None:
        return GammaGamma(*self.spending.values) if self.spending else None


@dataclass(frozen=True)
class Horizon:
    """How far ahead, and what later money is worth."""

    days: float
    discount: float = 0.0
    """Yearly rate."""

    def scaled(self, unit: float) -> tuple[float, float]:
        """The horizon in units of so many days, and the continuous rate in such a unit."""
        return self.days / unit, float(np.log1p(self.discount)) * unit / YEAR


def fit_value(known: pl.DataFrame, config: PurchaseConfig, seed: int) -> ValueModel:
    """Fit both models to rows of `histories`. Raises DataError where nobody bought twice."""
    unit = float(config.unit_days)
    buying = fit_bg_nbd(collapsed(known), unit, seed)
    usable = known.filter((pl.col("frequency") > 0) & (pl.col("spend") > 0))
    spending = None
    if (usable["spend"] / usable["frequency"]).n_unique() > 1:
        spending = fit_gamma_gamma(usable["frequency"].to_numpy(), usable["spend"].to_numpy(), seed)
        spending = spending if spending.values[1] > 1 else None
    return ValueModel(buying, spending, unit, config.margin)


def expected(model: ValueModel, known: pl.DataFrame, horizon: Horizon) -> pl.DataFrame:
    """`p_alive`, expected `purchases`, `spend` at a time and discounted `value` of each row of `histories`.

    Money is in minor units; `spend` and `value` are null where the model has no amounts.
    """
    history = _history(known, model.unit)
    length, rate = horizon.scaled(model.unit)
    bought = model.bg_nbd.purchases(*history, length)
    worth = model.bg_nbd.purchases(*history, length, rate) if rate else bought
    money = model.gamma_gamma
    spend = money.spend(known["frequency"].to_numpy(), known["spend"].to_numpy()) if money else None
    return pl.DataFrame(
        {
            "p_alive": model.bg_nbd.alive(*history),
            "purchases": bought,
            "spend": pl.Series(spend, dtype=pl.Float64) if spend is not None else _nothing(len(bought)),
            "value": worth * spend * model.margin if spend is not None else _nothing(len(bought)),
            "worth": worth,
        }
    )


def valued(model: ValueModel, known: pl.DataFrame, horizon: Horizon, draws: int, seed: int) -> pl.DataFrame:
    """`expected` of each customer with 95 % intervals of what chance may make of it, and what is at stake.

    `purchases_low` … `value_high` are quantiles of drawn futures, with the parameters taken as known. `at_stake` is
    the value of a customer who has not left already: what is lost with one who leaves now.
    """
    rng = np.random.default_rng(seed)
    told = expected(model, known, horizon)
    length, _ = horizon.scaled(model.unit)
    quantiles: list[np.ndarray] = []
    for start in range(0, known.height, CHUNK):
        rows = slice(start, start + CHUNK)
        future = _futures(model, known[rows], told[rows], length, draws, rng)
        quantiles.append(np.concatenate([np.quantile(f, [0.025, 0.975], axis=1, method="nearest") for f in future]))
    low_high = np.concatenate(quantiles, axis=1) if quantiles else np.zeros((4, 0))
    amounts = model.gamma_gamma is not None
    columns = {
        "purchases_low": pl.Series(low_high[0].astype(np.int64)),
        "purchases_high": pl.Series(low_high[1].astype(np.int64)),
        "value_low": pl.Series(low_high[2]) if amounts else _nothing(known.height),
        "value_high": pl.Series(low_high[3]) if amounts else _nothing(known.height),
    }
    at_stake = (pl.col("value") / pl.col("p_alive").clip(1e-9)).alias("at_stake")
    known = known.rename({"spend": "spend_so_far"})
    return pl.concat([known, told.drop("worth").with_columns(at_stake), pl.DataFrame(columns)], how="horizontal")


def total(model: ValueModel, known: pl.DataFrame, horizon: Horizon, column: str, seed: int) -> Interval | None:
    """`purchases` or `value` of all customers together, with a 95 % interval; None if the model has no such answer.

    Two things are open: the parameters (delta method) and chance (variance of drawn futures of a sample). Both are
    small against the total, so the interval is a normal one.
    """
    groups = known.group_by("frequency", "recency", "age").agg(pl.len().alias("customers"), pl.col("spend").sum())
    at = _total(model, groups, horizon, column)
    if at is None or not model.buying.determined:
        return None if at is None else Interval(at, float("nan"), float("nan"))
    variance = 0.0
    for which in ("buying", "spending"):
        fitted: Fitted | None = getattr(model, which)
        if fitted is None or (which == "spending" and column == "purchases") or not fitted.determined:
            continue
        slopes = []
        for place in range(len(fitted.values)):
            ends = []
            for sign in (STEP, -STEP):
                values = fitted.values.copy()
                values[place] *= np.exp(sign)
                moved = _with(model, which, values)
                ends.append(_total(moved, groups, horizon, column) or 0.0)
            slopes.append((ends[0] - ends[1]) / (2 * STEP))
        variance += float(np.array(slopes) @ fitted.covariance @ np.array(slopes))
    sample = known.sample(min(DRAWN, known.height), seed=seed)
    length, _ = horizon.scaled(model.unit)
    future = _futures(model, sample, expected(model, sample, horizon), length, 60, np.random.default_rng(seed))
    chance = future[0 if column == "purchases" else 1].var(axis=1, ddof=1).mean() * known.height
    half = Z * float(np.sqrt(variance + chance))
    return Interval(at, max(at - half, 0.0), at + half)


def _total(model: ValueModel, groups: pl.DataFrame, horizon: Horizon, column: str) -> float | None:
    """The expected sum: a group's spend at a time is linear in what it spent, so groups do for customers."""
    count = groups["customers"].to_numpy().astype(np.float64)
    told = expected(model, groups.with_columns(pl.col("spend") / pl.col("customers")), horizon)
    found = told[column]
    return None if found.null_count() else float(found.to_numpy() @ count)


def _with(model: ValueModel, which: str, values: np.ndarray) -> ValueModel:
    old: Fitted = getattr(model, which)
    new = Fitted(old.names, values, old.covariance, old.log_likelihood, old.customers)
    parts = {"buying": model.buying, "spending": model.spending, which: new}
    return ValueModel(parts["buying"] or model.buying, parts["spending"], model.unit, model.margin)


def _futures(
    model: ValueModel, known: pl.DataFrame, told: pl.DataFrame, length: float, draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Drawn purchases and discounted value [N, draws]; each purchase is discounted like the customer's mean one."""
    bought = model.bg_nbd.draws(*_history(known, model.unit), length, draws, rng)
    money = model.gamma_gamma
    if money is None:
        return bought, np.zeros(bought.shape)
    spent = money.draws(known["frequency"].to_numpy(), known["spend"].to_numpy(), bought, rng)
    later = told["worth"].to_numpy() / np.maximum(told["purchases"].to_numpy(), 1e-300)
    return bought, spent * model.margin * later[:, None]


def _history(known: pl.DataFrame, unit: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return known["frequency"].to_numpy(), known["recency"].to_numpy() / unit, known["age"].to_numpy() / unit


def _nothing(count: int) -> pl.Series:
    return pl.Series([None] * count, dtype=pl.Float64)
