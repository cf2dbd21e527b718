"""The embedding part of a bundle: customers as vectors, and what about them could not be found again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

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
from recsys.features.encoder import Encoder
from recsys.features.features import features

PART = "embedding"
GRAPH = "embedding/customer.onnx"
ABOUT = "embedding/about.json"
EXPECTED = "embedding/expected.json"
TOLD = 3
"""Features that are named of an unusual customer at most."""


class About(BaseModel):
    """What the graph reads and gives."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    arrays: tuple[str, ...]
    """The customer arrays that it reads."""
    features: tuple[str, ...]
    """What each column of `errors` is about."""
    autoencoder: int = Field(ge=1)
    """Dimensions from the autoencoder, the first of the embedding."""
    sequence: int = Field(ge=0)
    """Dimensions from the sequence encoder, after them."""
    ahead: int = Field(default=0, ge=0)
    """Dimensions of what the customer does next, the last."""
    scaled: int = Field(ge=1)
    """Columns of the scaled features."""
    unusual: float
    """Mean relative error from which a customer is called unusual."""

    @property
    def dimensions(self) -> int:
        return self.autoencoder + self.sequence + self.ahead

    @property
    def parts(self) -> dict[str, slice]:
        """Columns of the embedding by the part they come from, those that are there."""
        sizes = {"autoencoder": self.autoencoder, "sequence": self.sequence, "ahead": self.ahead}
        ends = dict(zip(sizes, accumulate(sizes.values()), strict=True))
        return {name: slice(ends[name] - size, ends[name]) for name, size in sizes.items() if size}


@dataclass(frozen=True)
class Embedded:
    """Customers through the graph, in the order of the rows asked about."""

    vectors: np.ndarray
    """float32 [N, E]."""
    features: np.ndarray
    """float32 [N, W] the scaled features."""
    errors: np.ndarray
    """float32 [N, F] reconstruction errors, 1 being what is usual of the feature."""


class CustomerEmbedding:
    """Embeds customers through ONNX Runtime alone; equal customers get equal bits in any batch.

    Raises BundleError naming the file if graph, description and encoder do not fit each other.
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self.encoder = bundle.encoder
        self.about = read_about(bundle)
        ports = embedding_ports(self.encoder, self.about)
        self._graph = Graph(bundle.read(GRAPH), str(bundle.path / GRAPH), *ports, threads=threads, repeatable=True)

    @classmethod
    def of(cls, bundle: Bundle, threads: int = 1) -> "CustomerEmbedding | None":
        """The part, None for a bundle without it."""
        return cls(bundle, threads) if PART in bundle.contents.parts else None

    def embed(self, rows: Rows) -> Embedded:
        """Feature rows → vectors, scaled features, errors. Raises DataError if a row gives no finite vector."""
        about, encoded = self.about, EncodedRows.of(rows, self.encoder)
        found = Embedded(
            np.empty((encoded.height, about.dimensions), dtype=np.float32),
            np.empty((encoded.height, about.scaled), dtype=np.float32),
            np.empty((encoded.height, len(about.features)), dtype=np.float32),
        )
        for some, arrays in encoded.batches():
            found.vectors[some], found.features[some], found.errors[some] = self.run(arrays)
        broken = np.flatnonzero(~np.isfinite(found.vectors).all(axis=1))
        if len(broken):
            raise DataError(
                f"customers: {len(broken):,} of {encoded.height:,} have values that give no finite embedding "
                f"(first: {encoded.rows['customer_id'][int(broken[0])]})"
            )
        return found

    def run(self, arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        """One batch of customer arrays → embedding, features, errors."""
        return self._graph.run({name: arrays[name] for name in self.about.arrays})

    def unusual(self, errors: np.ndarray) -> tuple[np.ndarray, list[list[str]]]:
        """bool [N] who is unusual, and of each of them the features that make them so, the worst first."""
        flagged = surprise(errors) >= self.about.unusual
        told: list[list[str]] = [[] for _ in range(len(errors))]
        for row in np.flatnonzero(flagged):
            worst = np.argsort(-errors[row], kind="stable")[:TOLD]
            told[row] = [self.about.features[i] for i in worst if errors[row, i] > 1]
        return flagged, told


def surprise(errors: np.ndarray) -> np.ndarray:
    """float32 [N] a customer's mean relative error over all features."""
    mean: np.ndarray = errors.mean(axis=1)
    return mean


def embedding_part(*, graph: bytes, about: About, vectors: np.ndarray, errors: np.ndarray) -> dict[str, bytes]:
    """The files of the part; `vectors` and `errors` are the trained model's for the invented customers of `parity`."""
    expected = {name: values.astype(np.float32).tolist() for name, values in (("vectors", vectors), ("errors", errors))}
    return {
        GRAPH: graph,
        ABOUT: canonical_json(about.model_dump(mode="json")),
        EXPECTED: canonical_json(expected),
    }


def read_about(bundle: Bundle) -> About:
    """The description of the graph."""
    return bundle.parsed(ABOUT, About)


def embedding_ports(encoder: Encoder, about: About) -> tuple[dict[str, Port], dict[str, Port]]:
    """Inputs and outputs of the graph. Raises BundleError if it reads what the encoder does not give."""
    given = customer_ports(encoder)
    if unknown := sorted(set(about.arrays) - set(given)):
        raise BundleError(f"{ABOUT}: reads {', '.join(unknown)}; the encoder gives {', '.join(sorted(given))}")
    outputs = {
        "customer_vector": Port("float32", (None, about.dimensions)),
        "scaled_features": Port("float32", (None, about.scaled)),
        "relative_errors": Port("float32", (None, len(about.features))),
    }
    return {name: given[name] for name in about.arrays}, outputs


def embedding_graphs(bundle: Bundle) -> str:
    """Names, dtypes and shapes of the graph; what was found."""
    about = CustomerEmbedding(bundle).about
    found = [f"{about.autoencoder} from features"]
    found += [f"{about.sequence} from histories"] if about.sequence else []
    found += [f"{about.ahead} of what comes next"] if about.ahead else []
    return f"{', '.join(found)}; errors of {len(about.features)} features"


def embedding_replay(
    bundle: Bundle,
    tables: Mapping[str, pl.DataFrame],
    examples: pl.DataFrame,
    batches: Sequence[int],
    tolerance: float,
) -> Iterator[Check]:
    """The invented customers' embedding and errors at each batch size against the stored, and against each other."""
    expected = bundle.json(EXPECTED)
    wanted = [np.array(expected[name], dtype=np.float64) for name in ("vectors", "errors")]
    embedding = CustomerEmbedding(bundle)
    rows = features(tables, examples, bundle.definition)
    answers = [_answer(embedding, rows, batch) for batch in batches]
    for batch, answer in zip(batches, answers, strict=True):
        found = (answer.vectors, answer.errors)
        fits = all(a.shape == b.shape for a, b in zip(found, wanted, strict=True))
        gaps = [_gap(a, b) for a, b in zip(found, wanted, strict=True)] if fits else [np.inf, np.inf]
        detail = f"{rows.height} customers: vectors differ by {gaps[0]:.1e}, errors by {gaps[1]:.1e}"
        yield Check(f"embedding parity at batch {batch}", max(gaps) <= tolerance, detail)
    first = answers[0]
    names = ("vectors", "features", "errors")
    same = all(np.array_equal(getattr(first, name), getattr(other, name)) for other in answers for name in names)
    sizes = ", ".join(map(str, batches))
    yield Check("embedding equal bits", same, f"{'the same' if same else 'different'} vectors at batch {sizes}")


def _answer(embedding: CustomerEmbedding, rows: pl.DataFrame, batch: int) -> Embedded:
    """The rows in batches of this size, repeated to fill one that is larger."""
    filled = pl.concat([rows] * -(-batch // rows.height)) if batch > rows.height else rows
    parts = [embedding.embed(part) for part in filled.iter_slices(batch)]
    n = rows.height
    return Embedded(
        *(np.concatenate([getattr(part, name) for part in parts])[:n] for name in ("vectors", "features", "errors"))
    )


def _gap(found: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference, relative to the largest expected magnitude where that is above 1."""
    return float(np.abs(found - wanted).max(initial=0)) / max(1.0, float(np.abs(wanted).max(initial=0)))
