"""The churn part of a bundle: how likely a customer is to leave, calibrated, and in which tier that puts them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from recsys.bundle.bundle import Bundle
from recsys.bundle.checks import Check
from recsys.bundle.graph import Graph, Port
from recsys.bundle.manifest import canonical_json
from recsys.bundle.survival import Survival, survival_replay
from recsys.bundle.towers import customer_ports
from recsys.churn.config import LeavingRule
from recsys.churn.decision import Threshold, Tier, tier_of
from recsys.errors import BundleError, DataError
from recsys.features.encoded import EncodedRows, Rows
from recsys.features.encoder import Encoder
from recsys.features.features import features

PART = "churn"
GRAPH = "churn/churn.onnx"
ABOUT = "churn/about.json"
EXPECTED = "churn/expected.json"
OUTPUTS = ("log_odds", "probability")


class Counted(BaseModel):
    """How many examples a part had, and how many of them left."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    examples: int = Field(ge=1)
    left: int = Field(ge=0)


class About(BaseModel):
    """What was learned from what, how it was chosen, and how it decides; aggregates only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    arrays: tuple[str, ...]
    """The customer arrays that the graph reads."""
    label: str | None
    """The column that said who left, None where a rule did."""
    positive: str | None
    """Its value that meant left."""
    rule: LeavingRule | None
    horizon_months: int | None
    """Leaving counted within so many months; None for a label."""
    days: dict[str, tuple[str, ...]]
    """Part → the days from which its customers were seen; empty for a lake without dates."""
    parts: dict[str, Counted]
    """Training and validation; the test is left to `recsys churn report`."""
    base_rate: float = Field(gt=0, lt=1)
    """Share of the training examples that left."""
    threshold: Threshold
    tiers: tuple[Tier, ...]
    """From the most likely down; all others are `low`."""
    models: dict[str, Any]
    """What was tried, how it did on validation, what was chosen, and the knots of the calibration."""
    known_afterwards: tuple[str, ...]
    """Attributes with the role outcome, which are known only afterwards: never read."""
    trusted: tuple[str, ...]
    """Attributes that tell the outcome alone and are read all the same, because the configuration says so."""


def leaving_rule(bundle: Bundle) -> LeavingRule | None:
    """By which the bundle's training knew who had left; None without churn, or where a label told it."""
    return bundle.parsed(ABOUT, About).rule if PART in bundle.contents.parts else None


class Churn:
    """P(leaving) through ONNX Runtime alone; equal customers get equal bits in any batch.

    Raises BundleError naming the file if graph, description and encoder do not fit each other.
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self.bundle = bundle
        self.definition, self.encoder = bundle.definition, bundle.encoder
        self.about = bundle.parsed(ABOUT, About)
        bounds = [tier.probability for tier in self.about.tiers]
        if bounds != sorted(bounds, reverse=True):
            raise BundleError(f"{bundle.path / ABOUT}: tiers do not go down")
        ports = churn_ports(self.encoder, self.about.arrays)
        self._graph = Graph(bundle.read(GRAPH), str(bundle.path / GRAPH), *ports, threads=threads)

    @classmethod
    def of(cls, bundle: Bundle, threads: int = 1) -> "Churn | None":
        """The part, None for a bundle without it."""
        return cls(bundle, threads) if PART in bundle.contents.parts else None

    def run(self, arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """One batch of the encoder's customer arrays → log-odds before calibration, probability, float32 [N] each."""
        log_odds, probability = self._graph.run({name: arrays[name] for name in self.about.arrays})
        return log_odds, probability

    def log_odds(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Feature rows → log-odds and probability, float32 [N] each. DataError if a row gives no finite answer."""
        encoded = EncodedRows.of(rows, self.encoder)
        found = np.empty((2, encoded.height), dtype=np.float32)
        for some, arrays in encoded.batches():
            found[:, some] = self.run(arrays)
        broken = np.flatnonzero(~np.isfinite(found).all(axis=0))
        if len(broken):
            raise DataError(
                f"customers: {len(broken):,} of {encoded.height:,} have values that give no finite probability of "
                f"leaving (first: {encoded.rows['customer_id'][int(broken[0])]})"
            )
        return found[0], found[1]

    def scored(self, rows: Rows) -> pl.DataFrame:
        """Feature rows → `customer_id, probability` (float32), `tier`, `act` (at or above the threshold)."""
        encoded = EncodedRows.of(rows, self.encoder)
        _, probability = self.log_odds(encoded)
        return pl.DataFrame(
            {
                "customer_id": encoded.rows["customer_id"],
                "probability": probability,
                "tier": tier_of(probability, self.about.tiers),
                "act": probability.astype(np.float64) >= self.about.threshold.probability,
            }
        )


def churn_of(bundle: Bundle, threads: int = 1) -> Churn:
    """The bundle's churn part; BundleError if it has none."""
    found = Churn.of(bundle, threads)
    if found is None:
        raise BundleError(f"{bundle.path}: does not say who will leave; train it with a section churn")
    return found


def churn_part(*, graph: bytes, about: About, log_odds: np.ndarray, probability: np.ndarray) -> dict[str, bytes]:
    """The files of the part; the arrays [N] are the trained model's answers for the invented customers of `parity`."""
    expected = {
        "log_odds": log_odds.astype(np.float64).tolist(),
        "probability": probability.astype(np.float64).tolist(),
    }
    return {
        GRAPH: graph,
        ABOUT: canonical_json(about.model_dump(mode="json")),
        EXPECTED: canonical_json(expected),
    }


def churn_ports(encoder: Encoder, arrays: Sequence[str]) -> tuple[dict[str, Port], dict[str, Port]]:
    """Inputs and outputs of the graph. Raises BundleError if it reads what the encoder does not give."""
    given = customer_ports(encoder)
    if unknown := sorted(set(arrays) - set(given)):
        raise BundleError(f"{ABOUT}: reads {', '.join(unknown)}; the encoder gives {', '.join(sorted(given))}")
    return {name: given[name] for name in arrays}, dict.fromkeys(OUTPUTS, Port("float32", (None,)))


def churn_graphs(bundle: Bundle) -> str:
    """Names, dtypes and shapes of the graphs, tiers and threshold; what was found."""
    about = Churn(bundle).about
    said = f"label {about.label}" if about.label else f"a rule, within {about.horizon_months} months"
    tiers = ", ".join(f"{tier.name} from {tier.probability:.3f}" for tier in about.tiers)
    survival = Survival.of(bundle)
    months = f"; survival at {', '.join(map(str, survival.about.horizons_months))} months" if survival else ""
    return f"by {said}; threshold {about.threshold.probability:.3f} by {about.threshold.by}; {tiers}{months}"


def churn_replay(
    bundle: Bundle,
    tables: Mapping[str, pl.DataFrame],
    examples: pl.DataFrame,
    batches: Sequence[int],
    tolerance: float,
) -> Iterator[Check]:
    """The invented customers' log-odds and probabilities at each batch size against the stored, and each other."""
    expected = bundle.json(EXPECTED)
    wanted = np.array([expected[name] for name in OUTPUTS], dtype=np.float64)
    churn = Churn(bundle)
    rows = features(tables, examples, bundle.definition)
    answers = [_answer(churn, rows, batch) for batch in batches]
    for batch, found in zip(batches, answers, strict=True):
        fits = found.shape == wanted.shape
        scale = max(1.0, float(np.abs(wanted[0]).max(initial=0))) if fits else 1.0
        gap = float(np.abs(found[0] - wanted[0]).max(initial=0)) / scale if fits else np.inf
        difference = float(np.abs(found[1] - wanted[1]).max(initial=0)) if fits else np.inf
        detail = f"{rows.height} customers: log-odds differ by {gap:.1e}, probabilities by {difference:.1e}"
        yield Check(f"churn parity at batch {batch}", gap <= tolerance and difference <= tolerance, detail)
    same = all(np.array_equal(answers[0], other) for other in answers)
    sizes = ", ".join(map(str, batches))
    yield Check("churn equal bits", same, f"{'the same' if same else 'different'} probabilities at batch {sizes}")
    within = bool((answers[0][1] >= 0).all() and (answers[0][1] <= 1).all())
    yield Check("churn probabilities", within, "within 0 to 1" if within else "beyond 0 or 1")
    yield from survival_replay(bundle, tables, examples, batches, tolerance)


def _answer(churn: Churn, rows: pl.DataFrame, batch: int) -> np.ndarray:
    """float32 [2, N] in batches of this size, the rows repeated to fill one that is larger."""
    filled = pl.concat([rows] * -(-batch // rows.height)) if batch > rows.height else rows
    return np.concatenate([np.stack(churn.log_odds(part)) for part in filled.iter_slices(batch)], axis=1)[
        :, : rows.height
    ]
