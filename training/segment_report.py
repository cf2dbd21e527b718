"""The report of a bundle's segments: one page that a marketer can read, and the same content as JSON."""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_samples

from recsys.bundle import Bundle, Recommender
from recsys.bundle.fits import check_fits
from recsys.bundle.recommender import PART as RECOMMENDER
from recsys.bundle.segmentation import segmentation_of
from recsys.lake.parts import MEMORY
from recsys.lake.store import Lake
from recsys.pages.page import write_page
from recsys.progress import Progress
from recsys.segment_cards.cards import cards
from recsys.segment_cards.intervals import rounded
from recsys.segment_cards.labels import Labels
from recsys.segment_cards.suppression import FEWEST
from training import segment_plots as plots
from training.segment_gather import Assigner, Gathered, gather
from training.segment_page import page

COMPARED = 5_000
"""Customers whose silhouettes are taken: each is compared with every other."""
PLACED = 2_500
"""Customers of the map by neighbours, which takes a minute for twice as many."""
RADAR = 8


def write_bundle_report(
    bundle: Bundle,
    lake: Lake,
    out: Path,
    as_of: date | None,
    days: int,
    progress: Progress,
    memory: int = MEMORY,
    threads: int = 2,
) -> tuple[Path, Path]:
    """Write `out/segments.json` and `out/segments.html`; return their paths.

    Raises LakeError if the lake is not one that the bundle can read, and BundleError if the bundle has no segments.
    """
    check_fits(bundle, lake)
    segmentation = segmentation_of(bundle, threads)
    recommender = Recommender(bundle, threads) if RECOMMENDER in bundle.contents.parts else None
    found = gather(segmentation, recommender, lake, as_of, days, progress, memory)
    curve = curve_of(segmentation.table.candidates, segmentation.table.space)
    content = report(segmentation, lake, found, curve, bundle.bundle_id)
    return write_report(content, found, out)


def report(assigner: Assigner, lake: Lake, found: Gathered, curve: Sequence[dict[str, Any]], bundle_id: str) -> Any:
    """The content of the report: cards, profile, transitions, quality. `curve` has `algorithm`, `k`, `silhouette`."""
    entries = assigner.segments
    ids, given = [entry.id for entry in entries], [entry.name for entry in entries]
    labels = Labels.of_lake(assigner.definition, lake)
    content = cards(found.sums, labels, ids, given if all(given) else None)
    silhouettes = silhouettes_of(found.places, found.index, len(ids))
    mean = float(np.concatenate(silhouettes).mean()) if any(map(len, silhouettes)) else None
    return {
        "schema": 1,
        "bundle": bundle_id,
        "lake": {"source": lake.source, "version": lake.version, "identity": lake.identity()},
        "currency": lake.currency,
        "as_of": found.as_of.isoformat() if found.as_of else None,
        "before": found.before.isoformat() if found.before else None,
        "customers": int(found.sums.inputs.sizes.sum()),
        "products": {product: labels.product(product) for product in found.sums.products},
        **content,
        "quality": {
            "silhouette": rounded(mean),
            "by_segment": [rounded(float(s.mean())) if len(s) >= FEWEST else None for s in silhouettes],
            "sampled": int(sum(map(len, silhouettes))),
            "curve": [dict(point) for point in curve],
        },
    }


def curve_of(candidates: Sequence[Mapping[str, Any]], space: str) -> list[dict[str, Any]]:
    """`algorithm`, `k`, `silhouette` of the settings that were tried in a space and asked for a number of segments."""
    return [
        {"algorithm": tried["algorithm"], "k": tried["segments"], "silhouette": tried["silhouette"]}
        for tried in candidates
        if tried["space"] == space and tried["setting"] == tried["segments"] and tried["silhouette"] is not None
    ]


def write_report(content: dict[str, Any], found: Gathered, out: Path) -> tuple[Path, Path]:
    """Write the page and the JSON into a directory, each under its name when it is whole; return their paths."""
    return write_page(out, "segments", content, page(content, drawn(content, found)))


def drawn(content: dict[str, Any], found: Gathered) -> dict[str, str]:
    """Plot → SVG, for those that there is something to draw of."""
    names = [titled(card) for card in content["segments"]]
    pictures = {}
    curve = content["quality"]["curve"]
    if len({point["k"] for point in curve}) > 1:
        pictures["curve"] = plots.silhouette_curve(curve, len(names))
    silhouettes = silhouettes_of(found.places, found.index, len(names))
    if any(map(len, silhouettes)):
        pictures["diagram"] = plots.silhouette_diagram(silhouettes, names)
    if len(found.places) >= 3 * FEWEST and found.places.shape[1] >= 2:
        flat = PCA(2, random_state=0).fit_transform(found.places)
        pictures["pca"] = plots.embedding_map(flat, found.index, names, "pca")
        points, index = found.places[:PLACED], found.index[:PLACED]
        placed = TSNE(2, init="pca", perplexity=min(30.0, (len(points) - 1) / 3), max_iter=500, random_state=0)
        pictures["tsne"] = plots.embedding_map(placed.fit_transform(points), index, names, "tsne", size=16)
    features = content["profile"]["features"]
    if features:
        effects = np.array([[np.nan if e is None else e for e in row] for row in content["profile"]["effects"]])
        pictures["heat"] = plots.heat_map(effects, features, names)
        shown = distinct(features, RADAR)
        pictures["radar"] = plots.radar(effects[:, shown], [features[f] for f in shown], names)
    if content["transitions"]:
        pictures["migration"] = migration(content["transitions"], names)
    return pictures


def distinct(features: Sequence[str], most: int) -> list[int]:
    """Places of the first features that speak of different things; of the others, if there are too few."""
    chosen: list[int] = []
    said: set[str] = set()
    for place, feature in enumerate(features):
        words = set(feature.split(",")[0].split()) - {"the", "of", "since", "days", "last", "holds"}
        if not words & said:
            chosen.append(place)
            said |= words
    rest = [place for place in range(len(features)) if place not in chosen]
    return sorted([*chosen, *rest][:most])


def migration(table: dict[str, Any], names: Sequence[str]) -> str:
    """The matrix of moves; the row of those who are new only where there are any."""
    rows = len(names) + (1 if any(table["counts"][-1]) else 0)
    shares, counts = (
        np.array([[np.nan if v is None else v for v in row] for row in table[key][:rows]], dtype=np.float64)
        for key in ("share", "counts")
    )
    return plots.migration(shares, counts, [*names, "nothing known yet"][:rows], names)


def silhouettes_of(places: np.ndarray, index: np.ndarray, segments: int) -> list[np.ndarray]:
    """For each segment the silhouettes of its customers, of the first few thousand of the sample."""
    places, index = places[:COMPARED], index[:COMPARED]
    if not 2 <= len(np.unique(index)) < len(index):
        return [np.zeros(0) for _ in range(segments)]
    values = silhouette_samples(places, index)
    return [values[index == k] for k in range(segments)]


def titled(card: dict[str, Any]) -> str:
    """Id and name as they stand in plots."""
    return f"{card['id']} {card['name']}" if card["name"] != card["id"] else card["id"]
