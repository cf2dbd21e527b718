"""Gowalla with its published test rows, full ranking: beside the baselines and the published table."""

from benchmarks.measure import arguments, fit_and_test, gflops, imported, markdown, write
from training.evaluate import report

METRICS = ("recall@20", "ndcg@20", "hr@20", "mrr")
PUBLISHED = {
    "YoutubeDNN, two towers": (0.1754, 0.1473),
    "EASE": (0.1765, 0.1467),
    "LightGCN": (0.1820, 0.1547),
    "UltraGCN": (0.1862, 0.1580),
    "SimpleX": (0.1872, 0.1557),
}
"""Recall@20 and NDCG@20 of the BARS table gowalla_m1 (reczoo/BARS)."""


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--ease", action="store_true", help="fit EASE, too: 7 GB of memory for the fit")
    parser.add_argument("--baselines", nargs="*", help="fit these alone, such as popularity item_knn")
    options = parser.parse_args()
    lake = imported("lightgcn_gowalla", options.datasets, "lightgcn_gowalla", options.work)
    memory = ["evaluation.baseline_memory=8GiB"] if options.ease else []
    before = gflops()
    settings = [*options.set, *memory]
    config, bundle, outcome = fit_and_test("gowalla", lake, options.work, settings, options.baselines)
    speed = (before, gflops())
    seconds = bundle.manifest["seconds"]
    learned = bundle.json("report/metrics.json")
    results = {
        **report(outcome, config),
        "bundle": bundle.bundle_id,
        "seconds_all": seconds,
        "gflops": speed,
        "published": PUBLISHED,
        "epochs": learned["epochs"],
        "refit": learned["refit"],
    }
    curve = ", ".join(f"{epoch[config.training.metric]:.4f}" for epoch in learned["epochs"])
    rows = "\n".join(f"| {name} | {recall:.4f} | {ndcg:.4f} |" for name, (recall, ndcg) in PUBLISHED.items())
    chosen = f"Baselines of this run: `--baselines {' '.join(options.baselines)}`.\n\n" if options.baselines else ""
    text = (
        f"{results['customers']:,} people; all places are ranked, a person's training places excluded. A tenth of "
        f"each person's training places chose the number of epochs; then all were learnt from for as many. Baselines "
        f"are fitted on all training places.\n\n"
        f"{markdown(results, METRICS)}\n\n{chosen}"
        f"Fit of the two-tower in all: {sum(seconds.values()):.0f} s on {config.threads} threads (features "
        f"{seconds['features']:.0f} s; both fits {seconds['fit']:.0f} s). A 2048³ float32 product ran at "
        f"{speed[0]:.0f} GFLOP/s before the training and at {speed[1]:.0f} after the evaluation. "
        f"{config.training.metric} on validation, epoch by epoch: {curve}.\n\n"
        f"Published, same division and protocol:\n\n| model | recall@20 | ndcg@20 |\n|---|---|---|\n{rows}"
    )
    write("gowalla", "Gowalla: what else belongs to this set", text, results)


if __name__ == "__main__":
    main()
