"""What one campaign earned, from its rows, costs and margins; or why that cannot be told."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from recsys.campaigns.effects import Found, Rows
from recsys.campaigns.ledger import Costs
from recsys.campaigns.observational import Predicted, chance_of_contact, without_certain
from recsys.campaigns.roi import Money, Returns, returns
from recsys.drivers.effects import Mean, observed, weighted
from recsys.drivers.randomised import Trial
from training.campaign_rows import Campaign


@dataclass(frozen=True)
class Winsorised:
    """The same returns where no customer counts with more than a bound, so that a few large sales do not decide."""

    quantile: float
    """Of the margins above 0 in all arms together, fixed before the campaign."""
    bound: float
    """Minor units."""
    bounded: int
    """Customers who brought more."""
    returns: Returns

    def told(self) -> dict[str, Any]:
        """For JSON."""
        about = {"quantile": self.quantile, "bound": self.bound, "bounded": self.bounded}
        return about | {name: self.returns.told()[name] for name in ("margin", "net", "roi", "roi_bootstrap")}


def earned(
    campaign: Campaign,
    found: Found | None,
    priced: pl.DataFrame,
    costs: Costs,
    has_ledger: bool,
    seed: int,
    quantile: float | None = None,
) -> tuple[dict[str, Any] | None, str, list[str]]:
    """For JSON the returns of all treated arms together, or why there are none, and warnings.

    With a `quantile` the same with winsorised margins beside them, as `winsorised`.
    """
    if campaign.rows is None or found is None or found.refused:
        return None, "the effect is not known", []
    money = priced.filter(pl.Series(campaign.usable))
    unpriced = money.filter(~pl.col("is_control") & pl.col("cost").is_null()).height
    if unpriced:
        return None, f"the cost of {unpriced:,} contacted customers is missing; give --costs FILE", []
    if not (money["outcome"] > 0).any():
        return None, "nobody converted, so that nothing came back", []
    if missing := money["margin"].null_count():
        return None, f"the revenue of {missing:,} converters is missing; give conversion_value in --costs FILE", []
    notes = (
        [] if has_ledger else ["costs are those of the contacts alone; give --costs FILE for fixed costs and rewards"]
    )
    rows, margin = campaign.rows, money["margin"].to_numpy()
    cost = money["cost"].fill_null(0.0).to_numpy()
    if cost.sum() + costs.fixed <= 0:
        return None, "nothing was paid for it, so there is no return on it", notes
    if not rows.shares:
        notes.append("the outcome is an amount: incremental conversions are of that amount")
    told = returns(_money(rows, found, margin, cost, costs.fixed), seed=seed).told()
    if quantile is not None and (margin > 0).any():
        bound = float(np.quantile(margin[margin > 0], quantile))
        less = returns(_money(rows, found, np.minimum(margin, bound), cost, costs.fixed), seed=seed)
        told["winsorised"] = Winsorised(quantile, bound, int((margin > bound).sum()), less).told()
    return told, "", notes


def _money(rows: Rows, found: Found, margin: np.ndarray, cost: np.ndarray, fixed: float) -> Money:
    """Of a targeted campaign the means are those of customers as they were contacted; with several arms, of all."""
    if found.status == "randomised":
        sides = [
            [observed(values, (rows.arm > 0) == treated) for treated in (True, False)]
            for values in (margin, rows.outcome)
        ]
        treated = rows.arm > 0
    else:
        trial, _ = without_certain(rows.trial())
        margin, cost, treated = margin[trial.rows], cost[trial.rows], trial.arm > 0
        sides = [_weighed(replace(trial, outcome=values)) for values in (margin, trial.outcome)]
    return Money(
        (sides[0][0], sides[0][1]), (sides[1][0], sides[1][1]), observed(cost, treated), int(treated.sum()), fixed
    )


def _weighed(trial: Trial) -> list[Mean]:
    """Mean outcome of those contacted, and of the same customers had they not been."""
    predicted = Predicted.of(trial)
    if len(trial.arms) == 2:
        return list(predicted.sides(1, stands_for=chance_of_contact(trial)))
    counts = np.bincount(trial.arm)[1:]
    each = [predicted.sides(place) for place in range(1, len(trial.arms))]
    return [weighted([one[0] for one in each], (counts / counts.sum()).tolist()), each[0][1]]
