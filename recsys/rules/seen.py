"""The customers that rules are asked about, as the tables show them before a day."""

from collections.abc import Mapping, Sequence
from datetime import date
from functools import cached_property

import numpy as np
import polars as pl

from recsys.features.examples import scoring_examples
from recsys.features.holdings import holdings, is_test, seen_interactions
from recsys.features.profile import in_force
from recsys.features.view import AT, FAR, Column, View, arrays
from recsys.features.vocabulary import Vocabulary, flatten


class Seen:
    """Customers [N] of a bucket or a request; what no rule asks for is not looked at."""

    def __init__(
        self,
        tables: Mapping[str, pl.DataFrame],
        customers: pl.Series,
        as_of: date | None,
        holdings: pl.Series | None,
        segments: pl.Series | None,
    ) -> None:
        self.tables = tables
        self.ids = customers.rename("customer_id")
        self.as_of = as_of
        self._holdings = holdings
        self.segments = segments

    @cached_property
    def _view(self) -> View:
        return View(self.tables, scoring_examples(self.ids, self.as_of))

    @cached_property
    def _row(self) -> pl.Series:
        """[N] the row of customers in force, null without one."""
        place = in_force(self._view)
        return pl.Series(place).replace(-1, None)

    def attribute(self, name: str, dtype: pl.DataType) -> pl.Series:
        """[N] an attribute of the customers; null where it is not known, as where the table lacks it."""
        customers = self.tables["customers"]
        if name not in customers.columns:
            return pl.Series(name, [None], dtype=dtype).new_from_index(0, len(self.ids))
        return customers[name].gather(self._row)

    def held(self, products: Vocabulary) -> np.ndarray:
        """int64 [M, 2]: (row, place among `products`) of what each customer holds, by row."""
        lists = self._holdings
        if lists is None:
            found = holdings(seen_interactions(self._view))
            row, flat = flatten(found["holdings"])
            row = found["row"].to_numpy().astype(np.int64)[row]
        else:
            row, flat = flatten(lists)
        place = products.places(flat)
        return np.stack([row[place >= 0], place[place >= 0]], axis=1)

    def acquisitions(self, days: int) -> tuple[np.ndarray, pl.Series]:
        """Row and product of what was acquired in the last `days`."""
        events = self.tables.get("interactions")
        if events is None:
            return _nothing()
        return self._recent(events.filter((pl.col("kind") == "acquired") & ~is_test(events)), days)

    def refusals(self, days: int, kinds: Sequence[str]) -> tuple[np.ndarray, pl.Series]:
        """Row and product, null where not said, of what was refused in the last `days`."""
        events = self.tables.get("outcomes")
        return _nothing() if events is None else self._recent(events.filter(pl.col("kind").is_in(kinds)), days)

    def contacts(self, days: int) -> tuple[np.ndarray, pl.Series, pl.Series]:
        """Row, product of the campaign and channel, both null where not said, of contacts in the last `days`."""
        events = self.tables.get("contacts")
        if events is None:
            return (*_nothing(), pl.Series(dtype=pl.String))
        made = events.filter(pl.col("contacted"))
        if "channel" not in made.columns:
            made = made.with_columns(channel=pl.lit(None, pl.String))
        campaigns = self.tables.get("campaigns")
        if campaigns is not None and "product_id" in campaigns.columns:
            about = campaigns.select("campaign_id", "product_id")
            made = made.join(about, on="campaign_id", how="left", maintain_order="left")
        else:
            made = made.with_columns(product_id=pl.lit(None, pl.String))
        row, event = self._placed(made, days)
        return row, made["product_id"].gather(pl.Series(event)), made["channel"].gather(pl.Series(event))

    def _recent(self, events: pl.DataFrame, days: int) -> tuple[np.ndarray, pl.Series]:
        row, event = self._placed(events, days)
        if "product_id" not in events.columns:
            return row, pl.Series([None], dtype=pl.String).new_from_index(0, len(row))
        return row, events["product_id"].gather(pl.Series(event))

    def _placed(self, events: pl.DataFrame, days: int) -> tuple[np.ndarray, np.ndarray]:
        """Row and place in `events` of what lies 1 to `days` days before the day."""
        wanted: dict[str, Column] = {"customer_id": self._view.customers, "at": AT}
        found = arrays(events, wanted)
        pairs = self._view.of_customers(found["customer_id"], found["at"])
        near = (pairs.age <= days) & (pairs.age < FAR)
        return pairs.row[near], pairs.event[near]


def _nothing() -> tuple[np.ndarray, pl.Series]:
    return np.empty(0, dtype=np.int64), pl.Series(dtype=pl.String)
