"""Customers who do what the models say, so that what is found in them can be compared with the truth."""

import numpy as np
import polars as pl

from recsys.lifetime_value.bg_nbd import BgNbd
from recsys.lifetime_value.gamma_gamma import GammaGamma


def simulated(
    model: BgNbd, money: GammaGamma, customers: int, days: int, unit: float, horizon: int, seed: int
) -> pl.DataFrame:
    """Histories of customers who first bought on any of the last `days` days, and what they do in `horizon` days more.

    The columns of `histories`, and `later`: purchases within the horizon. `unit` are the days of the model's unit.
    """
    rng = np.random.default_rng(seed)
    age = rng.integers(0, days, customers)
    rate = rng.gamma(model.r, 1 / model.alpha, customers) / unit
    leaves = np.clip(rng.beta(model.a, model.b, customers), 1e-12, 1.0)
    stays = rng.geometric(leaves)  # purchases until the one after which they leave
    chances = rng.poisson(rate * age)
    frequency = np.minimum(chances, stays)
    place = rng.beta(np.maximum(frequency, 1), np.maximum(chances + 1 - frequency, 1))  # an order statistic of them
    recency = np.where(frequency > 0, np.rint(place * age), 0).astype(np.int64)
    later = np.minimum(rng.poisson(rate * horizon), np.where(stays > chances, stays - chances, 0))
    own = rng.gamma(money.q, 1 / money.v, customers)
    spend = np.where(frequency > 0, rng.gamma(np.maximum(money.p * frequency, 1e-12)) / own, 0.0)
    return pl.DataFrame(
        {
            "customer_id": [f"C{i:08d}" for i in range(customers)],
            "frequency": frequency.astype(np.int64),
            "recency": recency,
            "age": age.astype(np.int64),
            "spend": np.maximum(np.rint(spend), (frequency > 0) * 1).astype(np.int64),
            "later": later.astype(np.int64),
        }
    )
