"""A bundle whose segments are those of a lake as it is now, matched to the old ones; the embedding stays as it is."""

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from recsys.bundle import Bundle, write_bundle
from recsys.bundle.fits import check_fits, scoring_day
from recsys.bundle.parity import invented
from recsys.bundle.segmentation import GRAPH, PART, Segmentation, SegmentTable, segmentation_of
from recsys.cluster_choice import Clustering, find_segments
from recsys.clustering import AlgorithmName, SegmentsConfig, nearest
from recsys.features.features import features
from recsys.lake.parts import MEMORY, BucketReader, sample_share
from recsys.lake.store import Lake
from recsys.progress import Progress
from recsys.segment_cards.names import sentence
from recsys.warm_start import offsets, standing
from training.config import Config, parse_config
from training.customers import Customers
from training.embedding import EmbeddingConfig, write_customers
from training.segment_matching import Matching, contingency, match
from training.segments import assign_graph, assigned, export_segments, named, profile_of, segment_table


@dataclass(frozen=True)
class Places:
    """The customers that segments are found in, through the embedding of a bundle."""

    customers: Customers
    spaces: dict[str, np.ndarray]
    """`embedding` float32 [N, E] and `features` float32 [N, W]."""
    unusual: np.ndarray
    """bool [N]."""


@dataclass(frozen=True)
class OldSegments:
    """What a refit must know of the segments of before."""

    prototypes: np.ndarray
    """float32 [K, D]."""
    offsets: np.ndarray
    """float32 [K, D], of the prototypes from the middle of who was nearest."""
    ids: tuple[str, ...]
    next_id: int
    space: str
    algorithm: AlgorithmName
    setting: float
    forced: bool

    @classmethod
    def of(cls, segmentation: Segmentation) -> "OldSegments":
        """Those of a bundle."""
        table = segmentation.table
        return cls(
            prototypes_of_graph(segmentation.bundle.read(GRAPH)),
            np.array(table.offsets, dtype=np.float32),
            segmentation.ids,
            table.next_id,
            table.space,
            table.algorithm,  # type: ignore[arg-type]
            table.setting,
            table.forced,
        )


@dataclass(frozen=True)
class Found:
    """Segments of now, and what they have to do with the old ones."""

    clustering: Clustering
    kept: np.ndarray
    """float32 [K, D]: the offsets of the prototypes."""
    matching: Matching
    fallen: tuple[str, ...]
    """Why the old segments were given up; empty where they still stand."""


@dataclass(frozen=True)
class Refitted:
    """A written refit."""

    path: Path
    found: Found
    names: dict[str, str]
    """Of every segment, old and new, by id."""


def refit(
    bundle: Bundle,
    lake: Lake,
    out: Path,
    *,
    as_of: date | None = None,
    seed: int | None = None,
    memory: int = MEMORY,
    progress: Progress,
) -> Refitted:
    """Find the segments of a lake anew and write a bundle into `out`; every other part is carried over.

    `seed` is that of the bundle where it is None. Raises BundleError for a bundle without segments, LakeError for a
    lake that it cannot read, DataError for customers that cannot be clustered.
    """
    config = parse_config(bundle.config, f"{bundle.path}/config.yaml")
    segmentation = segmentation_of(bundle, config.threads)
    check_fits(bundle, lake)
    began, seed = time.perf_counter(), config.seed if seed is None else seed
    out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".work-refit-", dir=out))
    try:
        day = scoring_day(lake, as_of)
        places = read_places(segmentation, lake, config.embedding or EmbeddingConfig(), day, memory, work, progress)
        found = find_again(OldSegments.of(segmentation), places.spaces, _rule(config), seed, progress)
        files, names = _part(segmentation, lake, places, found, seed)
        path = _write(bundle, config, lake, out, files, time.perf_counter() - began)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Refitted(path, found, names)


def read_places(
    segmentation: Segmentation,
    lake: Lake,
    config: EmbeddingConfig,
    as_of: date | None,
    memory: int,
    work: Path,
    progress: Progress,
) -> Places:
    """The customers' feature rows under `work`, and where the embedding puts them."""
    share = sample_share(lake, config.customers)
    write_customers(BucketReader(lake, memory, share), segmentation.definition, as_of, work, progress)
    customers = Customers(tuple(sorted((work / "rows").glob("*.parquet"))), {}, share)
    parts = [segmentation.embed(rows) for rows in customers.frames()]
    errors = np.concatenate([part.errors for part in parts])
    return Places(
        customers,
        {
            "embedding": np.concatenate([part.vectors for part in parts]),
            "features": np.concatenate([part.features for part in parts]),
        },
        segmentation.embedding.unusual(errors)[0],
    )


def find_again(
    old: OldSegments, spaces: Mapping[str, np.ndarray], config: SegmentsConfig, seed: int, progress: Progress
) -> Found:
    """The old segments where their customers are now, if they still stand; else whatever the rule chooses anew.

    spaces: name → float32 [N, D], as `find_segments` takes them.
    """
    rows = spaces[old.space]
    progress(0, 1, "old segments on new customers")
    rule = config.model_copy(update={"space": old.space})
    if old.forced:  # of what was taken though it never passed, only that nobody is lost
        rule = rule.model_copy(update={"smallest_share": 0.0, "least_stability": 0.0})
    stood = standing(rows, old.prototypes, old.offsets, (old.algorithm, old.setting), rule, seed)
    if stood.fallen:
        clustering = find_segments(spaces, config, seed, progress)
        kept = offsets(spaces[clustering.chosen.space], clustering.prototypes)
    else:
        labels = nearest(rows, stood.candidate.prototypes)
        clustering = Clustering(stood.candidate, old.forced, labels, (stood.candidate,), {})
        kept = old.offsets
    overlap = contingency(nearest(rows, old.prototypes), clustering.labels, (len(old.ids), len(clustering.prototypes)))
    return Found(clustering, kept, match(overlap, old.ids, old.next_id - 1, config.least_overlap), stood.fallen)


def prototypes_of_graph(graph: bytes) -> np.ndarray:
    """float32 [K, D] from the graph of `assign_graph`, which holds -2 times their transpose."""
    stored = {one.name: numpy_helper.to_array(one) for one in onnx.load_from_string(graph).graph.initializer}
    return np.ascontiguousarray(stored["twice"].T / np.float32(-2))


def _part(
    segmentation: Segmentation, lake: Lake, places: Places, found: Found, seed: int
) -> tuple[dict[str, bytes], dict[str, str]]:
    """The files of the part, and the names of all segments by id."""
    bundle, clustering = segmentation.bundle, found.clustering
    definition, old = segmentation.definition, segmentation.table
    ids = [segment.id for segment in found.matching.new]
    graph = assign_graph(clustering.prototypes)
    index, distance = assigned(graph, places.spaces[clustering.chosen.space], len(ids))
    made, labels = named(lake, definition, segmentation.encoder, places.customers, index, ids)
    told = [tuple(sentence(fact, labels) for fact in name.facts) for name in made]
    names, facts = _names(found.matching, old, [name.text for name in made], told)
    table = segment_table(
        clustering,
        ids,
        names,
        facts,
        profile_of(definition, places.customers, ids, index, distance, places.unusual),
        found.kept,
        seed,
        found.matching.highest + 1,
        changes_of(found),
    )
    if not found.fallen:  # how their number was chosen is still what it was
        table = table.model_copy(update={"candidates": old.candidates, "failed": old.failed, "refused": old.refused})
    rows = features(*invented(bundle), definition)
    embedded = segmentation.embed(rows)
    points = {"embedding": embedded.vectors, "features": embedded.features}[clustering.chosen.space]
    files = export_segments(graph, table, clustering.prototypes, points)
    return files, dict(zip(segmentation.ids, segmentation.names, strict=True)) | dict(zip(ids, names, strict=True))


def _names(
    matching: Matching, old: SegmentTable, made: Sequence[str], told: Sequence[tuple[str, ...]]
) -> tuple[list[str], list[tuple[str, ...]]]:
    """The old name and its facts where a segment is still itself, else the new one, told apart from the old by id."""
    names, facts = [], []
    taken = {old.segments[segment.matched].name for segment in matching.new if segment.matched is not None}
    for segment, name, because in zip(matching.new, made, told, strict=True):
        if segment.matched is not None:
            entry = old.segments[segment.matched]
            name, because = entry.name, entry.named_by
        elif name in taken:
            name = f"{name} ({segment.id})"
        names.append(name)
        facts.append(because)
    return names, facts


def changes_of(found: Found) -> list[dict[str, Any]]:
    """What became of the old segments and where the others come from, as the bundle keeps it."""
    chosen, matching = found.clustering.chosen, found.matching
    rand = chosen.stability.mean if chosen.stability else None
    summary = {
        "change": "refit",
        "begun": "anew" if found.fallen else "from the old prototypes",
        "because": list(found.fallen),
        "customers_kept": matching.kept,
        "silhouette": chosen.separation.silhouette,
        "adjusted_rand": rand,
    }
    old = [{"id": s.id, "change": s.fate, "into": list(s.into), "overlap": s.overlap} for s in matching.old]
    new = [{"id": s.id, "change": s.origin, "of": list(s.of)} for s in matching.new if s.matched is None]
    return [summary, *old, *new]


def _rule(config: Config) -> SegmentsConfig:
    return config.segments or SegmentsConfig()


def _write(bundle: Bundle, config: Config, lake: Lake, out: Path, files: dict[str, bytes], seconds: float) -> Path:
    carried = {name: part for name, part in bundle.contents.parts.items() if name != PART}
    about = {
        "identity": lake.identity(),
        "version": lake.version,
        "source": lake.source,
        "as_of": lake.as_of.isoformat() if lake.as_of else None,
    }
    written = write_bundle(
        out,
        config.name,
        {name: bundle.part(name) for name in carried} | {PART: files},
        lake=about,
        feature_hash=bundle.contents.feature_hash,
        seconds={"refit": seconds},
        parents={name: part.parent or bundle.bundle_id for name, part in carried.items()},
    )
    return written.path
