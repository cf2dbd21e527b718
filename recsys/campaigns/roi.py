"""What a campaign earned beyond what would have come anyway, against what it cost, with intervals."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys.bootstrap import block_of, resampling_weights
from recsys.campaigns.intervals import Estimate, Fieller, fieller
from recsys.drivers.effects import Mean
from recsys.segment_cards.intervals import Z, rounded

SAMPLES = 2_000
RATES = (-1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0)
"""Returns r for which P(incremental ROI > r) is told."""


@dataclass(frozen=True)
class Money:
    """Means per contacted customer, each with what every row adds to its error; minor units."""

    margin: tuple[Mean, Mean]
    """Of the contacted, and of the same customers had they not been contacted."""
    conversions: tuple[Mean, Mean]
    cost: Mean
    """Of the contacted; fixed costs are not in it."""
    customers: int
    """Contacted."""
    fixed: float


@dataclass(frozen=True)
class Returns:
    """What follows from them; every amount is of the campaign as a whole, in minor units."""

    cost: Estimate
    margin: Estimate
    """Incremental: margin of the contacted less what the same customers would have brought."""
    conversions: Estimate
    """Incremental."""
    net: Estimate
    """Incremental margin less cost."""
    roi: Fieller
    """Incremental: net / cost."""
    roi_bootstrap: Estimate
    per_conversion: Fieller
    """Cost of an incremental conversion."""
    attributed_roi: float
    """(margin of the contacted - cost) / cost: credits the campaign with what would have come anyway."""
    above: tuple[tuple[float, float], ...]
    """(r, P(incremental ROI > r)) for RATES."""

    def told(self) -> dict[str, Any]:
        """For JSON."""
        single = {
            name: getattr(self, name).told()
            for name in ("cost", "margin", "conversions", "net", "roi", "roi_bootstrap", "per_conversion")
        }
        above = [[r, rounded(p)] for r, p in self.above]
        return single | {"attributed_roi": rounded(self.attributed_roi), "above": above}


def returns(money: Money, samples: int = SAMPLES, seed: int = 0) -> Returns:
    """Incremental return of a campaign. Rows are independent: one per customer.

    ROI and cost per conversion by Fieller on the means, whose covariance is that of the rows' influences. The bootstrap
    resamples these influences (Davison and Hinkley 1997, section 2.7.2: the linear approximation), which keeps the
    skewness of amounts; P(ROI > r) is the share of resamples in which margin exceeds (1 + r) · cost.
    """
    n, paid = money.customers, money.cost.value + money.fixed / money.customers
    gain = money.margin[0].value - money.margin[1].value
    more = money.conversions[0].value - money.conversions[1].value
    rows = np.stack(
        [
            money.margin[0].influence - money.margin[1].influence,
            money.conversions[0].influence - money.conversions[1].influence,
            money.cost.influence,
        ],
        axis=1,
    )
    spread = rows.T @ rows
    per_cost = fieller(gain, paid, spread[0, 0], spread[2, 2], spread[0, 2])
    drawn = _resampled(rows[:, [0, 2]], samples, seed) + np.array([gain, paid])
    return Returns(
        cost=_total(paid, spread[2, 2], n, "normal"),
        margin=_total(gain, spread[0, 0], n, "normal, by customer"),
        conversions=_total(more, spread[1, 1], n, "normal, by customer"),
        net=_total(gain - paid, spread[0, 0] + spread[2, 2] - 2 * spread[0, 2], n, "normal, by customer"),
        roi=Fieller(per_cost.value - 1, per_cost.low - 1, per_cost.high - 1, per_cost.shape),
        roi_bootstrap=_bootstrapped(gain / paid - 1 if paid else np.nan, drawn),
        per_conversion=fieller(paid, more, spread[2, 2], spread[1, 1], spread[1, 2]),
        attributed_roi=money.margin[0].value / paid - 1 if paid else np.nan,
        above=tuple((r, float((drawn[:, 0] > (1 + r) * drawn[:, 1]).mean())) for r in RATES),
    )


def _total(value: float, variance: float, customers: int, method: str) -> Estimate:
    half = Z * float(np.sqrt(max(variance, 0.0)))
    return Estimate(customers * value, customers * (value - half), customers * (value + half), method)


def _bootstrapped(value: float, drawn: np.ndarray) -> Estimate:
    if not (drawn[:, 1] > 0).all():
        return Estimate(value, np.nan, np.nan, "bootstrap by customer")
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1] - 1, [0.025, 0.975])
    return Estimate(value, float(low), float(high), "bootstrap by customer")


def _resampled(rows: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """Sums [samples, M] of the influences [n, M] of customers drawn with replacement."""
    unit = block_of(len(rows))
    sums = np.stack([np.bincount(unit, weights=column) for column in rows.T], axis=1)
    weights = resampling_weights(len(sums), samples, np.random.default_rng(seed))
    return np.concatenate([weight @ sums for weight in weights])
