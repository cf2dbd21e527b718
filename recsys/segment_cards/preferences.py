"""Which products the recommender puts first for each segment: shares of customers, mergeable."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from recsys.segment_cards.intervals import wilson
from recsys.segment_cards.suppression import FEWEST, hidden_shares

SHOWN = 5


@dataclass
class Preferences:
    """How many customers of each segment have each product among their first k, and first of all."""

    segments: int
    products: tuple[str, ...]

    def __post_init__(self) -> None:
        self.sizes = np.zeros(self.segments)
        self.listed = np.zeros((self.segments, len(self.products)))
        self.first = np.zeros((self.segments, len(self.products)))

    def update(self, ranked: pl.DataFrame, assigned: pl.DataFrame) -> None:
        """Add ranked products (`customer_id`, `rank` from 1, `product_id`) of the customers in `assigned`."""
        self.sizes += np.bincount(assigned["segment"].to_numpy(), minlength=self.segments)
        place = pl.Series(self.products, dtype=pl.String)
        order = pl.DataFrame({"product_id": place, "place": pl.Series(range(len(place)), dtype=pl.Int64)})
        rows = ranked.join(assigned, on="customer_id", how="inner").join(order, on="product_id", how="inner")
        where = rows["segment"].to_numpy(), rows["place"].to_numpy()
        np.add.at(self.listed, where, 1)
        np.add.at(self.first, where, (rows["rank"] == 1).to_numpy().astype(np.float64))

    def merge(self, other: "Preferences") -> None:
        """Add what another one has seen of the same catalogue."""
        self.sizes += other.sizes
        self.listed += other.listed
        self.first += other.first

    def preferred(self) -> list[list[dict[str, Any]]]:
        """For each segment the products that most of its customers have among their first k, with 95 % intervals.

        `share` and `first` are of the segment's customers, `overall` of all; hidden where it would tell of few.
        """
        overall = self.listed.sum(axis=0) / max(self.sizes.sum(), 1)
        best = [np.argsort(-row, kind="stable")[:SHOWN] for row in self.listed]
        asked = np.unique(np.concatenate(best)) if best else np.zeros(0, dtype=np.int64)
        hidden, hidden_first = np.zeros(self.listed.shape, bool), np.zeros(self.listed.shape, bool)
        hidden[:, asked] = hidden_shares(self.listed[:, asked], self.sizes)
        hidden_first[:, asked] = hidden_shares(self.first[:, asked], self.sizes)
        found = []
        for k, order in enumerate(best):
            share = wilson(self.listed[k], np.full(len(self.products), self.sizes[k]))
            found.append(
                [
                    {
                        "product": self.products[p],
                        "share": round(float(share.value[p]), 4),
                        "low": round(float(share.low[p]), 4),
                        "high": round(float(share.high[p]), 4),
                        "overall": round(float(overall[p]), 4),
                        "first": None if hidden_first[k, p] else round(float(self.first[k, p] / self.sizes[k]), 4),
                    }
                    for p in order
                    if self.listed[k, p] >= FEWEST and not hidden[k, p]
                ]
            )
        return found
