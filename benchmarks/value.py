"""Lifetime value: the published parameters of CDNOW, and a million customers fitted and asked on two cores."""

import time
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from scipy.optimize import minimize

from benchmarks.measure import arguments, gflops, imported, peak_mib, write
from recsys.lifetime_value.bg_nbd import BgNbd, fit_bg_nbd, log_likelihood
from recsys.lifetime_value.config import PurchaseConfig
from recsys.lifetime_value.gamma_gamma import GammaGamma, fit_gamma_gamma
from recsys.lifetime_value.histories import Histories, collapsed, histories
from recsys.lifetime_value.holdout import normalised_gini
from recsys.lifetime_value.likelihood import Fitted
from recsys.lifetime_value.model import Horizon, expected, fit_value, total
from recsys.lifetime_value.simulation import simulated
from training.value_gather import purchases_of

CUT, LAST, WEEK = date(1997, 9, 30), date(1998, 6, 30), 7.0
PUBLISHED = {"r": 0.243, "alpha": 4.414, "a": 0.793, "b": 2.426, "p": 6.25, "q": 3.74, "v": 15.44}
TRUTH = BgNbd(0.243, 4.414, 0.793, 2.426), GammaGamma(6.25, 3.74, 1_544.0)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--customers", type=int, default=1_000_000, help="how many (1,000,000)")
    parser.add_argument("--repeats", type=int, default=5, help="runs; the median counts (5)")
    parser.add_argument("--banks", type=int, default=300, help="simulated sets of customers for the coverage (300)")
    options = parser.parse_args()
    lake = imported("cdnow", options.datasets, "cdnow", options.work)
    bought = purchases_of(lake, 0, PurchaseConfig(), LAST).collect()
    results = {
        "cdnow": cdnow(bought),
        "million": million(options.customers, options.repeats),
        "coverage": coverage(options.banks),
    }
    results["gflops"], results["peak_mib"] = gflops(), peak_mib()
    write("value", "Lifetime value", text(results), results)


def cdnow(bought: pl.DataFrame) -> dict[str, Any]:
    """Both models on 39 weeks, beside what is published, and judged on the 39 weeks that follow."""
    known, after = histories(bought, CUT), histories(bought, LAST)
    model = fit_value(known, PurchaseConfig(), seed=0)
    assert model.spending
    found = {
        name: (value, low, high) for name, value, low, high in (*model.buying.intervals(), *model.spending.intervals())
    }
    found["v"] = (found["v"][0] / 100, found["v"][1] / 100, found["v"][2] / 100)  # dollars, as published
    joined = known.join(after, on="customer_id", suffix="_after")
    later = (joined["frequency_after"] - joined["frequency"]).to_numpy().astype(float)
    spent = (joined["spend_after"] - joined["spend"]).to_numpy().astype(float)
    horizon = Horizon((LAST - CUT).days)
    told = expected(model, known, horizon)
    pace = known["frequency"].to_numpy() / known["age"].to_numpy() * horizon.days
    paid = known["spend"].to_numpy() / known["age"].to_numpy() * horizon.days
    sums = total(model, known, horizon, "purchases", 0)
    assert sums
    gini = {
        "purchases": normalised_gini({"model": told["purchases"].to_numpy(), "pace": pace}, later, [("model", "pace")]),
        "money": normalised_gini({"model": told["value"].to_numpy(), "pace": paid}, spent, [("model", "pace")]),
    }
    return {
        "parameters": {name: {"value": v, "low": low, "high": high} for name, (v, low, high) in found.items()},
        "published": PUBLISHED,
        "log_likelihood": model.buying.log_likelihood,
        "total": {"predicted": vars(sums), "actual": later.sum(), "pace": pace.sum()},
        "error": {
            "model": float(np.abs(told["purchases"].to_numpy() - later).mean()),
            "pace": float(np.abs(pace - later).mean()),
            "mean": float(np.abs(later.mean() - later).mean()),
        },
        "gini": {what: {name: vars(value) for name, value in each.items()} for what, each in gini.items()},
    }


def million(customers: int, repeats: int) -> dict[str, Any]:
    """Customers made by the models themselves: how long, and is the truth found again."""
    made = simulated(*TRUTH, customers, 730, WEEK, 365, seed=0)
    x, recent, old = (made[name].to_numpy() for name in ("frequency", "recency", "age"))
    before = peak_mib()
    fitted, collapse, fit, amounts, ask = None, [], [], [], []
    for _ in range(repeats):
        known, seconds = timed(lambda: collapsed(made))
        collapse.append(seconds)
        fitted, seconds = timed(lambda known=known: fit_bg_nbd(known, WEEK))
        fit.append(seconds)
        spending, seconds = timed(lambda: fit_gamma_gamma(x, made["spend"].to_numpy()))
        amounts.append(seconds)
        model = BgNbd(*fitted.values)
        answers, seconds = timed(lambda model=model: model.purchases(x, recent / WEEK, old / WEEK, 365 / WEEK))
        ask.append(seconds)
    plain, bare = bare_fit(made)
    assert fitted is not None
    return {
        "customers": customers,
        "distinct": len(known.count),
        "collapse_seconds": sorted(collapse),
        "fit_seconds": sorted(fit),
        "amounts_seconds": sorted(amounts),
        "expected_seconds": sorted(ask),
        "plain_fit_seconds": bare,
        "plain_log_likelihood": plain,
        "log_likelihood": fitted.log_likelihood,
        "more_memory_mib": peak_mib() - before,
        "parameters": _beside(fitted, TRUTH[0]) | _beside(spending, TRUTH[1]),
        "expected": float(answers.sum()),
        "happened": int(made["later"].sum()),
    }


def coverage(banks: int, customers: int = 3_000, days: int = 400, ahead: int = 180) -> dict[str, Any]:
    """How often 95 % intervals hold the truth, over many sets of customers made by one model."""
    truth = BgNbd(0.6, 6.0, 0.9, 2.5)
    names = ("r", "alpha", "a", "b")
    held = dict.fromkeys((*names, "total"), 0)
    for seed in range(banks):
        made = simulated(truth, TRUTH[1], customers, days, WEEK, ahead, seed)
        model = fit_value(made.drop("later"), PurchaseConfig(), 0)
        for name, _, low, high in model.buying.intervals():
            held[name] += low <= getattr(truth, name) <= high
        told = total(model, made.drop("later"), Horizon(ahead), "purchases", seed)
        assert told
        held["total"] += told.low <= made["later"].sum() <= told.high
    share = {name: int(count) / banks for name, count in held.items()}
    return {"banks": banks, "customers": customers, "days": days, "ahead": ahead, "held": share}


def bare_fit(made: pl.DataFrame) -> tuple[float, float]:
    """The baseline: the same likelihood customer by customer, without a gradient, by Nelder and Mead's simplex."""
    rows = Histories(*(made[n].to_numpy() for n in ("frequency", "recency", "age")), np.ones(made.height))
    likelihood = log_likelihood(rows, WEEK)
    found, seconds = timed(
        lambda: minimize(
            lambda logs: -likelihood(np.exp(logs))[0] / made.height,
            np.zeros(4),
            method="Nelder-Mead",
            options={"xatol": 1e-4, "fatol": 1e-9},
        )
    )
    return -float(found.fun) * made.height, seconds


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    done = work()
    return done, time.perf_counter() - began


def _beside(fitted: Fitted, truth: BgNbd | GammaGamma) -> dict[str, dict[str, float]]:
    return {
        name: {"truth": float(getattr(truth, name)), "value": value, "low": low, "high": high}
        for name, value, low, high in fitted.intervals()
    }


def text(results: dict[str, Any]) -> str:
    """The page, in Markdown."""
    sample, many = results["cdnow"], results["million"]
    lines = [
        "**CDNOW**, 2,357 customers, 39 weeks (to 1997-09-30); published by Fader, Hardie and Lee (2005) and by Fader "
        "and Hardie (2013).\n\n| parameter | found | published | differs by |\n|---|---|---|---|"
    ]
    for name, found in sample["parameters"].items():
        known = PUBLISHED[name]
        apart = found["value"] / known - 1
        span = f"{found['value']:.4g} [{found['low']:.4g}, {found['high']:.4g}]"
        lines.append(f"| {name} | {span} | {known} | {apart:+.2%} |")
    gini, error, sums = sample["gini"], sample["error"], sample["total"]
    told = sums["predicted"]
    lines.append(
        "\nThe 39 weeks that follow, beside everyone's own pace so far:\n\n| | model | own pace so far | difference |\n"
        "|---|---|---|---|\n"
        f"| purchases, {sums['actual']:,.0f} happened | {told['value']:,.0f} [{told['low']:,.0f}, {told['high']:,.0f}] "
        f"| {sums['pace']:,.0f} | |\n| mean absolute error of a customer's purchases | {error['model']:.3f} | "
        f"{error['pace']:.3f} | |"
    )
    for what, each in gini.items():
        cells = [f"{each[n]['value']:.3f} [{each[n]['low']:.3f}, {each[n]['high']:.3f}]" for n in each]
        lines.append(f"| normalised Gini, {what} | " + " | ".join(cells) + " |")
    lines.append(
        f"\n**{many['customers']:,} customers** made by these models, up to 730 days old, a year ahead; "
        f"{many['distinct']:,} distinct histories. Median and range of {len(many['fit_seconds'])} runs.\n\n"
        "| step | seconds |\n|---|---|"
    )
    for name, what in (
        ("collapse", "rows to sufficient statistics"),
        ("fit", "BG/NBD fitted, with intervals"),
        ("amounts", "Gamma-Gamma fitted, with intervals"),
        ("expected", "purchases expected of each"),
    ):
        each = many[f"{name}_seconds"]
        lines.append(f"| {what} | {np.median(each):.2f} ({min(each):.2f} to {max(each):.2f}) |")
    lines.append(
        f"| baseline: the same likelihood row by row, without gradient | {many['plain_fit_seconds']:.1f} |\n\n"
        f"The baseline ends at a log-likelihood of {many['plain_log_likelihood']:,.1f}, the fit at "
        f"{many['log_likelihood']:,.1f}. Expected in the year ahead: {many['expected']:,.0f} purchases; "
        f"{many['happened']:,} happened. Memory grew by {many['more_memory_mib']:,.0f} MiB.\n\n"
        "| parameter | truth | found |\n|---|---|---|"
    )
    for name, found in many["parameters"].items():
        span = f"{found['value']:.4g} [{found['low']:.4g}, {found['high']:.4g}]"
        lines.append(f"| {name} | {found['truth']:.4g} | {span} |")
    many = results["coverage"]
    lines.append(
        f"\n**Intervals**: {many['banks']} sets of {many['customers']:,} customers made by one model, followed "
        f"{many['days']} days and then {many['ahead']} more. The 95 % interval held the truth in "
        + ", ".join(f"{share:.1%} ({name})" for name, share in many["held"].items() if name != "total")
        + f" of them, and the purchases that followed in {many['held']['total']:.1%}. Of 300 sets, 93 to 97 % are what "
        "chance allows."
    )
    lines.append(
        "\nThe customers are made in continuous time and seen by the day, which moves the parameters by a per cent or "
        f"two. Machine: {results['gflops']:.0f} GFLOP/s in a 2048³ product."
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
