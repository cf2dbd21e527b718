"""Zimnat insurance, hold_one_out: five independent splits, a bundle each; intervals over distinct customers."""

from benchmarks.measure import arguments, fit_and_test, gflops, imported, markdown, pool, write
from benchmarks.recommender import validation
from training.evaluate import report

SEEDS = range(5)
SHARES = (0.7, 0.5, 0.3, 0.1)
"""Of the customers outside the test the share that validates; what it leaves is learned from."""
CURVE_SEEDS = range(2)
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
    curve = {
        share: [
            validation(
                "zimnat", lake, options.work, [*options.set, f"evaluation.validation_share={share}", f"seed={s}"]
            )
            for s in CURVE_SEEDS
        ]
        for share in SHARES
    }
    results["curve"] = curve
    rows = len(pooled.customers)
    text = (
        "Five splits (`--set evaluation.seed=0` … `4`), each drawing 20 % of the customers independently: "
        f"{rows:,} test rows of {results['pooled']['customers']:,} distinct customers. Means with 95 % intervals, "
        "bootstrapped over distinct customers; differences are paired. Fit times are means per split, on a machine "
        f"that makes {speed:.0f} GFLOP/s in a float32 product of 2048³.\n\n"
        + markdown(results["pooled"], METRICS)
        + "\n\n## Learning curve\n\n"
        + "Fewer of the customers outside the test to learn from, judged on the others of them: validation MRR at "
        f"the best epoch, a mean of {len(CURVE_SEEDS)} seeds.\n\n"
        "| share learned from | validation rows | mrr |\n|---|---|---|\n"
        + "\n".join(_point(share, found) for share, found in curve.items())
    )
    write("zimnat", "Zimnat insurance: which product is missing", text, results)


def _point(share: float, found: list[dict[str, float]]) -> str:
    """A line of the learning curve."""
    value = sum(run["value"] for run in found) / len(found)
    return f"| {1 - share:.0%} | {found[0]['customers']:,} | {value:.4f} |"


if __name__ == "__main__":
    main()
