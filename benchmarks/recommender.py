"""What each option of the recommender is worth: shipped configurations with one key changed, judged on validation."""

import json
import shutil
from pathlib import Path
from typing import Any

from benchmarks.measure import arguments, code_digest, digest, imported, last_results, synthetic_bank, write
from recsys.lake.store import Lake
from recsys.progress import progress_bar
from training.config import load_config
from training.prepare import fit_recommender, prepare

TABLES = {
    "zimnat": (
        "Zimnat insurance",
        "zimnat_insurance_reco",
        "zimnat_insurance_reco",
        ["evaluation.validation_share=0.4"],
    ),
    "berka": ("Berka, a Czech bank", "berka", "berka", []),
    "demo": ("Synthetic bank, 20,000 customers", None, "", []),
    "retail": ("Online Retail II", "online_retail_ii", "online_retail_ii", []),
    "beauty": ("Amazon Beauty, half of its epochs", "s3rec_beauty", "s3rec_sequential", ["training.epochs=5"]),
}
"""Configuration → title, catalog, folder of the source, and what makes its validation large enough to tell, or its fits
short enough."""
NEWCOMERS = "evaluation.newcomers=false"
START = "model.spectral_start=true"
OPTIONS = ("model.share_products=false", "model.item_bias=false", "model.layers=0", "model.layers=2")
SETTINGS = (
    "model.dropout=0.2",
    "model.dropout=0.5",
    "model.number_waves=0",
    "model.number_waves=24",
    "model.temperature=0.05",
    "model.temperature=0.15",
)
TRIED = {
    "zimnat": (*OPTIONS, *SETTINGS),
    "berka": (*OPTIONS, *SETTINGS, NEWCOMERS),
    "demo": (*OPTIONS, START, NEWCOMERS),
    "retail": (NEWCOMERS,),
    "beauty": (*OPTIONS, START, "model.tag_start=true"),
}
LONG = ("demo", "beauty")
"""Whose fits take long: fewer options are tried, with one seed; the spread of seeds is that of what is shipped."""


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", choices=TABLES, nargs="*", default=list(TABLES), help="run these, keep the others")
    parser.add_argument("--seeds", type=int, default=2, help="seeds of the fit (2)")
    options = parser.parse_args()
    results = last_results("recommender")
    for name in options.only:
        _, catalog, folder, large = TABLES[name]
        lake = (
            imported(catalog, options.datasets, folder, options.work)
            if catalog
            else synthetic_bank(20_000, 0, options.work)
        )
        metric = load_config(name).training.metric
        found = {}
        for variant in ("", *TRIED[name]):
            sets = [*large, *options.set, *([variant] if variant else [])]
            if variant and load_config(name, sets) == load_config(name, sets[:-1]):
                continue  # what is shipped
            seeds = 1 if variant and name in LONG else options.seeds
            runs = [validation(name, lake, options.work, [*sets, f"seed={seed}"]) for seed in range(seeds)]
            found[variant or "as shipped"] = runs
        results[name] = {"metric": metric, "variants": found}
    sections = [section(name, results[name]) for name in TABLES if name in results]
    text = (
        "Each row is a shipped configuration with one key changed, fitted on the training examples; the figure is the "
        "best epoch's on validation, the mean of the seeds (options of the synthetic bank and of Beauty have one; "
        "their numbers are left to `recsys tune`). No test split is read. Differences smaller than those between seeds "
        "tell nothing. `spectral_start` is for unordered sets from large catalogues: on [Gowalla](gowalla.md) "
        "validation has .222 with it and .202 without; `tag_start` for products that training never saw "
        "([cold start](cold_start.md)). What was tried and is not in the code, since it lost on validation: "
        "attention over the history, of the last item or of learned queries; position weights by heads; dropping "
        "whole events of the history; bins between the quantiles of numbers in place of waves; a "
        "residual block over product attributes; learning from the first of a sequence, too, where the last one is the "
        "test (Beauty has .067 in place of .068 with it).\n\n" + "\n\n".join(sections)
    )
    write("recommender", "Options of the recommender, on validation", text, results)


def section(name: str, result: dict[str, Any]) -> str:
    """The table of one configuration."""
    found = result["variants"]
    shipped = mean([run["value"] for run in found["as shipped"]])
    rows = "\n".join(row(variant, runs, shipped) for variant, runs in found.items())
    return (
        f"## {TABLES[name][0]}\n\n{found['as shipped'][0]['customers']:,} validation rows.\n\n"
        f"| {name}.yaml | {result['metric']} | against shipped | each seed |\n|---|---|---|---|\n{rows}"
    )


def row(variant: str, runs: list[dict[str, float]], shipped: float) -> str:
    """A line of the table."""
    value = mean([run["value"] for run in runs])
    each = ", ".join(f"{run['value']:.4f}" for run in runs)
    return f"| {variant} | {value:.4f} | {value - shipped:+.4f} | {each} |"


def validation(name: str, lake: Lake, work: Path, sets: list[str]) -> dict[str, float]:
    """The best validation metric of one fit, and of how many; kept, so that a stopped run goes on."""
    config = load_config(name, sets)
    key = digest(config.model_dump_json(), lake.identity(), code_digest())
    kept = work / "validation" / f"{key}.json"
    if not kept.exists():
        folder = kept.with_suffix("")
        folder.mkdir(parents=True, exist_ok=True)
        with progress_bar(" ".join([name, *sets])) as progress:
            data = prepare(config, lake, folder, progress)
            fitted = fit_recommender(config, data, folder / "checkpoints", progress)
        content = {"value": fitted.metric, "customers": len(data.held_out)}
        kept.write_text(json.dumps(content))
        shutil.rmtree(folder)
    return dict(json.loads(kept.read_text()))


def mean(values: list[float]) -> float:
    """Arithmetic mean."""
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
