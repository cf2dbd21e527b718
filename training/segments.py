"""Segments of the embedded customers: found, named, and written as a part of the bundle."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from onnx import TensorProto, helper, numpy_helper

from recsys.bundle import Graph
from recsys.bundle.segmentation import GRAPH, SegmentEntry, SegmentTable, assign_ports, segments_part
from recsys.cluster_choice import Clustering, find_segments
from recsys.clustering import SegmentsConfig
from recsys.features.definition import FeatureDefinition
from recsys.features.encoder import Encoder
from recsys.lake.store import Lake
from recsys.progress import Progress
from recsys.segment_cards.cards import CardSums, segment_names
from recsys.segment_cards.labels import Labels
from recsys.segment_cards.names import Name, sentence
from recsys.segment_profile import SegmentsProfile, SegmentsProfileState
from recsys.warm_start import offsets
from training.customers import Customers
from training.export import OPSET, serialise
from training.export_embedding import Embedded


def fit_segments(config: SegmentsConfig, embedded: Embedded, seed: int, progress: Progress) -> Clustering:
    """Segments of the customers of training, in the embedding and, beside it, in the scaled features."""
    spaces = {"embedding": embedded.vectors, "features": embedded.features}
    return find_segments(spaces, config, seed, progress)


def assign_graph(prototypes: np.ndarray) -> bytes:
    """place [N, D] → segment int64 [N], the nearest prototype, ties to the first; distance float32 [N, K].

    prototypes: float32 [K, D]. |x - p|² = |x|² - 2 x·p + |p|², every sum a matrix product.
    """
    count, width = prototypes.shape
    exact = prototypes.astype(np.float64)
    constants = {
        "twice": np.ascontiguousarray(-2 * prototypes.T).astype(np.float32),
        "squares": (exact**2).sum(axis=1).astype(np.float32),
        "ones": np.ones((width, count), dtype=np.float32),
        "zero": np.zeros(1, dtype=np.float32),
    }
    nodes = [
        helper.make_node("Gemm", ["place", "twice", "squares"], ["shifted"]),
        helper.make_node("Mul", ["place", "place"], ["squared"]),
        helper.make_node("Gemm", ["squared", "ones", "shifted"], ["total"]),
        helper.make_node("Max", ["total", "zero"], ["positive"]),
        helper.make_node("Sqrt", ["positive"], ["distance"]),
        helper.make_node("ArgMin", ["positive"], ["segment"], axis=1, keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info("place", TensorProto.FLOAT, ["batch", width])]
    outputs = [
        helper.make_tensor_value_info("segment", TensorProto.INT64, ["batch"]),
        helper.make_tensor_value_info("distance", TensorProto.FLOAT, ["batch", count]),
    ]
    initial = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "assign", inputs, outputs, initial)
    return serialise(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)]))


def assigned(graph: bytes, places: np.ndarray, segments: int) -> tuple[np.ndarray, np.ndarray]:
    """Index int64 [N] and distance float32 [N, K] as the graph that is served gives them."""
    session = Graph(graph, GRAPH, *assign_ports(places.shape[1], segments), threads=2)
    index, distance = session.run({"place": places})
    return index, distance


def named(
    lake: Lake,
    definition: FeatureDefinition,
    encoder: Encoder,
    customers: Customers,
    index: np.ndarray,
    ids: Sequence[str],
) -> tuple[list[Name], Labels]:
    """Names of the segments by rule, from the feature rows."""
    sums = CardSums(len(ids), definition, encoder, lake.attributes("customers"))
    start = 0
    for rows in customers.frames():
        sums.inputs.update(rows, index[start : start + rows.height])
        start += rows.height
    labels = Labels.of_lake(definition, lake)
    return segment_names(sums, labels, ids), labels


def profile_of(
    definition: FeatureDefinition,
    customers: Customers,
    ids: Sequence[str],
    index: np.ndarray,
    distance: np.ndarray,
    unusual: np.ndarray,
) -> SegmentsProfile:
    """What the customers look like, with their segments, as aggregates: index int64 [N], distance float32 [N, K]."""
    state = SegmentsProfileState(definition, ids)
    own = np.take_along_axis(distance, index[:, None], axis=1)[:, 0]
    assigned = pl.DataFrame(
        {"segment_id": pl.Series(list(ids)).gather(pl.Series(index)), "distance": own, "unusual": unusual}
    )
    start = 0
    for rows in customers.frames():
        state.update(rows, assigned.slice(start, rows.height))
        start += rows.height
    return state.finish()


def segment_table(
    clustering: Clustering,
    ids: Sequence[str],
    names: Sequence[str],
    named_by: Sequence[Sequence[str]],
    profile: SegmentsProfile,
    kept: np.ndarray,
    seed: int,
    next_id: int,
    changes: Sequence[Mapping[str, object]] = (),
) -> SegmentTable:
    """What the bundle keeps of a clustering; `kept` are the `offsets` of its prototypes."""
    shares = np.bincount(clustering.labels, minlength=len(ids)) / len(clustering.labels)
    return SegmentTable(
        space=clustering.chosen.space,
        algorithm=clustering.chosen.algorithm,
        setting=clustering.chosen.setting,
        seed=seed,
        forced=clustering.forced,
        refused=clustering.chosen.refused,
        customers=len(clustering.labels),
        next_id=next_id,
        segments=tuple(
            SegmentEntry(id=one, name=name, named_by=tuple(facts), share=round(float(share), 6))
            for one, name, facts, share in zip(ids, names, named_by, shares, strict=True)
        ),
        candidates=tuple(row.as_json() | {"seconds": 0.0} for row in clustering.candidates),
        failed=dict(clustering.failed),
        offsets=tuple(tuple(float(value) for value in row) for row in kept),
        profile=profile,
        changes=tuple(dict(change) for change in changes),
    )


def new_segments(
    lake: Lake,
    definition: FeatureDefinition,
    encoder: Encoder,
    customers: Customers,
    clustering: Clustering,
    places: np.ndarray,
    unusual: np.ndarray,
    seed: int,
) -> tuple[bytes, SegmentTable]:
    """Graph and table of segments without a predecessor: S1 is the largest. `unusual` is bool [N]."""
    graph = assign_graph(clustering.prototypes)
    index, distance = assigned(graph, places, len(clustering.prototypes))
    ids = [f"S{i + 1}" for i in range(len(clustering.prototypes))]
    names, labels = named(lake, definition, encoder, customers, index, ids)
    told = [[sentence(fact, labels) for fact in name.facts] for name in names]
    profile = profile_of(definition, customers, ids, index, distance, unusual)
    kept = offsets(places, clustering.prototypes)
    texts = [name.text for name in names]
    return graph, segment_table(clustering, ids, texts, told, profile, kept, seed, len(ids) + 1)


def export_segments(
    graph: bytes, table: SegmentTable, prototypes: np.ndarray, invented: np.ndarray
) -> dict[str, bytes]:
    """The files of the part; `invented` [N, D] are the points of the parity record's customers.

    What is expected of the graph is worked out here in double precision.
    """
    away = invented.astype(np.float64)[:, None, :] - prototypes.astype(np.float64)[None]
    distance = np.sqrt((away**2).sum(axis=2))
    return segments_part(graph=graph, table=table, index=distance.argmin(axis=1), distance=distance)
