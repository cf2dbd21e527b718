"""Amazon Beauty and Sports, leave_last_out with full ranking: beside the baselines and the published figures."""

from benchmarks.measure import arguments, fit_and_test, imported, markdown, write
from training.evaluate import report

METRICS = ("ndcg@10", "recall@10", "hr@10", "mrr")
SETS = {"s3rec_beauty": "Amazon Beauty", "s3rec_sports": "Amazon Sports and Outdoors"}


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", choices=SETS, help="run one of the sets alone")
    options = parser.parse_args()
    results, sections = {}, []
    for catalog, title in SETS.items():
        if options.only and catalog != options.only:
            continue
        lake = imported(catalog, options.datasets, "s3rec_sequential", options.work)
        config, bundle, outcome = fit_and_test("beauty", lake, options.work, options.set)
        results[catalog] = {
            **report(outcome, config),
            "bundle": bundle.bundle_id,
            "seconds_all": bundle.manifest["seconds"],
        }
        sections.append(
            f"## {title}\n\n{results[catalog]['customers']:,} customers.\n\n{markdown(results[catalog], METRICS)}"
        )
    text = (
        "The last interaction of each customer is the test, the one before it the validation; at test time the "
        "validation item is in the history; all products are ranked, those in the history excluded. Every model, "
        "baselines too, is fitted without validation and test interactions.\n\n"
        "Published for Beauty, same protocol (HR@10 / NDCG@10): SASRec .0605 / .0318, S3-Rec .0647 / .0327, "
        "BSARec .1008 / .0611.\n\n" + "\n\n".join(sections)
    )
    write("sequences", "Ordered sequences: which product next", text, results)


if __name__ == "__main__":
    main()
