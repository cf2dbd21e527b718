"""The uplift part of a bundle: how likely the outcome is without contact, and what contact by an action adds."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from recsys.bundle.bundle import Bundle
from recsys.bundle.checks import Check
from recsys.bundle.embedding import CustomerEmbedding
from recsys.bundle.graph import Graph, Port
from recsys.bundle.manifest import canonical_json
from recsys.bundle.towers import customer_ports
from recsys.errors import BundleError, DataError
from recsys.features.encoded import EncodedRows, Rows
from recsys.features.encoder import FIRST, UNKNOWN, Encoder
from recsys.features.features import features
from recsys.uplift.actions import SCHEMA, ActionColumns

PART = "uplift"
GRAPH = "uplift/uplift.onnx"
ABOUT = "uplift/about.json"
EXPECTED = "uplift/expected.json"
OUTPUTS = ("baseline", "effect", "se")


class Counted(BaseModel):
    """How many units training had."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    contacted: int = Field(ge=1)
    contacted_with_outcome: int = Field(ge=0)
    control: int = Field(ge=1)
    control_with_outcome: int = Field(ge=0)


class TrialAbout(BaseModel):
    """A campaign that was learned from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    campaign: str
    actions: tuple[tuple[str | None, str | None, str | None], ...]
    first: str | None
    last: str | None


class About(BaseModel):
    """What was learned from what, how the learner was chosen, and how far its effects are spread; aggregates only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: str
    treatment: str | None
    """The attribute that chance drew, None where contacts say who was contacted."""
    control: str | None
    arrays: tuple[str, ...]
    """The customer arrays that the graph reads."""
    looks: bool
    """Whether it reads how often the customer looked at the product."""
    embedding: int = Field(ge=0)
    """Dimensions of the customer embedding that it reads, 0 for none."""
    actions: ActionColumns
    learner: str
    trees: int = Field(ge=1)
    bags: int = Field(ge=2)
    effect: tuple[float, float]
    """Mean effect over the training's pairs of a customer and an action, and its standard error."""
    slope: tuple[float, float]
    """How far predicted effects are spread about it, and its standard error; 1 as learned, 0 the same for all."""
    units: Counted
    trials: tuple[TrialAbout, ...]
    test_from: str | None
    """Training saw no campaign from this day on; None where it saw no contact of customers drawn by a hash."""
    left_out: dict[str, str]
    """Campaign → why nothing was learned from it."""
    models: dict[str, Any]
    """What was compared, on customers that each model had not seen."""


class Uplift:
    """Expected effects through ONNX Runtime alone; equal customers get equal bits in any batch.

    Raises BundleError naming the file if graph, description and encoder do not fit each other.
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self.bundle = bundle
        self.definition, self.encoder = bundle.definition, bundle.encoder
        self.about = bundle.parsed(ABOUT, About)
        self._embedding = CustomerEmbedding.of(bundle, threads) if self.about.embedding else None
        if self.about.embedding and self._embedding is None:
            raise BundleError(f"{bundle.path / ABOUT}: reads the customer embedding, and the bundle has none")
        ports = uplift_ports(self.encoder, self.about)
        self._graph = Graph(bundle.read(GRAPH), str(bundle.path / GRAPH), *ports, threads=threads)
        self._places = {product: i + FIRST for i, product in enumerate(self.encoder.products)}

    @classmethod
    def of(cls, bundle: Bundle, threads: int = 1) -> "Uplift | None":
        """The part, None for a bundle without it."""
        return cls(bundle, threads) if PART in bundle.contents.parts else None

    @property
    def trained_actions(self) -> pl.DataFrame:
        """The actions that some campaign of the training took, in order: product_id, channel, level."""
        seen = sorted({action for trial in self.about.trials for action in trial.actions}, key=_order)
        return pl.DataFrame(seen, schema=SCHEMA, orient="row")

    def expected(self, rows: Rows, actions: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Feature rows [N] and actions [A] (product_id, channel, level) → baseline, effect and its standard error,
        float32 [N, A] each.

        Baseline is P(outcome) without contact, effect what the contact adds to it, negative where it harms. Raises
        DataError for an action of which nothing was learned, or a row that gives no finite answer.
        """
        vectors = self.about.actions.vectors(actions)
        encoded = EncodedRows.of(rows, self.encoder)
        found = np.empty((len(OUTPUTS), encoded.height, actions.height), dtype=np.float32)
        for some, arrays in encoded.batches():
            inputs = {name: arrays[name] for name in self.about.arrays}
            if self._embedding is not None:
                inputs["embedding"] = self._embedding.run(arrays)[0]
            for column, product in enumerate(actions["product_id"]):
                inputs["action"] = vectors[column : column + 1]
                if self.about.looks:
                    inputs["product"] = np.array([self._places.get(product, UNKNOWN)], dtype=np.int32)
                found[:, some, column] = self._graph.run(inputs)
        broken = np.flatnonzero(~np.isfinite(found).all(axis=(0, 2)))
        if len(broken):
            raise DataError(
                f"customers: {len(broken):,} of {encoded.height:,} have values that give no finite effect "
                f"(first: {encoded.rows['customer_id'][int(broken[0])]})"
            )
        return found[0], found[1], found[2]


def uplift_of(bundle: Bundle, threads: int = 1) -> Uplift:
    """The bundle's uplift part; BundleError if it has none."""
    found = Uplift.of(bundle, threads)
    if found is None:
        raise BundleError(f"{bundle.path}: does not say what a contact adds; train it with a section uplift")
    return found


def uplift_part(*, graph: bytes, about: About, actions: pl.DataFrame, answers: np.ndarray) -> dict[str, bytes]:
    """The files of the part; `answers` [3, N, A] are the trained model's for the invented customers of `parity`."""
    expected = {"actions": [list(row) for row in actions.select(list(SCHEMA)).iter_rows()]}
    told = {name: values.astype(np.float64).tolist() for name, values in zip(OUTPUTS, answers, strict=True)}
    return {
        GRAPH: graph,
        ABOUT: canonical_json(about.model_dump(mode="json")),
        EXPECTED: canonical_json(expected | told),
    }


def uplift_ports(encoder: Encoder, about: About) -> tuple[dict[str, Port], dict[str, Port]]:
    """Inputs and outputs of the graph. Raises BundleError if it reads what the encoder does not give."""
    given = customer_ports(encoder)
    if unknown := sorted(set(about.arrays) - set(given)):
        raise BundleError(f"{ABOUT}: reads {', '.join(unknown)}; the encoder gives {', '.join(sorted(given))}")
    inputs = {name: given[name] for name in about.arrays}
    inputs["action"] = Port("float32", (1, about.actions.width), rows=False)
    if about.looks:
        inputs["product"] = Port("int32", (1,), rows=False)
    if about.embedding:
        inputs["embedding"] = Port("float32", (None, about.embedding))
    return inputs, dict.fromkeys(OUTPUTS, Port("float32", (None,)))


def uplift_graphs(bundle: Bundle) -> str:
    """Names, dtypes and shapes of the graph; what was found."""
    about = Uplift(bundle).about
    mean, error = about.effect
    told = f"{about.learner}-learner of {about.trees} trees, {len(about.trials)} trials"
    return f"{told}; effect {mean:+.4f} (± {error:.4f}), spread {about.slope[0]:.2f} of what was learned"


def uplift_replay(
    bundle: Bundle,
    tables: Mapping[str, pl.DataFrame],
    examples: pl.DataFrame,
    batches: Sequence[int],
    tolerance: float,
) -> Iterator[Check]:
    """The invented customers' answers for a few actions at each batch size against the stored, and each other."""
    expected = bundle.json(EXPECTED)
    wanted = np.array([expected[name] for name in OUTPUTS], dtype=np.float64)
    actions = pl.DataFrame(expected["actions"], schema=SCHEMA, orient="row")
    uplift = Uplift(bundle)
    rows = features(tables, examples, bundle.definition)
    answers = [_answer(uplift, rows, actions, batch) for batch in batches]
    for batch, found in zip(batches, answers, strict=True):
        fits = found.shape == wanted.shape
        gaps = [float(np.abs(a - b).max(initial=0)) for a, b in zip(found, wanted, strict=True)] if fits else [np.inf]
        detail = (
            f"{rows.height} customers × {actions.height} actions: baseline, effect and error differ by {max(gaps):.1e}"
        )
        yield Check(f"uplift parity at batch {batch}", max(gaps) <= tolerance, detail)
    same = all(np.array_equal(answers[0], other) for other in answers)
    sizes = ", ".join(map(str, batches))
    yield Check("uplift equal bits", same, f"{'the same' if same else 'different'} effects at batch {sizes}")
    treated = answers[0][0] + answers[0][1]
    within = bool((treated >= -tolerance).all() and (treated <= 1 + tolerance).all() and (answers[0][2] >= 0).all())
    yield Check("uplift probabilities", within, "within 0 to 1" if within else "beyond 0 or 1")


def _order(action: tuple[str | None, ...]) -> tuple[str, ...]:
    return tuple(one or "" for one in action)


def _answer(uplift: Uplift, rows: pl.DataFrame, actions: pl.DataFrame, batch: int) -> np.ndarray:
    """float32 [3, N, A] in batches of this size, the rows repeated to fill one that is larger."""
    filled = pl.concat([rows] * -(-batch // rows.height)) if batch > rows.height else rows
    found = [np.stack(uplift.expected(part, actions)) for part in filled.iter_slices(batch)]
    return np.concatenate(found, axis=1)[:, : rows.height]
