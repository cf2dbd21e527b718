"""Plots of the churn report: ranking, calibration, costs, tiers, what the model goes by."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from recsys.pages.svg import COLOURS, INK, one_plot, svg

MODEL, REAL = COLOURS[0], COLOURS[1]
GROUPS = 15
"""Groups of features that are drawn at most."""
Content = Mapping[str, Any]


def pictures_of(content: Content) -> dict[str, str]:
    """Plot → SVG, for those that there is something to draw of."""
    rate = content["left"] / content["customers"]
    drawn = {
        "roc": _curve(content["curves"]["roc"], "roc", "share of those who stay", "share of those who leave", "even"),
        "pr": _curve(content["curves"]["pr"], "pr", "share of those who leave", "of those named, who leave", rate),
        "gains": _curve(content["curves"]["gains"], "gains", "share of customers", "share of those who leave", "even"),
    }
    if len(content["reliability"]) > 1:
        drawn["reliability"] = reliability(content["reliability"])
    if content["threshold"].get("curve"):
        drawn["costs"] = costs(content["threshold"])
    if any("value" in tier for tier in content["tiers"]):
        drawn["tiers"] = tiers(content["tiers"], rate)
    if content["importance"]:
        drawn["importance"] = importance(content["importance"])
    if content["dependence"]:
        drawn["dependence"] = dependence(content["dependence"])
    return drawn


def _curve(points: Sequence[Sequence[float]], key: str, x: str, y: str, chance: float | str) -> str:
    """A curve in the unit square, beside what chance gives: the diagonal, or a level."""
    figure, axes = one_plot(4.6, 3.9)
    axes.plot(*zip(*points, strict=True), color=MODEL, linewidth=1.8)
    level = (0.0, 1.0) if isinstance(chance, str) else (chance, chance)
    axes.plot((0, 1), level, color=INK, linestyle="--", linewidth=1, alpha=0.7)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    return svg(figure, f"churn-{key}")


def reliability(bins: Sequence[Mapping[str, float]]) -> str:
    """Share that left beside the mean predicted, with intervals."""
    figure, axes = one_plot(4.6, 3.9)
    said, real, low, high = (np.array([b[key] for b in bins]) for key in ("predicted", "value", "low", "high"))
    most = 1.05 * float(max(high.max(), said.max()))
    axes.plot((0, most), (0, most), color=INK, linestyle="--", linewidth=1, alpha=0.7)
    axes.errorbar(said, real, yerr=[real - low, high - real], fmt="o", color=MODEL, capsize=3, markersize=4, lw=1.2)
    axes.set_xlim(0, most)
    axes.set_ylim(0, most)
    axes.set_xlabel("predicted")
    axes.set_ylabel("left")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    return svg(figure, "churn-reliability")


def costs(threshold: Content) -> str:
    """Mean cost of a customer over the threshold, and where it was put."""
    figure, axes = one_plot(6.6, 3.4)
    axes.plot(*zip(*threshold["curve"], strict=True), color=MODEL, linewidth=1.8, label="acting from here on")
    for name, style, key in (("nobody", ":", "cost_of_none"), ("everybody", "--", "cost_of_all")):
        axes.axhline(threshold[key], color=INK, linestyle=style, linewidth=1, label=f"acting on {name}")
    axes.axvline(threshold["probability"], color=REAL, linewidth=1.4, label="the threshold")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("probability")
    axes.set_ylabel("mean cost of a customer")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return svg(figure, "churn-costs")


def tiers(table: Sequence[Content], rate: float) -> str:
    """Share that left in each tier, with intervals, beside what was predicted."""
    shown = [tier for tier in table if "value" in tier]
    figure, axes = one_plot(5.6, 0.9 + 0.55 * len(shown))
    place = np.arange(len(shown))
    real, low, high = (np.array([tier[key] for tier in shown]) for key in ("value", "low", "high"))
    axes.barh(place, real, color=MODEL, height=0.55, label="left")
    axes.errorbar(real, place, xerr=[real - low, high - real], fmt="none", ecolor=INK, capsize=3, lw=1)
    axes.plot([t["predicted"] for t in shown], place, marker="D", lw=0, color=REAL, markersize=6, label="predicted")
    axes.axvline(rate, color=INK, linestyle=":", linewidth=1, label="all customers")
    axes.set_yticks(place, [str(tier["tier"]) for tier in shown])
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.tick_params(axis="y", length=0)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return svg(figure, "churn-tiers")


def importance(entries: Sequence[Content]) -> str:
    """Mean size of effect of each group of features, with its interval."""
    shown = entries[:GROUPS]
    figure, axes = one_plot(6.6, 0.9 + 0.3 * len(shown))
    place = np.arange(len(shown))
    value, low, high = (np.array([float(entry[key]) for entry in shown]) for key in ("effect", "low", "high"))
    axes.barh(place, value, color=MODEL, height=0.6)
    axes.errorbar(value, place, xerr=[value - low, high - value], fmt="none", ecolor=INK, capsize=2.5, lw=1)
    axes.set_yticks(place, [str(entry["group"]).replace("_", " ").replace(".", " ") for entry in shown])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("mean size of effect on the log-odds")
    return svg(figure, "churn-importance")


def dependence(found: Sequence[Content]) -> str:
    """One small plot for each column: the mean probability over its values."""
    columns = min(3, len(found))
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(3.3 * columns, 2.6 * rows), layout="constrained")
    most = 1.1 * max(point["high"] for one in found for point in one["points"])
    for i, one in enumerate(found):
        axes = figure.add_subplot(rows, columns, i + 1)
        _bare(axes)
        draw = _categories if one["kind"] == "category" else _numbers
        draw(axes, one["points"])
        axes.set_ylim(0, most)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_title(str(one["label"])[:44], fontsize=9, color=INK)
    return svg(figure, "churn-dependence")


def _numbers(axes: Axes, points: Sequence[Content]) -> None:
    values, mean, low, high = ([point[key] for point in points] for key in ("value", "mean", "low", "high"))
    axes.fill_between(values, low, high, color=MODEL, alpha=0.2, lw=0)
    axes.plot(values, mean, color=MODEL, linewidth=1.6, marker="o" if len(points) < 6 else "", markersize=4)
    axes.xaxis.set_major_locator(MaxNLocator(4))


def _categories(axes: Axes, points: Sequence[Content]) -> None:
    shown = sorted(points, key=lambda point: -point["mean"])[:8]
    place = np.arange(len(shown))
    mean = np.array([point["mean"] for point in shown])
    half = np.array([point["high"] for point in shown]) - mean
    axes.bar(place, mean, color=MODEL, width=0.6)
    axes.errorbar(place, mean, yerr=half, fmt="none", ecolor=INK, capsize=2, lw=1)
    axes.set_xticks(place, [str(point["value"])[:14] for point in shown], rotation=35, ha="right", fontsize=7)


def _bare(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(INK)
    axes.tick_params(colors=INK, labelsize=8)
