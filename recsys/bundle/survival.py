"""Survival in the churn part of a bundle: how likely a customer is still there after each horizon."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from recsys.bundle.bundle import Bundle
from recsys.bundle.checks import Check
from recsys.bundle.graph import Graph, Port
from recsys.bundle.manifest import canonical_json
from recsys.bundle.towers import customer_ports
from recsys.errors import BundleError, DataError
from recsys.features.encoded import EncodedRows, Rows
from recsys.features.features import features

GRAPH = "churn/survival.onnx"
ABOUT = "churn/survival.json"
EXPECTED = "churn/survival_expected.json"


class AboutSurvival(BaseModel):
    """What was learned from what, and how it did on validation customers; aggregates only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    horizons_months: tuple[int, ...]
    """Calendar months, ascending."""
    arrays: tuple[str, ...]
    """The customer arrays that the graph reads."""
    examples: int = Field(ge=1)
    """Of training: customers × days."""
    left: int = Field(ge=1)
    """Those of them who left within the months that were learned from."""
    trees: int = Field(ge=1)
    observed: tuple[float, ...]
    """Kaplan-Meier's survival of the training examples after each horizon."""
    validation: dict[str, float]
    """Concordance and integrated Brier score on validation customers, and the latter for Kaplan-Meier."""


class Survival:
    """P(still a customer) through ONNX Runtime alone; equal customers get equal bits in any batch.

    Raises BundleError naming the file if graph, description and encoder do not fit each other.
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self.encoder = bundle.encoder
        self.about = bundle.parsed(ABOUT, AboutSurvival)
        self.columns = tuple(f"survival_{months}m" for months in self.about.horizons_months)
        """Names of the horizons as columns, shortest first."""
        given = customer_ports(self.encoder)
        if unknown := sorted(set(self.about.arrays) - set(given)):
            raise BundleError(f"{ABOUT}: reads {', '.join(unknown)}; the encoder gives {', '.join(sorted(given))}")
        inputs = {name: given[name] for name in self.about.arrays}
        outputs = {"survival": Port("float32", (None, len(self.columns)))}
        self._graph = Graph(bundle.read(GRAPH), str(bundle.path / GRAPH), inputs, outputs, threads=threads)

    @classmethod
    def of(cls, bundle: Bundle, threads: int = 1) -> "Survival | None":
        """The survival of a bundle, None for one without it."""
        return cls(bundle, threads) if GRAPH in bundle.contents.files else None

    def run(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """One batch of the encoder's customer arrays → float32 [N, H]."""
        return self._graph.run({name: arrays[name] for name in self.about.arrays})[0]

    def survival(self, rows: Rows) -> np.ndarray:
        """Feature rows → float32 [N, H]. Raises DataError if a row gives no finite answer."""
        encoded = EncodedRows.of(rows, self.encoder)
        found = np.empty((encoded.height, len(self.columns)), dtype=np.float32)
        for some, arrays in encoded.batches():
            found[some] = self.run(arrays)
        broken = np.flatnonzero(~np.isfinite(found).all(axis=1))
        if len(broken):
            raise DataError(
                f"customers: {len(broken):,} of {encoded.height:,} have values that give no finite survival "
                f"(first: {encoded.rows['customer_id'][int(broken[0])]})"
            )
        return found

    def beside(self, scored: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
        """`scored`, a row for each of the feature rows in their order, with `columns` at the end."""
        found = self.survival(rows)
        return scored.with_columns(pl.Series(name, found[:, h]) for h, name in enumerate(self.columns))


def survival_part(*, graph: bytes, about: AboutSurvival, survival: np.ndarray) -> dict[str, bytes]:
    """The files; `survival` [N, H] is the trained model's answer for the invented customers of `parity`."""
    return {
        GRAPH: graph,
        ABOUT: canonical_json(about.model_dump(mode="json")),
        EXPECTED: canonical_json({"survival": survival.astype(np.float64).tolist()}),
    }


def survival_replay(
    bundle: Bundle,
    tables: Mapping[str, pl.DataFrame],
    examples: pl.DataFrame,
    batches: Sequence[int],
    tolerance: float,
) -> Iterator[Check]:
    """The invented customers' survival at each batch size against the stored, and each other; none without it."""
    survival = Survival.of(bundle)
    if survival is None:
        return
    wanted = np.array(bundle.json(EXPECTED)["survival"], dtype=np.float64)
    rows = features(tables, examples, bundle.definition)
    answers = [_answer(survival, rows, batch) for batch in batches]
    for batch, found in zip(batches, answers, strict=True):
        gap = float(np.abs(found - wanted).max(initial=0)) if found.shape == wanted.shape else np.inf
        yield Check(
            f"survival parity at batch {batch}", gap <= tolerance, f"{len(found)} customers: differs by {gap:.1e}"
        )
    same = all(np.array_equal(answers[0], other) for other in answers)
    sizes = ", ".join(map(str, batches))
    yield Check("survival equal bits", same, f"{'the same' if same else 'different'} survival at batch {sizes}")
    falls = bool((np.diff(answers[0], axis=1) <= 0).all() and (answers[0] >= 0).all() and (answers[0] <= 1).all())
    yield Check("survival falls", falls, "within 0 to 1 and never rising" if falls else "beyond 0 to 1, or rising")


def _answer(survival: Survival, rows: pl.DataFrame, batch: int) -> np.ndarray:
    filled = pl.concat([rows] * -(-batch // rows.height)) if batch > rows.height else rows
    return np.concatenate([survival.survival(part) for part in filled.iter_slices(batch)])[: rows.height]
