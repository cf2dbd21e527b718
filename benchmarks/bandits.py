"""Bandits on the synthetic bank: cumulative regret against the oracle, beside chance, the best one action and greed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import ROOT, arguments, write
from recsys.campaigns.bandits.bandit import FLOOR, Bandit
from recsys.campaigns.bandits.policies import Actions, Greedy, LinUCB, Policy, SquareCB, Thompson
from recsys.campaigns.bandits.posterior import prior
from recsys.campaigns.bandits.simulation import Round, growth, references, simulate
from recsys.progress import progress_bar
from recsys.synthetic.decisions import ACTIONS, COSTS, WORTH, opportunities

WEEKS = 4
"""Rounds in a month: a customer is decided about in one of them."""
VARIANCE, NOISE = 0.03**2, 0.05
"""Prior variance of a coefficient and variance of a reward: effects of contacts are a few points of conversion."""
POLICIES: dict[str, Policy] = {
    "Thompson sampling": Thompson(),
    "LinUCB": LinUCB(),
    "SquareCB": SquareCB(unit=float(WORTH.max())),
    "greedy": Greedy(),
}
COLOURS = ("#3b7dd8", "#e07b28", "#2f9e6e", "#c74e74", "#6c7a92", "#a8811c")


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--customers", type=int, default=1000)
    parser.add_argument("--months", type=int, default=24)
    options = parser.parse_args()
    paths: dict[str, list[np.ndarray]] = {}
    worst = 1.0
    with progress_bar("Bandits") as progress:
        for seed in range(options.seeds):
            found, least = one_bank(seed, options.customers, options.months)
            worst = min(worst, least)
            for name, regret in found.items():
                paths.setdefault(name, []).append(regret)
            progress(seed + 1, options.seeds, "banks")
    stacked = {name: np.stack(regrets) / 100 for name, regrets in paths.items()}
    results = report(stacked)
    results |= {"customers": options.customers, "months": options.months, "least_propensity": worst}
    drawing = plot(stacked, ROOT / "benchmarks" / "bandits.svg")
    write("bandits", "Bandits on the synthetic bank", page(results, drawing.name), results)


def one_bank(seed: int, customers: int, months: int) -> tuple[dict[str, np.ndarray], float]:
    """Regret of each round [T] in pence under every policy and reference, and the least propensity logged."""
    rounds = [
        Round(month.features[week], month.eligible[week], month.value[week], month.chance[week], month.believed[week])
        for month in opportunities(customers, seed, months)
        for week in (month.customer % WEEKS == part for part in range(WEEKS))
    ]
    found, least = references(rounds), 1.0
    for name, policy in POLICIES.items():
        bandit = Bandit(
            Actions(ACTIONS, WORTH, COSTS), prior("linear", rounds[0].features.shape[2], VARIANCE, NOISE), policy
        )
        run = simulate(bandit, rounds, seed)
        found[name], least = run.regret, min(least, float(run.propensity.min()))
    return found, least


def report(paths: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Totals, growth and paired differences with 95 % intervals over seeds; paths: name → pounds [seeds, T]."""
    totals = {name: path.sum(axis=1) for name, path in paths.items()}
    rows = {}
    for name, path in paths.items():
        rows[name] = {
            "regret": _mean(totals[name]),
            "exponent": _mean(np.array([growth(one, clock) for one, clock in zip(path, paths["random"], strict=True)])),
            **{f"below_{other}": _mean(totals[other] - totals[name]) for other in ("random", "static", "greedy")},
        }
    return {"seeds": len(next(iter(paths.values()))), "rounds": next(iter(paths.values())).shape[1], "policies": rows}


def _mean(values: np.ndarray) -> list[float]:
    """Mean with the 95 % interval of Student's t, [value, low, high]."""
    from scipy import stats

    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return [float(values.mean()), float(values.mean()) - half, float(values.mean()) + half]


def plot(paths: Mapping[str, np.ndarray], out: Path) -> Path:
    """Mean cumulative regret with the band of its 95 % interval over seeds."""
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    for (name, path), colour in zip(paths.items(), COLOURS, strict=True):
        total = np.cumsum(path, axis=1)
        mean, half = total.mean(axis=0), 1.96 * total.std(axis=0, ddof=1) / np.sqrt(len(total))
        rounds = np.arange(1, total.shape[1] + 1)
        axes.plot(rounds, mean, color=colour, label=name, lw=1.8)
        axes.fill_between(rounds, mean - half, mean + half, color=colour, alpha=0.2, lw=0)
    axes.set_xlabel("rounds, four a month")
    axes.set_ylabel("cumulative regret against the oracle, £")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with matplotlib.rc_context({"svg.hashsalt": "bandits"}):
        figure.savefig(out, metadata={"Date": None})
    return out


def page(results: Mapping[str, Any], drawing: str) -> str:
    lines = [
        f"{results['seeds']} banks of {results['customers']:,} customers, {results['months']} months in "
        f"{results['rounds']} rounds, {len(ACTIONS)} actions (nothing, or one of 8 products through one of 5 channels) "
        "inside consent, eligibility and recent contacts. Regret is true value lost against the oracle, in pounds; "
        "means with 95 % intervals over banks; differences are paired by bank.\n",
        "| policy | cumulative regret | growth: exponent | below random by | below static by | below greedy by |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in results["policies"].items():
        below = [
            "" if name.lower() == other else _cell(row[f"below_{other}"], 0) for other in ("random", "static", "greedy")
        ]
        lines.append(f"| {name} | {_cell(row['regret'], 0)} | {_cell(row['exponent'], 3)} | {' | '.join(below)} |")
    lines.append(
        f"\n![Cumulative regret]({drawing})\n\n"
        "random draws uniformly from the eligible actions; static takes the one action that hindsight says earned the "
        "most, wherever it is eligible, and nothing elsewhere. The exponent is that of cumulative regret in time, "
        "fitted on logs after the first quarter of the rounds; time is what random has lost so far, because months "
        "differ in how much there is to lose, so random's own is 1. Every bandit keeps a floor of "
        f"{FLOOR:.0%} of decisions uniform over the eligible, whose regret grows with time whatever is learned, so "
        f"that any policy can be evaluated on its log: the least propensity is {results['least_propensity']:.5f}. "
        "Rewards come one to four rounds late. The model is linear in product, channel, segment and need and shared by "
        "all policies, settings were chosen before the run and not tuned, and the bank's truth is not linear: part of "
        "the regret is the model's. Greed learns from the floor, too, and from customers who differ."
    )
    return "\n".join(lines)


def _cell(interval: list[float], digits: int) -> str:
    value, low, high = (f"{part:,.{digits}f}" for part in interval)
    return f"{value} [{low}, {high}]"


if __name__ == "__main__":
    main()
