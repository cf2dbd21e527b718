"""The segments part of a bundle: each customer to the nearest prototype, and what was known when they were found."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from recsys.bundle.bundle import Bundle
from recsys.bundle.checks import Check
from recsys.bundle.embedding import CustomerEmbedding, Embedded
from recsys.bundle.graph import Graph, Port
from recsys.bundle.manifest import canonical_json
from recsys.errors import BundleError
from recsys.features.encoded import Rows
from recsys.features.features import features
from recsys.segment_profile import SegmentsProfile

PART = "segments"
GRAPH = "segments/assign.onnx"
TABLE = "segments/segments.json"
EXPECTED = "segments/expected.json"
BATCH = 4096
"""Most rows in one run of the graph."""


class SegmentEntry(BaseModel):
    """One segment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^S[1-9][0-9]*$")
    """Stays with the segment as long as refits find it again, and is never used for another."""
    name: str
    """Made by rule from what sets it apart."""
    named_by: tuple[str, ...] = ()
    """The facts behind the name, in words."""
    share: float = Field(ge=0, le=1)
    """Of the customers it was found in."""


class SegmentTable(BaseModel):
    """What the segments are, how they were chosen, and what the customers looked like then; aggregates only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: Literal["embedding", "features"]
    """What the prototypes are points of."""
    algorithm: str
    setting: float
    """What the algorithm was asked for: a number of segments, or what takes its place."""
    seed: int
    forced: bool
    """Nothing passed the rule that chooses."""
    refused: tuple[str, ...]
    """Why not, if so."""
    customers: int
    """How many they were found in."""
    next_id: int = Field(ge=1)
    """The number of the next new segment."""
    segments: tuple[SegmentEntry, ...] = Field(min_length=1)
    """In the order of the prototypes."""
    candidates: tuple[dict[str, Any], ...]
    """Every algorithm and setting that was tried, with its measures."""
    failed: dict[str, str]
    """Algorithms that could not be fitted, and why."""
    offsets: tuple[tuple[float, ...], ...]
    """Of each prototype from the mean of the customers nearest to it: a refit keeps them."""
    profile: SegmentsProfile
    """What the customers looked like then: what drift is told from."""
    changes: tuple[dict[str, Any], ...] = ()
    """What the refit that made them found: which segments were kept, are new, merged, split, vanished."""


class Segmentation:
    """Embeds customers and says which segment they are in; equal customers get equal bits in any batch.

    Raises BundleError naming the file if graphs and tables do not fit each other.
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self.bundle = bundle
        self.definition, self.encoder = bundle.definition, bundle.encoder
        self.embedding = CustomerEmbedding(bundle, threads)
        self.table = bundle.parsed(TABLE, SegmentTable)
        self.segments = self.table.segments
        ids = [segment.id for segment in self.segments]
        if len(set(ids)) != len(ids):
            raise BundleError(f"{bundle.path / TABLE}: an id names two segments")
        width = self.embedding.about.dimensions if self.table.space == "embedding" else self.embedding.about.scaled
        ports = assign_ports(width, len(self.segments))
        self._assign = Graph(bundle.read(GRAPH), str(bundle.path / GRAPH), *ports, threads=threads, repeatable=True)

    @classmethod
    def of(cls, bundle: Bundle, threads: int = 1) -> "Segmentation | None":
        """The part, None for a bundle without it."""
        return cls(bundle, threads) if PART in bundle.contents.parts else None

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the segments in the order of their index."""
        return tuple(segment.id for segment in self.segments)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the segments in the order of their index."""
        return tuple(segment.name for segment in self.segments)

    def embed(self, rows: Rows) -> Embedded:
        """Feature rows → vectors, scaled features, errors. Raises DataError if a row gives no finite vector."""
        return self.embedding.embed(rows)

    def places(self, embedded: Embedded) -> np.ndarray:
        """float32 [N, D]: the points that are compared with the prototypes."""
        return embedded.vectors if self.table.space == "embedding" else embedded.features

    def assign(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points [N, D] → index of the segment int64 [N], and the distance to each prototype float32 [N, K]."""
        if len(places) == 1:
            one, away = self._assign.run({"place": places})
            return one, away
        index = np.empty(len(places), dtype=np.int64)
        distance = np.empty((len(places), len(self.segments)), dtype=np.float32)
        for start in range(0, len(places), BATCH):
            some = slice(start, start + BATCH)
            index[some], distance[some] = self._assign.run({"place": places[some]})
        return index, distance

    def assigned(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Feature rows → `customer_id, segment_id, segment, distance, unusual, unusual_features`."""
        embedded = self.embed(rows)
        index, distance = self.assign(self.places(embedded))
        flagged, told = self.embedding.unusual(embedded.errors)
        own = np.take_along_axis(distance, index[:, None], axis=1)[:, 0]
        place = pl.Series(index)
        return pl.DataFrame(
            {
                "customer_id": rows["customer_id"],
                "segment_id": pl.Series(self.ids).gather(place),
                "segment": pl.Series(self.names).gather(place),
                "distance": own,
                "unusual": flagged,
                "unusual_features": pl.Series(told, dtype=pl.List(pl.String)),
            }
        )


def segmentation_of(bundle: Bundle, threads: int = 1) -> Segmentation:
    """The bundle's segments; BundleError if it has none."""
    found = Segmentation.of(bundle, threads)
    if found is None:
        raise BundleError(f"{bundle.path}: has no segments; train it with the sections embedding and segments")
    return found


def segments_part(*, graph: bytes, table: SegmentTable, index: np.ndarray, distance: np.ndarray) -> dict[str, bytes]:
    """The files of the part; `index` [N] and `distance` [N, K] are worked out anew for the customers of `parity`."""
    expected = {"index": index.tolist(), "distance": distance.astype(np.float64).tolist()}
    return {
        GRAPH: graph,
        TABLE: canonical_json(table.model_dump(mode="json")),
        EXPECTED: canonical_json(expected),
    }


def assign_ports(width: int, segments: int) -> tuple[dict[str, Port], dict[str, Port]]:
    """Inputs and outputs of the graph."""
    outputs = {"segment": Port("int64", (None,)), "distance": Port("float32", (None, segments))}
    return {"place": Port("float32", (None, width))}, outputs


def segment_graphs(bundle: Bundle) -> str:
    """Names, dtypes and shapes of the graph, ids of the segments; what was found."""
    segmentation = Segmentation(bundle)
    return f"{len(segmentation.segments)} segments by {segmentation.table.algorithm}: {', '.join(segmentation.ids)}"


def segments_replay(
    bundle: Bundle,
    tables: Mapping[str, pl.DataFrame],
    examples: pl.DataFrame,
    batches: Sequence[int],
    tolerance: float,
) -> Iterator[Check]:
    """The invented customers' segments at each batch size against the stored ones, and against each other."""
    expected = bundle.json(EXPECTED)
    wanted = np.array(expected["distance"], dtype=np.float64)
    segmentation = Segmentation(bundle)
    rows = features(tables, examples, bundle.definition)
    answers = [_answer(segmentation, rows, batch) for batch in batches]
    scale = max(1.0, float(np.abs(wanted).max(initial=0)))
    for batch, (index, distance) in zip(batches, answers, strict=True):
        fits = distance.shape == wanted.shape
        gap = float(np.abs(distance - wanted).max(initial=0)) / scale if fits else np.inf
        own = np.take_along_axis(wanted, index[:, None], axis=1)[:, 0] if fits else np.zeros(0)
        wrong = int((own > wanted.min(axis=1) + tolerance * scale).sum()) if fits else len(index)
        detail = f"{len(index)} customers: distances differ by {gap:.1e}, {wrong} in another segment"
        yield Check(f"segments parity at batch {batch}", gap <= tolerance and not wrong, detail)
    same = all(np.array_equal(a, b) for other in answers for a, b in zip(answers[0], other, strict=True))
    sizes = ", ".join(map(str, batches))
    yield Check("segments equal bits", same, f"{'the same' if same else 'different'} segments at batch {sizes}")


def _answer(segmentation: Segmentation, rows: pl.DataFrame, batch: int) -> tuple[np.ndarray, np.ndarray]:
    filled = pl.concat([rows] * -(-batch // rows.height)) if batch > rows.height else rows
    found = [segmentation.assign(segmentation.places(segmentation.embed(part))) for part in filled.iter_slices(batch)]
    index, distance = (np.concatenate(values)[: rows.height] for values in zip(*found, strict=True))
    return index, distance
