"""Why a customer is likely to leave, or to stay: Shapley values of what is known of them, in their own terms."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from recsys.bundle.churn import Churn
from recsys.bundle.manifest import canonical_json
from recsys.customer_terms import in_words
from recsys.feature_groups import Background, feature_groups
from recsys.segment_cards.labels import Labels
from recsys.shapley import Shapley, shapley

BACKGROUND = "churn/background.json"
SEED = 0
"""Of the orders in which groups become known; the same for everyone, so that a question has one answer."""


class ReasonsAbout(BaseModel):
    """What reasons are measured against, and how things are called; aggregates only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    background: Background
    products: dict[str, str]
    """Product id → name."""
    currency: str | None
    """Of amounts of money, which are in its minor units."""


@dataclass(frozen=True)
class ChurnReason:
    """What is known of a customer, and what it does to their log-odds of leaving beside typical customers."""

    group: str
    effect: float
    """Points of log-odds; above 0 it speaks for leaving."""
    text: str


class ChurnReasons:
    """Reasons through the graph that scores; equal customers get equal reasons in any company."""

    def __init__(self, churn: Churn) -> None:
        """BundleError if the bundle keeps nothing to measure reasons against."""
        self.churn = churn
        about = churn.bundle.parsed(BACKGROUND, ReasonsAbout)
        self.labels = Labels.of(churn.definition, about.products, about.currency)
        self.groups = feature_groups(churn.encoder, churn.about.arrays)
        self.background = about.background.arrays()

    @classmethod
    def of(cls, churn: Churn) -> "ChurnReasons | None":
        """Those of a churn part, None where it keeps no background."""
        return cls(churn) if BACKGROUND in churn.bundle.contents.files else None

    def values(self, arrays: Mapping[str, np.ndarray], rounds: int = 2) -> Shapley:
        """Of the encoder's customer arrays: base and effects of the groups on the log-odds before calibration."""
        read = {name: np.asarray(arrays[name]) for name in self.churn.about.arrays}
        return shapley(
            lambda some: self.churn.run(some)[0], read, self.background, self.groups, rounds=rounds, seed=SEED
        )

    def reasons(self, rows: pl.DataFrame, most: int = 3) -> list[list[ChurnReason]]:
        """For each feature row up to `most` reasons for leaving or staying, the strongest first, ties by group."""
        return [self._told(row, effects, most) for row, effects in self._effects(rows)]

    def reasons_for_leaving(self, rows: pl.DataFrame, most: int = 3) -> list[list[ChurnReason]]:
        """The same of those that speak for leaving alone; none where nothing does."""
        return [self._told(row, effects.clip(0.0), most) for row, effects in self._effects(rows)]

    def _effects(self, rows: pl.DataFrame) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
        """Each feature row with the effects of the groups [G]."""
        if rows.height:
            yield from zip(rows.iter_rows(named=True), self.values(self.churn.encoder.encode(rows)).values, strict=True)

    def _told(self, row: dict[str, Any], effects: np.ndarray, most: int) -> list[ChurnReason]:
        names = [group.name for group in self.groups]
        order = sorted(np.flatnonzero(effects).tolist(), key=lambda g: (-abs(effects[g]), names[g]))[:most]
        definition = self.churn.definition
        return [
            ChurnReason(names[g], float(effects[g]), in_words(names[g], row, definition, self.labels)) for g in order
        ]


def background_file(background: Background, products: Mapping[str, str], currency: str | None) -> dict[str, bytes]:
    """The file in the part `churn`."""
    about = ReasonsAbout(background=background, products=dict(products), currency=currency)
    return {BACKGROUND: canonical_json(about.model_dump(mode="json"))}
