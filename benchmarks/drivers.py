"""Drivers: does the randomised tier cover the true effects of simulated campaigns; what three public sets show."""

import json
from typing import Any

import numpy as np
import polars as pl

from benchmarks.measure import ROOT, arguments, imported, synthetic_bank, write
from benchmarks.simulated_campaigns import Known, drawn_anew, known_campaigns, true_effect
from recsys.drivers.columns import Columns, Contrast
from recsys.drivers.effects import Effect, difference, observed
from recsys.drivers.randomised import arms_of, pooled_effect
from recsys.lake.store import Lake
from recsys.progress import progress_bar
from recsys.segment_cards.labels import Labels
from recsys.synthetic.campaigns import CAMPAIGNS
from training.driver_adjusted import compare
from training.driver_report import Asked, explain

SETS = {
    "hillstrom": Asked("visited", randomised="email=No E-Mail"),
    "digital_marketing": Asked("converted"),
    "uci_bank_marketing": Asked("subscribed"),
}
"""Catalog, which is the folder too, and what is asked of it."""
LISTED = 8


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--campaigns", type=int, default=2_000, help="simulated campaigns")
    parser.add_argument("--customers", type=int, default=20_000, help="of the synthetic bank")
    parser.add_argument(
        "--only",
        nargs="*",
        default=["coverage", "adjusted", "bank", *SETS],
        help="parts to run; the others stay as they were measured last",
    )
    options = parser.parse_args()
    before = ROOT / "benchmarks" / "drivers.json"
    results: dict[str, Any] = json.loads(before.read_text()) if before.exists() else {}
    if {"coverage", "bank"} & set(options.only):
        lake = synthetic_bank(options.customers, 0, options.work, buckets=8)
    if "coverage" in options.only:
        results["coverage"] = coverage(lake, options.campaigns)
    if "adjusted" in options.only:
        results["adjusted"] = simulated_adjusted(300)
    if "bank" in options.only:
        results["bank"] = against_truth(lake)
    for name in (name for name in SETS if name in options.only):
        found = imported(name, options.datasets, name, options.work)
        with progress_bar(name) as progress:
            results[name] = explain(found, SETS[name], progress)
    kept = {name: _kept(found) for name, found in results.items()}
    write("drivers", "Drivers", _page(kept), kept)


def simulated_adjusted(runs: int, rows: int = 4_000) -> dict[str, float]:
    """Cross-sections whose treatment goes with three of six columns that also drive the outcome; all are known."""
    told = []
    with progress_bar("Adjusting") as progress:
        for seed in range(runs):
            rng = np.random.default_rng(seed)
            x = rng.normal(size=(rows, 6))
            chance = 1 / (1 + np.exp(-(0.9 * x[:, 0] + 0.6 * x[:, 1] * (x[:, 2] > 0) - 0.2)))
            taken = (rng.random(rows) < chance).astype(float)
            gain = 0.04 + 0.04 * (x[:, 0] > 0)
            base = 0.12 + 0.12 * (x[:, 0] > 0) + 0.06 * (x[:, 1] > 0)
            outcome = (rng.random(rows) < base + gain * taken).astype(float)
            names = ("taken", *(f"x{i}" for i in range(6)))
            columns = Columns(names, np.column_stack([taken, x]), {}, frozenset({"taken"}), Labels({}, {}))
            found = compare(columns, Contrast("taken", "taken", "yes", "no"), outcome, np.arange(rows), seed)
            true = float(gain.mean())
            assert found.adjusted is not None
            covers = found.adjusted.low <= true <= found.adjusted.high
            told.append((found.adjusted.value - true, found.observed.value - true, covers))
            progress(seed + 1, runs, "cross-sections")
    errors = np.array(told, dtype=float)
    return {
        "runs": runs,
        "bias": float(errors[:, 0].mean()),
        "bias_error": float(errors[:, 0].std() / np.sqrt(runs)),
        "observed_bias": float(errors[:, 1].mean()),
        "coverage": float(errors[:, 2].mean()),
        "coverage_error": float(np.sqrt(errors[:, 2].mean() * (1 - errors[:, 2].mean()) / runs)),
    }


def coverage(lake: Lake, campaigns: int) -> dict[str, Any]:
    """Campaigns of the bank with arms and outcomes drawn anew, and how often the interval holds the true mean effect.

    Each has the customers, features and chances of a campaign of the bank; arms are drawn with the logged chances,
    outcomes with the response model's probabilities.
    """
    known = known_campaigns(lake)
    rng = np.random.default_rng(0)
    told = []
    with progress_bar("Simulating") as progress:
        for i in range(campaigns):
            one = known[int(rng.integers(len(known)))]
            effect, plain, true = simulated(one, rng)
            covers, naive = (bool(found.low <= true <= found.high) for found in (effect, plain))
            told.append((one.design, effect.value - true, effect.high - effect.low, covers, naive, true))
            progress(i + 1, campaigns, "campaigns")
    frame = pl.DataFrame(told, schema=["design", "error", "width", "covers", "naive", "true"], orient="row")
    return {name: _summary(part) for name, part in _parts(frame)}


def simulated(known: Known, rng: np.random.Generator) -> tuple[Effect, Effect, float]:
    """One campaign drawn anew: the randomised tier's effect, the plain difference, and the true mean effect."""
    again, size = drawn_anew(known, rng), len(known.trial.rows)
    asked = 1 + int(rng.integers(len(again.arms) - 1))
    effect = pooled_effect([arms_of(again, size)], again.customer, again.arms[asked])
    treated, untreated = (observed(again.outcome, again.arm == place) for place in (asked, 0))
    return effect, difference(treated, untreated, again.customer), true_effect(known, asked)


def against_truth(lake: Lake) -> dict[str, Any]:
    """The bank's own report, each randomised row with the true effect beside it."""
    with progress_bar("Bank") as progress:
        found = explain(lake, Asked("contacts.converted", campaigns="objective=sale", rows=10_000), progress)
    effects = pl.read_parquet(f"{lake.path}.truth/uplift.parquet").filter(pl.col("outcome") == "acquired")
    effects = effects.join(lake.read("contacts").select("contact_id", "channel"), on="contact_id")
    shares = pl.DataFrame(
        [
            (c.campaign_id, a, s / sum(c.shares[1:]))
            for c in CAMPAIGNS
            for a, s in zip(c.arms[1:], c.shares[1:], strict=True)
        ],
        schema=["campaign_id", "arm", "share"],
        orient="row",
    )
    effects = effects.join(shares, on=["campaign_id", "arm"])
    mixed = effects.group_by("contact_id", "channel").agg((pl.col("effect") * pl.col("share")).sum())
    true = {"being contacted": float(mixed["effect"].mean())}  # type: ignore[arg-type]
    true |= {
        f"being contacted by {c}": float(e) for c, e in mixed.group_by("channel").agg(pl.col("effect").mean()).rows()
    }
    for arm in ("personalised", "standard"):
        true[f"the arm {arm}"] = float(effects.filter(pl.col("arm") == arm)["effect"].mean())  # type: ignore[arg-type]
    found["truth"] = {row["text"]: true[row["text"]] for row in found["drivers"] if row["randomised"]}
    return found


def _parts(frame: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    by = [(str(name), part) for (name,), part in frame.sort("design").group_by("design", maintain_order=True)]
    return [("all", frame), *by]


def _summary(part: pl.DataFrame) -> dict[str, float]:
    return {
        "campaigns": part.height,
        "coverage": float(part["covers"].mean()),  # type: ignore[arg-type]
        "coverage_error": float(np.sqrt(part["covers"].mean() * (1 - part["covers"].mean()) / part.height)),  # type: ignore[operator]
        "plain_coverage": float(part["naive"].mean()),  # type: ignore[arg-type]
        "bias": float(part["error"].mean()),  # type: ignore[arg-type]
        "bias_error": float(part["error"].std() / np.sqrt(part.height)),  # type: ignore[operator]
        "width": float(part["width"].mean()),  # type: ignore[arg-type]
        "true": float(part["true"].mean()),  # type: ignore[arg-type]
    }


def _page(results: dict[str, Any]) -> str:
    lines: list[str] = []
    if "coverage" in results:
        lines += [
            "## Simulated campaigns",
            "",
            "Each is a campaign of the synthetic bank with its customers, features and chances; who is contacted and "
            "what comes of it are drawn anew from its response model. Covered: the 95 % interval of the randomised "
            "tier holds the true mean effect. Asked for: 93 to 97 %. The plain difference of the arms is beside it.",
            "",
            "| design | campaigns | covered | plain difference | bias, points | true effect, points | width, points |",
            "|---|---|---|---|---|---|---|",
        ]
        for name, s in results["coverage"].items():
            lines.append(
                f"| {name} | {s['campaigns']:,} | {s['coverage']:.1%} ± {1.96 * s['coverage_error']:.1%} | "
                f"{s['plain_coverage']:.1%} | {100 * s['bias']:+.3f} ± {196 * s['bias_error']:.3f} | "
                f"{100 * s['true']:+.2f} | {100 * s['width']:.2f} |"
            )
    if "adjusted" in results:
        s = results["adjusted"]
        lines += [
            "",
            "## The adjusted tier where everything that matters is known",
            "",
            f"{s['runs']:,} simulated cross-sections of 4,000 customers, the effect about 6 points. Bias "
            f"{100 * s['bias']:+.2f} ± {196 * s['bias_error']:.2f} points (as observed "
            f"{100 * s['observed_bias']:+.2f}); the interval covers the truth in {s['coverage']:.1%} ± "
            f"{1.96 * s['coverage_error']:.1%}.",
        ]
    if "bank" in results:
        found = results["bank"]
        lines += ["", "## The bank's report beside the truth", "", "Effects in points, 95 % intervals.", ""]
        lines += ["| driver | true | randomised | adjusted | as observed |", "|---|---|---|---|---|"]
        for row in found["drivers"]:
            if row["randomised"]:
                cells = (row["randomised"], row["adjusted"], row["predictive"]["observed"])
                told = " | ".join(_points(cell) for cell in cells)
                lines.append(f"| {row['text']} | {100 * found['truth'][row['text']]:+.2f} | {told} |")
    for name in (name for name in ("bank", *SETS) if name in results):
        lines += ["", f"## {name}", "", *_set(results[name])]
    return "\n".join(lines)


def _set(found: dict[str, Any]) -> list[str]:
    each = {key: f"{v[0]:.3f} [{v[1]:.3f}, {v[2]:.3f}]" for key, v in found["validation"].items()}
    lines = [
        f"{found['outcome']['text']}: {found['units']:,} rows, {found['rate']:.1%}; models learned from "
        f"{found['learned_from']:,}. AUC of the black box {each['black_box']}, of the glass box {each['glass_box']}; "
        f"the glass box costs {each['cost']}.",
        "",
        "| driver | tier | effect, points | as observed | rank (90 % of splits) | warnings |",
        "|---|---|---|---|---|---|",
    ]
    clear = [row for row in found["drivers"] if row["direction"] != "unclear"]
    for row in clear[:LISTED]:
        rank = row["predictive"]["rank"]
        ranked = f"{rank[0]:.0f} ({rank[1]:.0f} to {rank[2]:.0f})" if rank else ""
        best = {"value": row["size"], "low": row["low"], "high": row["high"]}
        side = "" if row["side"] == "yes" else f": {row['side']}"
        plain = _points(row["predictive"]["observed"])
        lines.append(
            f"| {row['text']}{side} | {row['tier']} | {_points(best)} | {plain} | {ranked} | {len(row['warnings'])} |"
        )
    return [*lines, "", f"{len(clear)} of {len(found['drivers'])} rows are beyond chance."]


def _points(effect: dict[str, Any] | None) -> str:
    if not effect or effect.get("low") is None:
        return ""
    return f"{100 * effect['value']:+.2f} [{100 * effect['low']:+.2f}, {100 * effect['high']:+.2f}]"


def _kept(found: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in found.items() if name not in ("rates", "curves", "importances")}


if __name__ == "__main__":
    main()
