"""What contacts have taken of a plan's limits since its prices were made, and how far the prices have moved for it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, time

import numpy as np

from recsys.campaigns.pacing import Pacer
from recsys.campaigns.prices import PublishedPrices
from recsys.lake.buckets import stable_hashes
from serving.campaign_values import Bucket
from serving.store.decisions import Pacing


class Spend:
    """Of one worker, which keeps its share of every limit; and of all, where they write to one store."""

    def __init__(self, prices: PublishedPrices, workers: int) -> None:
        self.prices, self._limits = prices, prices.shared
        self.own, self.whole = pacer_of(prices, workers), pacer_of(prices, 1)
        """The worker's pacing; that of all as it began."""
        self._counted: set[tuple[int, ...]] = set()

    def settled(self, pacer: Pacer, now: datetime | None) -> Pacer | None:
        """The same with prices that have moved until now; None where the published ones decide."""
        if now is None or (elapsed := self._elapsed(now)) is None:
            return None
        pacer.settle(elapsed)
        return pacer

    def of_all(self, state: Pacing | None) -> Pacer:
        """The pacing that all workers share."""
        pacer = replace(self.whole)
        if state is not None:
            pacer.restore(state)
        return pacer

    def after(self, use: np.ndarray, now: datetime, state: Pacing | None) -> Pacing | None:
        """The state of the prices after a contact with these uses [m]; None where it does not fit."""
        pacer = self.of_all(state)
        self.settled(pacer, now)
        if not pacer.fits(use):
            return None
        pacer.take(use)
        return pacer.state()

    def counts(self, bucket: Bucket, chosen: Sequence[int]) -> bool:
        """Whether the contacts fit into the worker's limits; they are counted once, however often it is asked."""
        contacts = (int(stable_hashes(bucket.ids)[0]), *chosen)
        if contacts in self._counted:
            return True
        use = self.use(bucket, chosen)
        if not self.own.fits(use):
            return False
        self.own.take(use)
        self._counted.add(contacts)
        return True

    def use(self, bucket: Bucket, chosen: Sequence[int]) -> np.ndarray:
        """float64 [m]: what contacts with the customer take of every limit."""
        costs, use = bucket.part.costs, np.zeros(len(self.prices.limits))
        for action in chosen:
            own = None if costs is None else costs[action]
            use += self._limits.uses(own, bucket.part.group, np.array([action]))[:, 0]
        return use

    def _elapsed(self, now: datetime) -> float | None:
        """Share of the period of the prices that has passed; None where they have none."""
        first, last = self.prices.as_of, self.prices.valid_until
        if first is None or last is None:
            return None
        start, end = datetime.combine(first, time()), datetime.combine(last, time.max)
        return (now - start).total_seconds() / (end - start).total_seconds()


def pacer_of(prices: PublishedPrices, workers: int) -> Pacer:
    """Pacing of the plan's limits, of which each worker keeps its share.

    The scale of a price is itself or, where it is 0, what the cheapest contact that takes of the limit costs for it.
    """
    shared, dual = prices.shared, prices.dual
    cost = np.array(prices.cost)
    scale = np.array(
        [
            dual[j] or min((max(c, 1.0) / u for c, u in zip(cost, shared.use[j], strict=True) if u > 0), default=1.0)
            for j in range(len(dual))
        ]
    )
    planned = np.array([row.planned for row in prices.limits])
    return Pacer(dual, planned / workers, shared.limit / workers, scale)
