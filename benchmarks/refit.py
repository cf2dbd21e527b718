"""Refits of segments: ids and customers kept with another seed, on a bootstrap sample, and with new customers."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import arguments, imported, synthetic_bank, write
from recsys.bundle import Bundle
from recsys.bundle.fits import scoring_day
from recsys.bundle.segmentation import segmentation_of
from recsys.clustering import ALGORITHMS, SegmentsConfig, nearest, prototypes_of, sample
from recsys.lake.parts import MEMORY
from recsys.lake.store import Lake
from recsys.progress import progress_bar
from recsys.warm_start import offsets
from training.config import load_config, parse_config
from training.embedding import EmbeddingConfig
from training.fit import train
from training.segment_matching import contingency, match
from training.segment_refit import OldSegments, find_again, read_places

NEW = 11
"""Every eleventh customer is new: a tenth of those who were there."""

Spaces = Mapping[str, np.ndarray]
Again = Callable[[OldSegments, Spaces, int], tuple[np.ndarray, tuple[str, ...], bool]]
"""(old segments, customers of now, seed) → prototypes, their ids, whether everything was tried anew."""

ALONE = ("recommender=false", "adoption=null", "churn=null")


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--repeats", type=int, default=5, help="of each case, every one with another seed")
    parser.add_argument("--customers", type=int, default=20_000, help="of the synthetic bank")
    parser.add_argument("--bundle", action="append", default=[], metavar="NAME=PATH", help="a bundle that is there")
    options = parser.parse_args()
    known = dict(text.split("=", 1) for text in options.bundle)
    lakes = {
        "cc_general": (imported("cc_general", options.datasets, "cc_general", options.work), "cc_general", ()),
        "synthetic bank": (
            synthetic_bank(options.customers, 0, options.work),
            "demo",
            ALONE,
        ),
    }
    results: dict[str, Any] = {}
    for name, (lake, shipped, without) in lakes.items():
        config = load_config(shipped, [*without, *options.set])
        with progress_bar(name) as progress:
            path = known.get(name) or train(config, lake, options.work / "bundles", progress)
        results[name] = measured(Bundle.load(path), lake, options.repeats)
    write("refit", "Refits of segments", _page(results), results)


def measured(bundle: Bundle, lake: Lake, repeats: int) -> dict[str, Any]:
    """Shares of ids and customers kept, for each case and way."""
    segmentation = segmentation_of(bundle, 2)
    asked = parse_config(bundle.config, str(bundle.path))
    config = asked.segments or SegmentsConfig()
    with tempfile.TemporaryDirectory() as work, progress_bar(str(lake.path)) as progress:
        day = scoring_day(lake, None)
        places = read_places(
            segmentation, lake, asked.embedding or EmbeddingConfig(), day, MEMORY, Path(work), progress
        )
        old, rows = OldSegments.of(segmentation), places.spaces[segmentation.table.space]

        def followed(before: OldSegments, spaces: Spaces, seed: int) -> tuple[np.ndarray, tuple[str, ...], bool]:
            found = find_again(before, spaces, config, seed, progress)
            return found.clustering.prototypes, tuple(s.id for s in found.matching.new), bool(found.fallen)

        def anew(before: OldSegments, spaces: Spaces, seed: int) -> tuple[np.ndarray, tuple[str, ...], bool]:
            return begun_anew(before, spaces[before.space], config, seed)

        ways: dict[str, Again] = {"recsys segments refit": followed, "begun anew, matched": anew}
        found = {
            way: {case: _case(case, again, old, places.spaces, rows, config, repeats) for case in CASES}
            for way, again in ways.items()
        }
    table = segmentation.table
    return {
        "customers": len(rows),
        "segments": len(old.ids),
        "algorithm": table.algorithm,
        "space": table.space,
        "forced": table.forced,
        "config": {name: bundle.config[name] for name in ("seed", "features", "embedding", "segments")},
        "ways": found,
    }


CASES = ("the same customers, another seed", "a bootstrap sample", "a tenth new customers")


def _case(
    case: str, again: Again, old: OldSegments, spaces: Spaces, rows: np.ndarray, config: SegmentsConfig, repeats: int
) -> dict[str, Any]:
    """Each repeat's share of ids that are kept, and of customers in a segment of the same id."""
    ids, customers, restarts = [], [], 0
    everybody = np.arange(len(rows))
    for seed in range(1, repeats + 1):
        rng, before, asked = np.random.default_rng(seed), old, everybody
        now = everybody
        if case == CASES[1]:
            now = np.sort(rng.integers(0, len(rows), len(rows)))
        if case == CASES[2]:
            asked = np.sort(rng.permutation(len(rows))[len(rows) // NEW :])
            before = found_in(old, rows[asked], config)
        prototypes, named, restarted = again(before, {name: values[now] for name, values in spaces.items()}, seed)
        ids.append(len(set(named) & set(before.ids)) / len(before.ids))
        was = np.array(before.ids)[nearest(rows[asked], before.prototypes)]
        customers.append(float((was == np.array(named)[nearest(rows[asked], prototypes)]).mean()))
        restarts += restarted
    return {"ids": ids, "customers": customers, "tried_anew": restarts}


def found_in(old: OldSegments, rows: np.ndarray, config: SegmentsConfig) -> OldSegments:
    """Segments as they would have been found in these rows alone, by the same algorithm with the same setting."""
    some = rows[sample(len(rows), ALGORITHMS[old.algorithm].rows(len(rows), config), 0)]
    prototypes = next(prototypes_of(old.algorithm, some, [old.setting], 0)).prototypes
    ids = tuple(f"S{i + 1}" for i in range(len(prototypes)))
    return OldSegments(
        prototypes,
        offsets(rows, prototypes),
        ids,
        len(ids) + 1,
        old.space,
        old.algorithm,
        old.setting,
        old.forced,
    )


def begun_anew(
    old: OldSegments, rows: np.ndarray, config: SegmentsConfig, seed: int
) -> tuple[np.ndarray, tuple[str, ...], bool]:
    """What matching alone keeps: the same algorithm and setting with another seed, from the beginning."""
    some = rows[sample(len(rows), ALGORITHMS[old.algorithm].rows(len(rows), config), seed)]
    prototypes = next(prototypes_of(old.algorithm, some, [old.setting], seed)).prototypes
    sizes = (len(old.ids), len(prototypes))
    overlap = contingency(nearest(rows, old.prototypes), nearest(rows, prototypes), sizes)
    found = match(overlap, old.ids, old.next_id - 1, config.least_overlap)
    return prototypes, tuple(segment.id for segment in found.new), True


def _page(results: dict[str, Any]) -> str:
    lines = [
        "Ids kept, and customers whose segment has the id that it had: the mean over the repeats, and the worst. Asked "
        "for: 95 % of both. The old segments of the last case were found without every eleventh customer. The whole "
        "configuration of each bundle stands in `refit.json`.",
        "",
        "| lake | segments | way | case | ids | worst | customers | worst |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        found = f"{result['segments']} by {result['algorithm']} in the {result['space']}"
        for way, cases in result["ways"].items():
            for case, kept in cases.items():
                figures = [(float(np.mean(kept[k])), min(kept[k])) for k in ("ids", "customers")]
                told = " | ".join(f"{value:.2%}" for pair in figures for value in pair)
                lines.append(f"| {name} | {found} | {way} | {case} | {told} |")
    trained = [
        f"{name}: {result['config']['embedding']['autoencoder']['epochs']} epochs of the autoencoder, segments by "
        f"{', '.join(result['config']['segments']['algorithms'])}"
        for name, result in results.items()
    ]
    return "\n".join([*lines, "", f"The bundles were trained with: {'; '.join(trained)}."])


if __name__ == "__main__":
    main()
