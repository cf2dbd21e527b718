"""The synthetic bank at several cuts in time: how much the figures of one cut would have told."""

from typing import Any

from benchmarks.measure import arguments, synthetic_bank, write
from recsys.progress import progress_bar
from training.backtest import backtest, origins
from training.config import load_config

METRIC = "ndcg@5"


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--origins", type=int, default=4)
    options = parser.parse_args()
    lake = synthetic_bank(options.customers, options.seed, options.work)
    config = load_config("demo", options.set)
    with progress_bar("Backtesting") as progress:
        at = origins(config, lake, options.origins, None)
        results = backtest(at, lake, options.work / "bundles", progress)
    for one in results["origins"]:
        for name in ("bundle", "lists", "slices"):  # not told here
            del one[name]
    text = (
        f"{options.customers:,} customers, seed {options.seed}; at each cut features, encoder, networks and baselines "
        f"are made anew from what was known then; {METRIC} on the {config.evaluation.horizon_days} days after it, "
        "95 % intervals over customers; the test windows do not overlap.\n\n" + _table(results)
    )
    write("backtest", "Synthetic bank: several cuts in time", text, results)


def _table(results: dict[str, Any]) -> str:
    days = [f"until {one['until']}, {one['customers']:,} customers" for one in results["origins"]]
    lines = ["| model | " + " | ".join(days) + " | mean ± sd |", "|---" * (len(days) + 2) + "|"]
    for name, spread in results["models"].items():
        cells = [_cell(one["models"][name][METRIC], "") for one in results["origins"]]
        lines.append(f"| {name} | {' | '.join(cells)} | {_over(spread[METRIC], '')} |")
    for name, spread in results["differences"].items():
        cells = [_cell(one["differences"][name][METRIC], "+") for one in results["origins"]]
        lines.append(f"| two_tower − {name} | {' | '.join(cells)} | {_over(spread[METRIC], '+')} |")
    return "\n".join(lines)


def _cell(interval: dict[str, float], sign: str) -> str:
    value, low, high = (f"{interval[key]:{sign}.3f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _over(spread: dict[str, float], sign: str) -> str:
    return f"{spread['mean']:{sign}.3f} ± {spread['sd']:.3f}"


if __name__ == "__main__":
    main()
