"""Zimnat insurance, hold_one_out: five independent splits, a bundle each; intervals over distinct customers."""

from benchmarks.measure import arguments, fit_and_test, gflops, imported, markdown, pool, write
from training.evaluate import report

SEEDS = range(5)
METRICS = ("mrr", "hr@1", "hr@3", "hr@5", "ndcg@5")


def main() -> None:
    options = arguments(__doc__ or "").parse_args()
    lake = imported("zimnat_insurance_reco", options.datasets, "zimnat_insurance_reco", options.work)
    speed = gflops()
    runs = [fit_and_test("zimnat", lake, options.work, [*options.set, f"evaluation.seed={seed}"]) for seed in SEEDS]
    pooled = pool([outcome for *_, outcome in runs])
    results = {
        "gflops": speed,
        "pooled": report(pooled, runs[0][0]),
        "splits": [
            {"means": {name: {m: float(found[m].mean()) for m in METRICS} for name, found in outcome.metrics.items()}}
            | {"seconds": outcome.seconds}
            for *_, outcome in runs
        ],
        "bundles": [bundle.bundle_id for _, bundle, _ in runs],
    }
    rows = len(pooled.customers)
    text = (
        "Five splits (`--set evaluation.seed=0` … `4`), each drawing 20 % of the customers independently: "
        f"{rows:,} test rows of {results['pooled']['customers']:,} distinct customers. Means with 95 % intervals, "
        "bootstrapped over distinct customers; differences are paired. Fit times are means per split, on a machine "
        f"that makes {speed:.0f} GFLOP/s in a float32 product of 2048³.\n\n" + markdown(results["pooled"], METRICS)
    )
    write("zimnat", "Zimnat insurance: which product is missing", text, results)


if __name__ == "__main__":
    main()
