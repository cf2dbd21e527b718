"""Amazon Beauty and Sports, leave_last_out, full ranking: three seeds beside baselines and published figures."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.measure import ROOT, arguments, fit_and_test, gflops, imported, markdown, write
from training.evaluate import MODEL, Outcome, report

METRICS = ("ndcg@10", "recall@10", "hr@10", "mrr")
SETS = {"s3rec_beauty": "Amazon Beauty", "s3rec_sports": "Amazon Sports and Outdoors"}
PUBLISHED = {
    "s3rec_beauty": "SASRec .0605 / .0318, S3-Rec .0647 / .0327, TIGER .0648 / .0384, ActionPiece .0775 / .0424, "
    "BSARec .1008 / .0611",
    "s3rec_sports": "SASRec .0350 / .0192, S3-Rec .0385 / .0204, TIGER .0400 / .0225, ActionPiece .0500 / .0264",
}
"""HR@10 / NDCG@10 in the same protocol."""


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", choices=SETS, help="run one of the sets alone; the other keeps its last result")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the recommender, whose mean counts (3)")
    options = parser.parse_args()
    before = ROOT / "benchmarks" / "sequences.json"
    results = json.loads(before.read_text(encoding="utf-8")) if options.only and before.exists() else {}
    for catalog in SETS:
        if options.only in (None, catalog):
            lake, speed = imported(catalog, options.datasets, "s3rec_sequential", options.work), gflops()
            runs = [
                fit_and_test("beauty", lake, options.work, [*options.set, f"seed={seed}"], () if seed else None)
                for seed in range(options.seeds)
            ]
            outcomes = [outcome for *_, outcome in runs]
            results[catalog] = {
                **report(mean(outcomes), runs[0][0]),
                "gflops": speed,
                "seeds": [{m: float(o.metrics[MODEL][m].mean()) for m in METRICS} for o in outcomes],
                "bundles": [bundle.bundle_id for _, bundle, _ in runs],
                "seconds_all": [bundle.manifest["seconds"] for _, bundle, _ in runs],
            }
    text = (
        "The last interaction of each customer is the test, the one before it the validation; at test time the "
        "validation item is in the history; all products are ranked, those in the history excluded. Every model, "
        "baselines too, is fitted without validation and test interactions. `two_tower` is the mean of its seeds; "
        "its fit time is everything after the import.\n\n"
        + "\n\n".join(section(catalog, results[catalog]) for catalog in SETS if catalog in results)
    )
    write("sequences", "Ordered sequences: which product next", text, results)


def section(catalog: str, found: Mapping[str, Any]) -> str:
    """What is said of one set."""
    each = ", ".join(f"{seed['recall@10']:.4f} / {seed['ndcg@10']:.4f}" for seed in found["seeds"])
    return (
        f"## {SETS[catalog]}\n\n{found['customers']:,} customers; the machine made {found['gflops']:.0f} GFLOP/s in a "
        f"float32 product of 2048³.\n\n{markdown(found, METRICS)}\n\n"
        f"recall@10 / NDCG@10 of each seed: {each}.\n\n"
        f"Published, same protocol (HR@10 / NDCG@10): {PUBLISHED[catalog]}."
    )


def mean(outcomes: list[Outcome]) -> Outcome:
    """The first run, its model's results and time averaged with those of the others, customer by customer."""
    first = outcomes[0]
    metrics = {m: np.mean([o.metrics[MODEL][m] for o in outcomes], axis=0) for m in first.metrics[MODEL]}
    seconds = float(np.mean([o.seconds[MODEL] for o in outcomes]))
    return replace(first, metrics={**first.metrics, MODEL: metrics}, seconds={**first.seconds, MODEL: seconds})


if __name__ == "__main__":
    main()
