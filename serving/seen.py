"""What a bundle sees in customers on a day, from one pass of features: vectors, segment, chance to leave, survival."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import cached_property, partial
from typing import Any

import numpy as np
import polars as pl

from recsys.bundle import Adoption, Bundle, Churn, CustomerEmbedding, Recommender, Segmentation, Survival
from recsys.bundle.segment_of import SegmentOf
from recsys.churn.standing import standing
from recsys.features.definition import FeatureDefinition
from recsys.features.encoded import EncodedRows
from recsys.features.examples import scoring_examples
from recsys.features.features import features, row_schema
from recsys.rules import Eligibility
from serving.metrics import stage
from serving.store.store import Stored

VECTOR = np.dtype("<f4")


class Seen:
    """A customer as a bundle sees them: what its parts say, and the feature row that they said it of."""

    eligibility: Eligibility | None = None
    """What rules leave of the products, once that was asked."""
    allowed: np.ndarray | None = None
    """bool [1, P]: what may be recommended before rules and where a question names no products, once that was asked."""
    chances: tuple[str, np.ndarray] | None = None
    """float32 [1, P, H]: when the products of a campaign plan are acquired, beside the version of its prices, once that
    was asked."""
    valued: tuple[str, Any] | None = None
    """What the actions of a campaign plan are worth, beside the version of its prices, once that was asked."""
    decided: tuple[str, Eligibility | None, dict[str, Any]] | None = None
    """What was decided by the published prices of that version, as far as those rules leave products."""

    def __init__(
        self,
        facts: "Facts",
        vectors: np.ndarray | None,
        adoption: np.ndarray | None,
        rows: "Rows",
        tables: "Tables",
    ) -> None:
        """`vectors` and `adoption` are float32 [1, D].

        `rows` gives the one feature row, and `tables` the rows in the lake's tables, when they are asked for.
        """
        self.facts, self.tables = facts, tables
        self.vectors, self.adoption = vectors, adoption
        self._rows = rows

    @cached_property
    def rows(self) -> pl.DataFrame:
        """The feature row."""
        return self._rows()

    @cached_property
    def held(self) -> pl.DataFrame:
        """The columns of the feature row that say who it is and what they hold, which is all that a ranking reads."""
        holdings = pl.Series("holdings", [list(self.facts.holdings)], dtype=pl.List(pl.String))
        return pl.DataFrame([pl.Series("customer_id", [self.facts.customer_id]), holdings])


READ = frozenset({"contacts", "consents"})
"""The tables of which something is worked out that is kept with a customer's rows."""


class CustomerRows(dict[str, pl.DataFrame]):
    """A customer's rows by table, with those of the bank, as long as they are kept.

    What is worked out of some of them is kept beside them, for it holds while these are the same, and is forgotten
    when they are.
    """

    def __init__(self, tables: Mapping[str, pl.DataFrame], worked_out: dict[str, Any] | None = None) -> None:
        super().__init__(tables)
        self.worked_out = {} if worked_out is None else worked_out


Rows = Callable[[], pl.DataFrame]
Tables = Callable[[], Mapping[str, pl.DataFrame]]


@dataclass(frozen=True)
class Facts:
    """What is said of a customer in words and numbers."""

    customer_id: str
    standing: str
    """Of `recsys.churn.standing`; where the bundle does not say who will leave, always `customer`."""
    joined: date | None
    holdings: tuple[str, ...]
    segment: SegmentOf | None
    leaving: Mapping[str, Any] | None
    """`probability`, `tier`, `act`; None for who is no customer, or from a bundle that does not say it."""
    survival: tuple[float, ...] | None
    """By horizon; None likewise."""


class Sight:
    """The parts of a bundle that look at a customer. Raises what they raise where files do not fit each other."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self.bundle = bundle
        self.recommender = Recommender.of(bundle, threads)
        self.adoption = Adoption.of(bundle, threads)
        self.segmentation = Segmentation.of(bundle, threads)
        self.leaving = Churn.of(bundle, threads)
        self.survival = Survival.of(bundle, threads)
        self._embedding = (
            CustomerEmbedding.of(bundle, threads) if self.recommender is None and self.segmentation is None else None
        )

    def see(self, tables: Mapping[str, pl.DataFrame], ids: Sequence[str], day: date | None) -> list[Seen]:
        """Each customer of the ids, with everything that the bundle says; equal to the batch's answers to the last bit.

        Raises DataError if a row gives no finite vector or chance.
        """
        if not ids:
            return []
        with stage("features"):
            rows = features(tables, scoring_examples(ids, day), self.bundle.definition)
            who = {customer_id: (said, joined) for customer_id, said, joined in self._standing(tables, ids, day)}
        with stage("network"):
            return self._seen(rows, who, ids, tables)

    def _seen(
        self,
        rows: pl.DataFrame,
        who: Mapping[str, tuple[str, date | None]],
        ids: Sequence[str],
        tables: Mapping[str, pl.DataFrame],
    ) -> list[Seen]:
        encoded = EncodedRows(rows, self.bundle.encoder)
        vectors = self.recommender.vectors_from_rows(encoded) if self.recommender else None
        adoption = self.adoption.vectors_from_rows(encoded) if self.adoption else None
        segments, embedded = self._segments(encoded)
        vectors = embedded if vectors is None else vectors
        leaving = self._leaving(encoded, [who[customer_id][0] == "customer" for customer_id in ids])
        found = []
        for place, (customer_id, holdings) in enumerate(zip(ids, rows["holdings"].to_list(), strict=True)):
            chance, survival = leaving.get(customer_id, (None, None))
            segment = segments[place] if segments else None
            facts = Facts(customer_id, *who[customer_id], tuple(holdings), segment, chance, survival)
            here = slice(place, place + 1)
            vector, chances = (None if array is None else array[here] for array in (vectors, adoption))
            found.append(Seen(facts, vector, chances, partial(rows.__getitem__, here), lambda: tables))
        return found

    def _standing(self, tables: Mapping[str, pl.DataFrame], ids: Sequence[str], day: date | None) -> Any:
        if self.leaving is None:
            return [(customer_id, "customer", None) for customer_id in ids]
        return standing(tables, day, self.leaving.about.rule).iter_rows()

    def _segments(self, rows: EncodedRows) -> tuple[list[SegmentOf], np.ndarray | None]:
        """The segment of each row, where the bundle has them; and the embedding that customers are compared by."""
        if self.segmentation is None:
            return [], self._embedding.embed(rows).vectors if self._embedding else None
        embedded = self.segmentation.embed(rows)
        index, distance = self.segmentation.assign(self.segmentation.places(embedded))
        flagged, told = self.segmentation.embedding.unusual(embedded.errors)
        entries = self.segmentation.segments
        segments = [
            SegmentOf(
                entries[i].id, entries[i].name, float(distance[row, i]), tuple(told[row]) if flagged[row] else None
            )
            for row, i in enumerate(index.tolist())
        ]
        return segments, embedded.vectors

    def _leaving(
        self, rows: EncodedRows, here: list[bool]
    ) -> dict[str, tuple[dict[str, Any] | None, tuple[float, ...] | None]]:
        """By customer what churn and survival say of those who are customers."""
        if self.leaving is None or not any(here):
            return {}
        asked = rows if all(here) else EncodedRows(rows.rows.filter(here), rows.encoder)
        survival = self.survival.survival(asked).tolist() if self.survival else [None] * asked.height
        found: dict[str, tuple[dict[str, Any] | None, tuple[float, ...] | None]] = {}
        for (customer_id, chance, tier, act), later in zip(
            self.leaving.scored(asked).iter_rows(), survival, strict=True
        ):
            told = {"probability": chance, "tier": tier, "act": act}
            found[customer_id] = (told, None if later is None else tuple(later))
        return found


def stored(seen: Seen) -> Stored:
    """The form in which the store holds it; `seen_from` gives it back to the last bit."""
    facts = asdict(seen.facts) | {"joined": seen.facts.joined.isoformat() if seen.facts.joined else None}
    row = [value.to_list() if isinstance(value, pl.Series) else value for value in seen.rows.row(0)]
    return Stored(json.dumps(facts), _bytes(seen.vectors), _bytes(seen.adoption), json.dumps(row))


def seen_from(found: Stored, definition: FeatureDefinition, tables: Tables) -> Seen:
    """What `stored` wrote."""
    told = json.loads(found.facts)
    segment = told["segment"]
    if segment is not None:
        segment = SegmentOf(**segment | {"unusual": None if segment["unusual"] is None else tuple(segment["unusual"])})
    facts = Facts(
        told["customer_id"],
        told["standing"],
        date.fromisoformat(told["joined"]) if told["joined"] else None,
        tuple(told["holdings"]),
        segment,
        told["leaving"],
        None if told["survival"] is None else tuple(told["survival"]),
    )
    row = found.feature_row
    return Seen(facts, _array(found.vector), _array(found.adoption), lambda: _feature_row(row, definition), tables)


def _feature_row(text: str, definition: FeatureDefinition) -> pl.DataFrame:
    pairs = zip(row_schema(definition).items(), json.loads(text), strict=True)
    return pl.DataFrame([pl.Series(name, [value], dtype=dtype) for (name, dtype), value in pairs])


def _bytes(vector: np.ndarray | None) -> bytes | None:
    return None if vector is None else vector.astype(VECTOR).tobytes()


def _array(vector: bytes | None) -> np.ndarray | None:
    return None if vector is None else np.frombuffer(vector, dtype=VECTOR).reshape(1, -1).copy()
