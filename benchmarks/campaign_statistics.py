"""Campaign statistics: coverage, p-values, looking early, CUPED, tea-tasting, and targeted campaigns with a truth."""

import json
from typing import Any

import numpy as np
import polars as pl
import tea_tasting as tt
from scipy.stats import kstest

from benchmarks.measure import ROOT, arguments, synthetic_bank, write
from benchmarks.simulated_campaigns import drawn_anew, known_campaigns, true_effect
from recsys.campaigns.experiment import Comparison, Moments, compare, cuped
from recsys.campaigns.intervals import ratio, ratio_by_fieller
from recsys.campaigns.observational import Predicted
from recsys.campaigns.sequential import half_width, tuned_rho
from recsys.lake.store import Lake
from recsys.progress import progress_bar

LOOKS = np.arange(200, 10_001, 50)
CORRELATIONS = (0.3, 0.5, 0.7, 0.9)
SIZE = 1_000
"""Customers in each arm of a simulated test of amounts."""


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--tests", type=int, default=10_000, help="simulated tests")
    parser.add_argument("--campaigns", type=int, default=2_000, help="simulated targeted campaigns")
    parser.add_argument("--customers", type=int, default=30_000, help="of the synthetic bank")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", nargs="*", default=["tests", "looking", "cuped", "tea", "targeted"], help="parts to run"
    )
    options = parser.parse_args()
    before = ROOT / "benchmarks" / "campaign_statistics.json"
    results: dict[str, Any] = json.loads(before.read_text()) if before.exists() else {}
    if "tests" in options.only:
        results["tests"] = simulated_tests(options.tests, options.seed)
    if "looking" in options.only:
        results["looking"] = looking(options.tests, options.seed)
    if "cuped" in options.only:
        results["cuped"] = variance_left(options.tests // 10, options.seed)
    if "tea" in options.only:
        results["tea"] = beside_tea_tasting(50, options.seed)
    if "targeted" in options.only:
        lake = synthetic_bank(options.customers, 0, options.work, buckets=8)
        results["targeted"] = targeted(lake, options.campaigns, options.seed)
    write("campaign_statistics", "Campaign statistics", _page(results), results)


def simulated_tests(count: int, seed: int) -> dict[str, Any]:
    """How often each 95 % interval holds the truth, and whether p-values of tests without an effect are uniform."""
    rng = np.random.default_rng(seed)
    covered: dict[str, int] = {}
    values: dict[str, list[float]] = {}
    with progress_bar("Testing") as progress:
        for i in range(count):
            for name, found in (_shares(rng) | _amounts(rng) | _ratios(rng)).items():
                covered[name] = covered.get(name, 0) + int(found)
            for name, p in _without_effect(rng).items():
                values.setdefault(name, []).append(p)
            progress(i + 1, count, "tests")
    error = float(np.sqrt(0.95 * 0.05 / count))
    shares = {name: {"covered": hits / count, "z": (hits / count - 0.95) / error} for name, hits in covered.items()}
    uniform = {name: float(kstest(found, "uniform").pvalue) for name, found in values.items()}
    return {"tests": count, "standard_error": error, "coverage": shares, "kolmogorov_smirnov_p": uniform}


def _shares(rng: np.random.Generator) -> dict[str, bool]:
    """Arms of 20,000 and 10,000 customers, 5 % and 4 % of whom convert."""
    sides = [_binary(rng.binomial(n, p), n) for n, p in ((20_000, 0.05), (10_000, 0.04))]
    found = compare(sides[0], sides[1], shares=True)
    return {
        "Newcombe, difference of shares": _holds(found, 0.01),
        "Fieller, relative lift of shares": found.relative.low <= 0.25 <= found.relative.high,
    }


def _amounts(rng: np.random.Generator) -> dict[str, bool]:
    """Skewed amounts, a covariate with a correlation of about 0.7, an effect of 2."""
    sides = [_correlated(rng, 0.7, shift) for shift in (2.0, 0.0)]
    return {
        "Welch, difference of means": _holds(compare(sides[0], sides[1]), 2.0),
        "CUPED, difference of means": _holds(cuped(sides[0], sides[1]), 2.0),
    }


def _ratios(rng: np.random.Generator) -> dict[str, bool]:
    """Customers see 1 to about 12 impressions, and click on a fifth of them, each by a rate of their own."""
    shown = 1 + rng.poisson(5, SIZE)
    clicked = rng.binomial(shown, rng.beta(2, 8, SIZE)).astype(float)
    plain, other = ratio(clicked, shown.astype(float)), ratio_by_fieller(clicked, shown.astype(float))
    return {
        "delta method, ratio of sums by customer": plain.low <= 0.2 <= plain.high,
        "Fieller, ratio of sums by customer": other.low <= 0.2 <= other.high,
    }


def _without_effect(rng: np.random.Generator) -> dict[str, float]:
    sides = [_correlated(rng, 0.7, 0.0) for _ in range(2)]
    shares = [_binary(rng.binomial(n, 0.3), n) for n in (200_000, 100_000)]
    return {
        "Welch": compare(sides[0], sides[1]).p,
        "CUPED": cuped(sides[0], sides[1]).p,
        "shares": compare(shares[0], shares[1], shares=True).p,
    }


def looking(count: int, seed: int) -> dict[str, Any]:
    """Tests without an effect that are looked at after every 50 customers: how many raise an alarm at any look."""
    rng, rho = np.random.default_rng(seed + 1), tuned_rho()
    alarms = {"always_valid": 0, "plain": 0}
    size = int(LOOKS[-1])
    with progress_bar("Looking") as progress:
        for i in range(count):
            treated, y = rng.random(size) < 0.5, (rng.random(size) < 0.1).astype(float)
            counts = [np.cumsum(side)[LOOKS - 1] for side in (treated, ~treated)]
            sums = [np.cumsum(y * side)[LOOKS - 1] for side in (treated, ~treated)]
            means = [x / n for x, n in zip(sums, counts, strict=True)]
            error = sum(m * (1 - m) / (n - 1) for m, n in zip(means, counts, strict=True))
            apart = np.abs(means[0] - means[1])
            alarms["always_valid"] += bool((apart > half_width(LOOKS * error, LOOKS, rho)).any())
            alarms["plain"] += bool((apart > 1.959964 * np.sqrt(error)).any())
            progress(i + 1, count, "tests")
    return {"tests": count, "looks": len(LOOKS)} | {name: hits / count for name, hits in alarms.items()}


def variance_left(count: int, seed: int) -> list[dict[str, float]]:
    """What CUPED leaves of the variance of the difference, beside 1 - correlation²."""
    rng, told = np.random.default_rng(seed + 2), []
    for correlation in CORRELATIONS:
        left = []
        for _ in range(count):
            x = rng.normal(size=2 * SIZE)
            y = correlation * x + np.sqrt(1 - correlation**2) * rng.normal(size=2 * SIZE)
            sides = [Moments.of(y[i::2], x[i::2]) for i in range(2)]
            left.append((cuped(sides[0], sides[1]).error / compare(sides[0], sides[1]).error) ** 2)
        told.append({"correlation": correlation, "expected": 1 - correlation**2, "found": float(np.mean(left))})
    return told


def beside_tea_tasting(count: int, seed: int) -> dict[str, Any]:
    """The largest relative difference from tea-tasting over random tests, of each number that both compute."""
    rng, most = np.random.default_rng(seed + 3), {"Welch": 0.0, "CUPED": 0.0}
    for _ in range(count):
        arm, x = rng.integers(0, 2, 500), rng.gamma(2, 10, 500)
        y = 0.8 * x + rng.normal(0, 8, 500) + rng.normal() * arm
        frame = pl.DataFrame({"arm": arm, "x": x, "y": y})
        metrics = {"Welch": tt.Mean("y"), "CUPED": tt.Mean("y", covariate="x")}
        theirs = tt.Experiment(metrics, variant="arm").analyze(frame, control=0)
        sides = [Moments.of(y[arm == place], x[arm == place]) for place in (1, 0)]
        for name, found in (("Welch", compare(sides[0], sides[1])), ("CUPED", cuped(sides[0], sides[1]))):
            one = theirs[name]
            pairs = (
                (found.difference.value, one.effect_size),
                (found.difference.low, one.effect_size_ci_lower),
                (found.difference.high, one.effect_size_ci_upper),
                (found.p, one.pvalue),
                (found.relative.value, one.rel_effect_size),
            )
            most[name] = max(most[name], *(abs(a - b) / max(abs(b), 1e-12) for a, b in pairs))
    return {"version": tt.__version__, "tests": count, "largest_difference": most}


def targeted(lake: Lake, count: int, seed: int) -> dict[str, Any]:
    """Targeted campaigns of the bank drawn anew: AIPW, Hájek and the plain difference against the true mean effect."""
    known = [one for one in known_campaigns(lake) if one.design == "targeted"]
    rng, told = np.random.default_rng(seed + 4), []
    with progress_bar("Targeting") as progress:
        for i in range(count):
            one = known[int(rng.integers(len(known)))]
            found, true = Predicted.of(drawn_anew(one, rng)).weighed(1), true_effect(one, 1)
            for name in ("aipw", "hajek", "naive"):
                effect = getattr(found, name)
                told.append((name, effect.low <= true <= effect.high, effect.value - true, effect.high - effect.low))
            progress(i + 1, count, "campaigns")
    frame = pl.DataFrame(told, schema=["name", "covered", "error", "width"], orient="row")
    error = float(np.sqrt(0.95 * 0.05 / count))
    rows = {}
    for name in ("aipw", "hajek", "naive"):
        part = frame.filter(pl.col("name") == name)
        covered, errors = float(part["covered"].to_numpy().mean()), part["error"].to_numpy()
        rows[name] = {
            "covered": covered,
            "z": (covered - 0.95) / error,
            "bias": float(errors.mean()),
            "bias_error": float(errors.std() / np.sqrt(count)),
            "width": float(part["width"].to_numpy().mean()),
        }
    return {"campaigns": count, "designs": len(known), "standard_error": error, "estimates": rows}


def _binary(successes: int, trials: int) -> Moments:
    """Moments of an outcome that is a yes or a no."""
    share = successes / trials
    return Moments(trials, share, 0.0, trials * share * (1 - share), 0.0, 0.0)


def _correlated(rng: np.random.Generator, correlation: float, shift: float) -> Moments:
    x = rng.gamma(4.0, 5.0, SIZE)
    noise = rng.gamma(4.0, 5.0, SIZE)
    return Moments.of(correlation * x + np.sqrt(1 - correlation**2) * noise + shift, x)


def _holds(found: Comparison, true: float) -> bool:
    return bool(found.difference.low <= true <= found.difference.high)


def _page(results: dict[str, Any]) -> str:
    lines: list[str] = []
    if "tests" in results:
        found = results["tests"]
        lines += [
            f"{found['tests']:,} simulated tests. Asked for: within two standard errors "
            f"({200 * found['standard_error']:.2f} points) of 95 %.",
            "",
            "| interval | covered | standard errors from 95 % |",
            "|---|---|---|",
        ]
        lines += [f"| {name} | {one['covered']:.2%} | {one['z']:+.1f} |" for name, one in found["coverage"].items()]
        told = ", ".join(f"{name} {p:.3f}" for name, p in found["kolmogorov_smirnov_p"].items())
        lines += ["", f"p-values of tests without an effect against uniform (Kolmogorov-Smirnov p): {told}."]
    if "looking" in results:
        found = results["looking"]
        lines += [
            "",
            f"{found['tests']:,} tests without an effect, each looked at {found['looks']} times: an alarm at any look "
            f"in {found['always_valid']:.2%} with the always-valid interval, in {found['plain']:.1%} with the plain.",
        ]
    if "cuped" in results:
        lines += ["", "| correlation | 1 − ρ² | variance that CUPED left | ratio |", "|---|---|---|---|"]
        for one in results["cuped"]:
            lines.append(
                f"| {one['correlation']} | {one['expected']:.4f} | {one['found']:.4f} | "
                f"{one['found'] / one['expected']:.4f} |"
            )
    if "tea" in results:
        found = results["tea"]
        told = ", ".join(f"{name} {value:.1e}" for name, value in found["largest_difference"].items())
        lines += [
            "",
            f"Largest relative difference from tea-tasting {found['version']} over {found['tests']} tests (difference, "
            f"interval, p, relative effect): {told}.",
        ]
    if "targeted" in results:
        found = results["targeted"]
        lines += [
            "",
            f"{found['campaigns']:,} targeted campaigns of the synthetic bank ({found['designs']} of them, arms and "
            "outcomes drawn anew from the response model, with the logged chances). Asked for: AIPW within two "
            f"standard errors ({200 * found['standard_error']:.2f} points) of 95 %.",
            "",
            "| estimate | covered | standard errors from 95 % | bias, points | width, points |",
            "|---|---|---|---|---|",
        ]
        for name, one in found["estimates"].items():
            lines.append(
                f"| {name} | {one['covered']:.2%} | {one['z']:+.1f} | {100 * one['bias']:+.3f} ± "
                f"{196 * one['bias_error']:.3f} | {100 * one['width']:.2f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
