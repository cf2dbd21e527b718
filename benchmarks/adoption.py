"""When: probabilities of adoption on the synthetic bank's test cut, calibrated or not, beside the known truth."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import arguments, write
from recsys.bundle import Bundle
from recsys.features.adoption_examples import add_months, adoption_cuts
from recsys.lake.store import Lake
from recsys.progress import progress_bar
from recsys.synthetic.generate import generate
from recsys.synthetic.truth import adoption_matrix
from training.adoption_evaluation import AdoptionTest, adoption_report, adoption_test
from training.config import Config, load_config
from training.fit import train

FIGURES = ("ece", "product_gap", "brier", "auc")


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    out = options.work / f"synthetic-{options.customers}-{options.seed}"
    if not (out / "lake.json").exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        with progress_bar("Making the bank") as progress:
            generate(out, options.customers, options.seed, progress=progress)
    lake, config = Lake.open(out), load_config("demo", options.set)
    with progress_bar("Training") as progress:
        bundle = Bundle.load(train(config, lake, options.work / "bundles", progress))
    with progress_bar("Evaluating") as progress:
        test = adoption_test(bundle, lake, config, progress)
    truth = true_probabilities(Path(f"{out}.truth"), lake, config, test, bundle.encoder.products)
    samples, seed = config.evaluation.bootstrap, config.evaluation.seed
    report = adoption_report(test, samples, seed)
    known = adoption_report(replace(test, probabilities=truth.astype(np.float32)), samples, seed)
    for h, (name, entry) in enumerate(report["horizons"].items()):
        entry["truth"] = known["horizons"][name]["model"]
        entry["beside_truth"] = {
            "model": _beside(test.probabilities[:, h], truth[:, h]),
            "base_rate": _beside(test.base_rates[test.product, h], truth[:, h]),
        }
    results = {**report, "bundle": bundle.bundle_id, "seconds": bundle.manifest["seconds"]}
    write("adoption", "Synthetic bank: when", _page(options.customers, options.seed, results), results)


def true_probabilities(
    truth: Path, lake: Lake, config: Config, test: AdoptionTest, products: Sequence[str]
) -> np.ndarray:
    """float64 [M, H]: 1 - Π (1 - true monthly probability) over the months of each horizon, for each cell."""
    assert config.adoption is not None
    cut = adoption_cuts(test.horizons_months, config.adoption.snapshots, lake.as_of)["test"][0]
    stays, found = np.ones(len(test.customer)), []
    for month in range(test.horizons_months[-1]):
        start: date = add_months(cut, month)
        matrix = adoption_matrix(truth, start, test.customers.tolist(), products)
        stays = stays * (1 - matrix[test.customer, test.product])
        if month + 1 in test.horizons_months:
            found.append(1 - stays)
    return np.stack(found, axis=1)


def _beside(said: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Mean absolute difference, and Pearson correlation."""
    return {
        "mean_absolute_difference": float(np.abs(said - truth).mean()),
        "correlation": float(np.corrcoef(said, truth)[0, 1]),
    }


def _page(customers: int, seed: int, results: Mapping[str, Any]) -> str:
    lines = [
        f"{customers:,} customers, seed {seed}. Every customer seen before the test cut and every product that they do "
        f"not hold: {results['pairs']:,} pairs. ECE with {results['bins']} bins of equal mass, pooled over products; "
        "95 % intervals over customers.\n",
        "| within | model | ECE | gap per product | Brier score | AUC | mean abs. difference to truth | correlation |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for horizon, entry in results["horizons"].items():
        for name in ("model", "base_rate", "truth"):
            cells = [_cell(entry[name][figure]) for figure in FIGURES]
            beside = entry["beside_truth"].get(name)
            compared = [f"{value:.4f}" for value in beside.values()] if beside else ["", ""]
            lines.append(f"| {horizon} | {name} | {' | '.join([*cells, *compared])} |")
    lines.append("\n| within | acquired | Brier skill of the model |\n|---|---|---|")
    for horizon, entry in results["horizons"].items():
        lines.append(f"| {horizon} | {entry['acquired']:.4f} | {_cell(entry['brier_skill'])} |")
    bins = list(results["horizons"].values())[-1]["reliability"]
    lines.append("\nThe bins of the longest horizon, predicted → observed: ")
    lines.append(", ".join(f"{row['predicted']:.4f} → {row['observed']:.4f}" for row in bins) + ".\n")
    lines.append(
        "truth is 1 - Π (1 - p) over the horizon's months, p being the probability with which the bank drew a month. "
        "For one month it is the probability given everything that is so at the cut, what no table shows included. For "
        "longer horizons it is not a forecast: each later month's p is given the state at that month's start, which "
        "includes what had happened since the cut (what the customer looked at, life events, whether they had left), "
        "and is 0 once the product is held. No model that looks from the cut can reach it. base_rate is each product's "
        "share of acquisitions within the horizon after the calibration's cut. Acquisitions are rare, so every ECE is "
        "small in absolute terms, that of the base rates too; compare it with the share acquired, and see Brier skill, "
        "AUC and the difference to the truth for what is known about the individual."
    )
    return "\n".join(lines)


def _cell(figure: Mapping[str, float]) -> str:
    return f"{figure['value']:.4f} [{figure['low']:.4f}, {figure['high']:.4f}]"


if __name__ == "__main__":
    main()
