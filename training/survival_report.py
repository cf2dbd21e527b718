"""Survival in the report of churn: how good it is on the test customers, beside Kaplan-Meier, and its plot."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import PercentFormatter

from recsys.bootstrap import Interval, bootstrap_many, paired_bootstrap_many
from recsys.bundle.survival import Survival
from recsys.churn.config import ChurnConfig
from recsys.churn.survival_examples import survival_days
from recsys.features.definition import FeatureDefinition
from recsys.lake.parts import BucketReader
from recsys.pages.page import figure
from recsys.pages.svg import COLOURS, INK, one_plot, svg
from recsys.progress import Progress
from recsys.segment_cards.labels import percent
from recsys.segment_cards.suppression import FEWEST
from recsys.survival import brier_scores, concordance, integrated, kaplan_meier, survival_calibration
from training.segment_tables import HIDDEN, table
from training.survival_rows import survival_rows

GROUPS = 8
"""Groups of customers by risk at most."""
SAMPLES = 200
"""Bootstrap samples of the concordance."""
Content = Mapping[str, Any]
SAID = (
    "Predicted and real share of customers who are still there, in groups with about equally many leavers. On the "
    "dashed line the prediction is right. Bars are a joint 95 % band over the groups of a horizon."
)
LEAD = (
    "Test customers, followed from the day on which the longest horizon could begin. Training saw other customers, in "
    "part in the same months."
)


def survival_content(
    survival: Survival | None,
    config: ChurnConfig,
    definition: FeatureDefinition,
    reader: BucketReader,
    until: Any,
    seed: int,
    progress: Progress,
) -> dict[str, Any] | None:
    """What the report says of survival; None for a bundle without it, or too few test customers who left or stayed."""
    if survival is None or config.survival is None:
        return None
    told, time, event = [], [], []
    for _, rows in survival_rows(config, reader, definition, "test", until, progress):
        told.append(survival.survival(rows).astype(np.float64))
        time.append(rows["time"].to_numpy().astype(np.float64))
        event.append(rows["event"].to_numpy())
    if not told:
        return None
    said, months, left = np.concatenate(told), np.concatenate(time), np.concatenate(event)
    if min(left.sum(), (~left).sum()) < 2 * FEWEST:
        return None
    horizons = survival.about.horizons_months
    return {
        "days": [str(day) for day in survival_days(config, until)[0]["test"]],
        "customers": len(months),
        "left": int(left.sum()),
        "horizons_months": list(horizons),
        **survival_measures(months, left, said, horizons, seed),
        "calibration": {f"{m}m": _calibration(months, left, said[:, h], m) for h, m in enumerate(horizons)},
    }


def survival_measures(
    time: np.ndarray, event: np.ndarray, told: np.ndarray, horizons: Sequence[int], seed: int, samples: int = SAMPLES
) -> dict[str, Any]:
    """`concordance` and `integrated_brier` of survival [N, H], that of Kaplan-Meier, which knows no customer, and how
    far the model is below it, each with its 95 % interval."""
    rng, drawn = np.random.default_rng(seed), []
    risk = -told[:, -1]
    for _ in range(samples):
        rows = rng.integers(0, len(time), len(time))
        drawn.append(concordance(time[rows], event[rows], risk[rows]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    curve = kaplan_meier(time, event)
    flat = np.tile([curve.at(float(months)) for months in horizons], (len(time), 1))
    briers = {
        name: np.asarray(integrated(brier_scores(time, event, said, horizons)["rows"], horizons))
        for name, said in (("integrated_brier", told), ("integrated_brier_of_kaplan_meier", flat))
    }
    ours, plain = briers.values()
    difference = paired_bootstrap_many({"below": plain}, {"below": ours}, seed=seed)["below"]
    found = {"concordance": Interval(concordance(time, event, risk), float(low), float(high))}
    found |= bootstrap_many(briers, seed=seed) | {"below_kaplan_meier": difference}
    return {name: vars(one) for name, one in found.items()}


def risk_groups(event: np.ndarray, survival: np.ndarray, most: int = GROUPS) -> np.ndarray:
    """int64 [N] from 0, the most at risk: groups with about equally many leavers, at least `FEWEST` each."""
    order = np.argsort(survival, kind="stable")
    total = int(event.sum())
    groups = max(1, min(most, total // FEWEST))
    before = np.cumsum(event[order]) - event[order]
    found = np.empty(len(order), dtype=np.int64)
    found[order] = np.minimum(before * groups // max(1, total), groups - 1)
    return found


def _calibration(time: np.ndarray, event: np.ndarray, survival: np.ndarray, months: int) -> list[dict[str, float]]:
    """Groups by risk; what is observed of fewer than ten who left, or stayed, by the horizon is left out."""
    groups = risk_groups(event, survival)
    found = survival_calibration(time, event, survival, months, groups)
    for entry in found:
        inside = groups == entry["group"]
        left = int((event[inside] & (time[inside] <= months)).sum())
        if min(left, int(inside.sum()) - left) < FEWEST:
            for key in ("observed", "low", "high"):
                del entry[key]
    return found


def survival_picture(content: Content) -> str | None:
    """Calibration at each horizon as SVG; None where nothing may be shown."""
    figure_, axes = one_plot(5.4, 4.4)
    least = 1.0
    for (name, entries), colour in zip(content["calibration"].items(), COLOURS, strict=False):
        shown = [entry for entry in entries if "observed" in entry]
        if not shown:
            continue
        said, real, low, high = (np.array([e[k] for e in shown]) for k in ("predicted", "observed", "low", "high"))
        bars = [np.maximum(real - low, 0), np.maximum(high - real, 0)]
        label = f"after {name.removesuffix('m')} months"
        axes.errorbar(said, real, yerr=bars, fmt="o", color=colour, capsize=3, markersize=4, lw=1.2, label=label)
        least = min(least, float(low.min()), float(said.min()))
    if least == 1.0:
        return None
    start = max(0.0, least - 0.03)
    axes.plot((start, 1), (start, 1), color=INK, linestyle="--", linewidth=1, alpha=0.7)
    axes.set_xlabel("predicted to be still there")
    axes.set_ylabel("still there (Kaplan-Meier)")
    axes.legend(frameon=False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    return svg(figure_, "churn-survival")


def survival_section(content: Content) -> str:
    """Tables and the plot (HTML)."""
    rows = [
        ("Concordance", _interval(content["concordance"], "{:.3f}"), "0.5 by chance"),
        (
            "Integrated Brier score",
            _interval(content["integrated_brier"], "{:.4f}"),
            f"{content['integrated_brier_of_kaplan_meier']['value']:.4f} for Kaplan-Meier, which knows no customer; "
            f"below it by {_interval(content['below_kaplan_meier'], '{:.4f}')}",
        ),
    ]
    said = f"<p>{LEAD} {content['customers']:,} seen from {', '.join(content['days'])}; {content['left']:,} left.</p>"
    picture = survival_picture(content)
    drawn = figure(picture, SAID) if picture else ""
    return said + table(("Measure", "Value", "Beside it"), rows) + drawn + _groups(content)


def _groups(content: Content) -> str:
    name = f"{content['horizons_months'][-1]}m"
    rows = []
    for entry in content["calibration"][name]:
        shown = "observed" in entry
        real = (
            f"{percent(entry['observed'])} ({percent(entry['low'])} to {percent(entry['high'])})" if shown else HIDDEN
        )
        rows.append((f"{int(entry['group']) + 1}", f"{entry['customers']:,.0f}", percent(entry["predicted"]), real))
    head = ("Group, most at risk first", "Customers", "Predicted", f"Still there after {name.removesuffix('m')} months")
    return table(head, rows, numbers=(1,))


def _interval(found: Content, form: str) -> str:
    span = f"{form.format(found['low'])} to {form.format(found['high'])}"
    return f"{form.format(found['value'])} <span class='soft small'>({span})</span>"
