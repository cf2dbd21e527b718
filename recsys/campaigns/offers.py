"""The actions of a campaign plan, what each is worth with each customer, what it costs, and the limits in rows."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from recsys.campaigns.allocation import Actions, Limits
from recsys.campaigns.allocation.problem import EVERYONE
from recsys.campaigns.plan import CampaignPlan


@dataclass(frozen=True)
class Offers:
    """Every product × channel × level of a plan, in the plan's order."""

    plan: CampaignPlan

    @cached_property
    def index(self) -> np.ndarray:
        """int64 [K, 3]: product, channel and level of each action."""
        plan = self.plan
        shape = (len(plan.products), len(plan.channels), len(plan.levels))
        return np.stack(np.unravel_index(np.arange(int(np.prod(shape))), shape), axis=1)

    @cached_property
    def actions(self) -> Actions:
        return Actions(self.index[:, 1], self.index[:, 0])

    @cached_property
    def table(self) -> pl.DataFrame:
        """`action`, `product_id`, `channel`, `level`, `cost` (minor units a contact), in order."""
        plan = self.plan
        rows = [(plan.products[p], plan.channels[c], plan.levels[v]) for p, c, v in self.index]
        return pl.DataFrame(
            {
                "action": [f"{p.product}/{c.channel}/{v.level}" for p, c, v in rows],
                "product_id": [p.product for p, _, _ in rows],
                "channel": [c.channel for _, c, _ in rows],
                "level": [v.level for _, _, v in rows],
                "cost": [float(c.cost + v.cost) for _, c, v in rows],
            }
        )

    @cached_property
    def margin(self) -> np.ndarray:
        """float64 [K]."""
        return np.array([self.plan.products[p].margin for p in self.index[:, 0]], dtype=np.float64)

    @cached_property
    def reward(self) -> np.ndarray:
        """float64 [K]."""
        return np.array([self.plan.products[p].reward for p in self.index[:, 0]], dtype=np.float64)

    def assumed_effect(self, chance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Chance without contact, effect and standard error, float64 [K, N], of the plan's lifts on chances [P, N]."""
        lift, error, factor = self._lifts
        baseline = chance[self.index[:, 0]].astype(np.float64)
        effect = np.minimum(np.maximum(baseline * lift * factor, -baseline), 1 - baseline)
        return baseline, effect, baseline * error * factor

    @cached_property
    def _lifts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Assumed lift, its standard error and the factor of the level, float64 [K, 1]."""
        lifts = [self.plan.channels[c].lift for c in self.index[:, 1]]
        lift = [one.value if one else 0.0 for one in lifts]
        error = [one.se if one else 0.0 for one in lifts]
        factor = [self.plan.levels[v].factor for v in self.index[:, 2]]
        return np.array(lift)[:, None], np.array(error)[:, None], np.array(factor)[:, None]

    @cached_property
    def _weight(self) -> np.ndarray:
        """float64 [K, 1]: what the pressure of a contact costs, times the pressure of those before."""
        plan = self.plan
        return np.array([plan.channels[c].pressure for c in self.index[:, 1]])[:, None] * plan.fatigue.cost

    @cached_property
    def _fixed(self) -> np.ndarray:
        """float64 [K, 1]: a contact and its level."""
        return self.table["cost"].to_numpy()[:, None]

    def costs(self, baseline: np.ndarray, effect: np.ndarray) -> np.ndarray:
        """float32 [K, N]: a contact, its level, and the reward of all who are expected to convert."""
        chance = np.minimum(np.maximum(baseline + effect, 0), 1)
        return np.asarray(self._fixed + self.reward[:, None] * chance, dtype=np.float32)

    def values(
        self, effect: np.ndarray, se: np.ndarray, costs: np.ndarray, pressure: np.ndarray, allowed: np.ndarray
    ) -> np.ndarray:
        """float32 [K, N]: expected gain in minor units, -inf where not allowed.

        margin × (effect - caution × se) - costs - fatigue × pressure of the channel × contact pressure [N].
        """
        gain = self.margin[:, None] * (effect - self.plan.caution * se) - costs
        gain -= self._weight * pressure
        return np.where(allowed, gain, -np.inf).astype(np.float32)

    @property
    def personal(self) -> bool:
        """Whether costs differ between customers."""
        return bool(self.reward.any())

    def limits(self) -> Limits:
        """The plan's limits as rows: budget, budgets of segments (groups, in order), capacities, stocks, minima."""
        plan, count = self.plan, len(self.index)
        cost = np.ones(count) if self.personal else self.table["cost"].to_numpy()
        rows: list[tuple[str, np.ndarray, float, bool, int]] = []
        if plan.budget is not None:
            rows.append(("budget", cost, plan.budget, self.personal, EVERYONE))
        for g, (segment, amount) in enumerate((plan.segment_budgets.amounts if plan.segment_budgets else {}).items()):
            rows.append((f"budget of {segment}", cost, amount, self.personal, g))
        for c, channel in enumerate(plan.channels):
            if channel.capacity is not None:
                use = 1.0 * (self.index[:, 1] == c)
                rows.append((f"capacity of {channel.channel}", use, channel.capacity, False, EVERYONE))
        for p, product in enumerate(plan.products):
            use = 1.0 * (self.index[:, 0] == p)
            if product.stock is not None:
                rows.append((f"stock of {product.product}", use, product.stock, False, EVERYONE))
            if product.minimum:
                rows.append((f"minimum of {product.product}", -use, -product.minimum, False, EVERYONE))
        return Limits(
            tuple(row[0] for row in rows),
            np.array([row[1] for row in rows]).reshape(len(rows), count),
            np.array([row[2] for row in rows], dtype=np.float64),
            np.array([row[3] for row in rows], dtype=bool),
            np.array([row[4] for row in rows], dtype=np.int64),
        )


def used_money(names: tuple[str, ...]) -> np.ndarray:
    """bool [m]: which limits are amounts of money."""
    return np.array([name.startswith("budget") for name in names], dtype=bool)
