"""Zimnat insurance, hold_one_out: five independent splits, a bundle each; intervals over distinct customers."""

import numpy as np

from benchmarks.measure import arguments, fit_and_test, imported, markdown, write
from training.evaluate import Outcome, report

SEEDS = range(5)
METRICS = ("mrr", "hr@1", "hr@3", "hr@5", "ndcg@5")


def main() -> None:
    options = arguments(__doc__ or "").parse_args()
    lake = imported("zimnat_insurance_reco", options.datasets, "zimnat_insurance_reco", options.work)
    runs = [fit_and_test("zimnat", lake, options.work, [*options.set, f"evaluation.seed={seed}"]) for seed in SEEDS]
    pooled = pool([outcome for *_, outcome in runs])
    results = {
        "pooled": report(pooled, runs[0][0]),
        "splits": [report(outcome, config) for config, _, outcome in runs],
        "bundles": [bundle.bundle_id for _, bundle, _ in runs],
    }
    rows = len(pooled.customers)
    text = (
        "Five splits (`--set evaluation.seed=0` … `4`), each drawing 20 % of the customers independently: "
        f"{rows:,} test rows of {results['pooled']['customers']:,} distinct customers. Means with 95 % intervals, "
        "bootstrapped over distinct customers; differences are paired. Fit times are means per split.\n\n"
        + markdown(results["pooled"], METRICS)
    )
    write("zimnat", "Zimnat insurance: which product is missing", text, results)


def pool(outcomes: list[Outcome]) -> Outcome:
    """All splits as one: rows side by side, times averaged."""
    first = outcomes[0]
    return Outcome(
        customers=np.concatenate([o.customers for o in outcomes]),
        metrics={
            name: {metric: np.concatenate([o.metrics[name][metric] for o in outcomes]) for metric in metrics}
            for name, metrics in first.metrics.items()
        },
        coverage={
            name: {k: float(np.mean([o.coverage[name][k] for o in outcomes])) for k in ks}
            for name, ks in first.coverage.items()
        },
        seconds={name: float(np.mean([o.seconds[name] for o in outcomes])) for name in first.seconds},
        refused=first.refused,
        top={name: np.concatenate([o.top[name] for o in outcomes]) for name in first.top},
        slices={name: np.concatenate([o.slices[name] for o in outcomes]) for name in first.slices},
        held=first.held,
    )


if __name__ == "__main__":
    main()
