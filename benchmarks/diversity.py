"""What variety costs and brings: lists re-ranked by maximal marginal relevance, before and after, on the test split."""

from typing import Any

from benchmarks.measure import arguments, fit_and_test, imported, last_results, write
from recsys.progress import progress_bar
from training.evaluate import DIVERSE, MODEL, outcome_on_test, report

SETS = {
    "online_retail_ii": ("Online Retail II", "online_retail_ii", "retail"),
    "s3rec_beauty": ("Amazon Beauty", "s3rec_sequential", "beauty"),
}
"""Title, folder, configuration."""
STRENGTHS = (0.1, 0.3, 0.5, 0.7)
LISTS = ("diversity", "novelty", "popularity", "gini")


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", choices=SETS, nargs="*", default=list(SETS), help="run these, keep the others")
    options = parser.parse_args()
    results = last_results("diversity")
    for catalog in options.only:
        title, folder, name = SETS[catalog]
        lake = imported(catalog, options.datasets, folder, options.work)
        config, bundle, plain = fit_and_test(name, lake, options.work, options.set, ("popularity",))
        before = report(plain, config)
        rows = {"0": _row(before, MODEL)}
        for strength in STRENGTHS:
            with progress_bar(f"{title}, diversity {strength:g}") as progress:
                found = report(outcome_on_test(bundle, lake, progress, ("popularity",), strength), config)
            rows[f"{strength:g}"] = _row(found, DIVERSE)
        rows["popularity"] = _row(before, "popularity")
        results[catalog] = {"customers": before["customers"], "rows": rows}
    sections = [_section(SETS[catalog][0], results[catalog]) for catalog in SETS if catalog in results]
    text = (
        "`serving.diversity` re-ranks each customer's best products, five times as many as a list holds, by maximal "
        "marginal relevance; 0 leaves the order as it is. What the lists are like is said as in "
        "[evaluation](../docs/evaluation.md), on the ten "
        "products of up to 5,000 customers; coverage is the share of the catalogue that anyone's ten hold. 95 % "
        "bootstrap intervals over customers.\n\n" + "\n\n".join(sections)
    )
    write("diversity", "Variety before and after", text, results)


def _section(title: str, result: dict[str, Any]) -> str:
    rows = result["rows"]
    heads = list(rows["0"])
    lines = [
        f"| serving.diversity | {' | '.join(heads)} |",
        "|---" * (len(heads) + 1) + "|",
        *(f"| {key} | " + " | ".join(_cell(row[head]) for head in heads) + " |" for key, row in rows.items()),
    ]
    return f"## {title}\n\n{result['customers']:,} customers.\n\n" + "\n".join(lines)


def _row(found: dict[str, Any], model: str) -> dict[str, Any]:
    quality = {metric: found["models"][model][metric] for metric in ("ndcg@10", "recall@10")}
    lists = {name: found["lists"][model][name] for name in LISTS}
    return {**quality, **lists, "coverage@10": found["coverage"][model]["coverage@10"]}


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['value']:.4f} [{value['low']:.4f}, {value['high']:.4f}]"
    return f"{value:.4f}"


if __name__ == "__main__":
    main()
