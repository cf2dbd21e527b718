"""The card of each segment: what it is, what it does, what to try, from sums that were gathered bucket by bucket."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from recsys.features.definition import FeatureDefinition
from recsys.features.encoder import Encoder
from recsys.lake.contract import Attribute
from recsys.segment_cards.behaviour import Behaviour
from recsys.segment_cards.facts import Fact, facts
from recsys.segment_cards.habits import habits
from recsys.segment_cards.intervals import rounded, wilson
from recsys.segment_cards.labels import Labels
from recsys.segment_cards.names import Name, feature_text, names, phrase, sentence
from recsys.segment_cards.preferences import Preferences
from recsys.segment_cards.profiles import Profiles
from recsys.segment_cards.reported import reported, reported_attributes, reported_profiles, reported_rows
from recsys.segment_cards.suggestions import suggestions
from recsys.segment_cards.suppression import FEWEST, hidden_parts
from recsys.segment_cards.transitions import Transitions

STRONGEST = 8
"""Facts in a card's list of what sets it apart, one per thing that is measured."""
WORTH_TELLING = 0.2
"""Standard deviations, below which a difference is small (Cohen, 1988) however certain it is."""
HELD = 8
PROFILED = 16
"""Features in the table of all segments."""

Card = dict[str, Any]


@dataclass
class CardSums:
    """All that cards are made of: sums over customers, mergeable; nothing about a single one."""

    segments: int
    definition: FeatureDefinition
    encoder: Encoder
    attributes: tuple[Attribute, ...]
    """Of the lake's customers; those with a role that is only told are counted apart."""
    products: tuple[str, ...] = ()
    """The recommender's catalogue, empty without one."""
    ranked: int = 0
    """How many products were ranked for each customer."""
    told: tuple[Attribute, ...] = field(init=False)

    def __post_init__(self) -> None:
        definition, numbers = self.definition, self.encoder.customer.numbers
        used = {column.name for column in definition.profile}
        self.told = tuple(a for a in reported_attributes(self.attributes) if a.name not in used)
        sets = (*definition.tags, *(("holdings",) if definition.holdings else ()))
        scales = {name: numbers[name].encode for name in definition.numbers if name in numbers}
        self.inputs = Profiles(self.segments, definition.numbers, definition.categories, sets, scales)
        self.reported = reported_profiles(self.told, self.segments)
        self.behaviour = Behaviour(self.segments)
        self.preferences = Preferences(self.segments, self.products)
        self.transitions = Transitions(self.segments)

    def update(
        self,
        tables: Mapping[str, pl.DataFrame],
        rows: pl.DataFrame,
        index: np.ndarray,
        as_of: date | None,
        ranked: pl.DataFrame | None = None,
        earlier: np.ndarray | None = None,
    ) -> None:
        """Add a bucket: its tables, a feature row and a segment [N] for each customer, and what is known beside them.

        `ranked` are the recommender's products (`customer_id`, `rank`, `product_id`); `earlier` is the segment at the
        earlier day, -1 for those of whom nothing was known then.
        """
        assigned = pl.DataFrame({"customer_id": rows["customer_id"], "segment": pl.Series(index, dtype=pl.Int64)})
        self.inputs.update(rows, index)
        self.reported.update(reported_rows(tables, rows["customer_id"], self.told, as_of), index)
        self.behaviour.update(tables, assigned, as_of)
        if ranked is not None:
            self.preferences.update(ranked, assigned)
        if earlier is not None:
            self.transitions.update(earlier, index)

    def merge(self, other: "CardSums") -> None:
        """Add what another one has gathered from other buckets."""
        self.inputs.merge(other.inputs)
        self.reported.merge(other.reported)
        self.behaviour.merge(other.behaviour)
        self.preferences.merge(other.preferences)
        self.transitions.merge(other.transitions)


def segment_names(sums: CardSums, labels: Labels, ids: Sequence[str]) -> list[Name]:
    """A readable name for each segment, by rule from what sets it apart; no two alike."""
    return names(facts(sums.inputs), labels, ids)


def cards(sums: CardSums, labels: Labels, ids: Sequence[str], given: Sequence[str] | None = None) -> dict[str, Any]:
    """JSON: `segments`, one card each; `transitions`; `tests`; and `left_out`, why a part is missing.

    `given` are names that the segments already have; their rule-made names stand beside them.
    """
    found = facts(sums.inputs)
    made = names(found, labels, ids)
    titles = list(given) if given else [name.text for name in made]
    done, absent = habits(sums.behaviour)
    told = reported(sums.reported, sums.told)
    preferred = sums.preferences.preferred() if sums.products else [[] for _ in ids]
    total = sums.inputs.sizes.sum()
    share = wilson(sums.inputs.sizes, np.full(sums.segments, total))
    secret = hidden_parts(sums.inputs.sizes[:, None])[:, 0]
    listed = []
    for k, segment in enumerate(ids):
        size = int(sums.inputs.sizes[k])
        if size < FEWEST:
            listed.append({"id": segment, "name": segment, "size": None, "hidden": f"fewer than {FEWEST} customers"})
            continue
        card: Card = {"id": segment, "name": titles[k], "size": None if secret[k] else size}
        figures = (share.value, share.low, share.high)
        card |= {"share": None if secret[k] else [round(float(x[k]), 4) for x in figures]}
        card |= {"rule_name": made[k].text, "named_by": [_told(fact, labels) for fact in made[k].facts]}
        card |= {"apart": [_told(fact, labels) for fact in strongest(found[k], labels)]}
        card |= {"holdings": [_told(fact, labels) for fact in found[k] if _is_holding(fact)][:HELD]}
        card |= told[k] | done[k] | {"preferred": preferred[k], "ranked": sums.ranked}
        card["suggestions"] = suggestions(card, labels)
        listed.append(card)
    moves = sums.transitions.table() if sums.transitions.counts.any() or sums.transitions.new.any() else None
    return {
        "segments": listed,
        "transitions": moves,
        "profile": profile(found, labels),
        "tests": _tests(found),
        "left_out": [*(absent if sums.definition.dated else ()), *_absent(sums, moves is not None)],
    }


def strongest(listed: Sequence[Fact], labels: Labels, most: int = STRONGEST) -> list[Fact]:
    """The strongest facts that are beyond chance; of several windows of one measure the strongest window."""
    chosen: dict[tuple[str, str, str | None], Fact] = {}
    for fact in listed:
        key = (fact.kind, labels.label(fact.feature).family, fact.value)
        if fact.declared and abs(fact.effect) >= WORTH_TELLING and key not in chosen:
            chosen[key] = fact
    return list(chosen.values())[:most]


def profile(found: Sequence[Sequence[Fact]], labels: Labels) -> Card:
    """The features with the greatest differences anywhere: `effects` in each segment, None where hidden or untested.

    Of several windows of one measure the one with the greatest difference.
    """
    effects: dict[tuple[str, str, str | None], dict[int, float]] = {}
    families: dict[tuple[str, str, str | None], tuple[float, tuple[str, str, str | None]]] = {}
    texts: dict[tuple[str, str, str | None], str] = {}
    for k, listed in enumerate(found):
        for fact in listed:
            if fact.kind == "known":
                continue
            key = fact.kind, fact.feature, fact.value
            effects.setdefault(key, {})[k] = fact.effect
            family = fact.kind, labels.label(fact.feature).family, fact.value
            if abs(fact.effect) > families.get(family, (0.0, key))[0]:
                families[family] = abs(fact.effect), key
            texts[key] = feature_text(fact, labels)
    order = [key for _, key in sorted(families.values(), key=lambda one: (-one[0], str(one[1])))[:PROFILED]]
    return {
        "features": [texts[key] for key in order],
        "effects": [[rounded(effects[key].get(k)) for key in order] for k in range(len(found))],
    }


def _is_holding(fact: Fact) -> bool:
    return fact.kind == "set" and fact.feature == "holdings"


def _told(fact: Fact, labels: Labels) -> Card:
    """A fact as JSON, with its words."""
    numbers = ("inside", "overall", "effect", "effect_low", "effect_high", "ratio", "ratio_low", "ratio_high")
    figures = {name: rounded(getattr(fact, name)) for name in (*numbers, "nonzero", "nonzero_overall", "p", "q")}
    return {
        "kind": fact.kind,
        "feature": fact.feature,
        "value": fact.value,
        "label": feature_text(fact, labels),
        "phrase": phrase(fact, labels),
        "text": sentence(fact, labels),
        "declared": fact.declared,
        **figures,
    }


def _tests(found: Sequence[Sequence[Fact]]) -> Card:
    """How many differences were tested, and how many are beyond chance."""
    every = [fact for listed in found for fact in listed]
    return {"tested": len(every), "declared": sum(fact.declared for fact in every), "level": 0.05}


def _absent(sums: CardSums, moved: bool) -> list[str]:
    found = []
    if not sums.definition.dated:
        found.append("everything about time: the lake has no dated events")
    if not any(a.role in ("label", "outcome") for a in sums.told):
        found.append("observed value and churn: no customer attribute has the role label or outcome")
    if not any(a.role == "protected" for a in sums.told):
        found.append("fairness: no customer attribute has the role protected, or all of them are inputs")
    if not sums.products:
        found.append("recommended products: the bundle has no recommender")
    if not moved:
        found.append("transitions: there is no earlier snapshot")
    return found
