"""Plots of lifetime value: is it right, who still buys, and how value is spread."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FuncFormatter, PercentFormatter

from recsys.lifetime_value.model import ValueModel
from recsys.pages.svg import COLOURS, INK, one_plot, svg
from recsys.segment_cards.suppression import FEWEST
from training.value_gather import Gathered

if TYPE_CHECKING:
    from training.value import Judged

MODEL, REAL, PACE = COLOURS[0], COLOURS[1], COLOURS[2]
POINTS = 101
"""Of a curve of gains; a point is never a single customer."""


def pictures_of(
    content: Mapping[str, Any], found: Gathered, trained: ValueModel, model: ValueModel, judged: "Judged"
) -> dict[str, str]:
    """Plot → SVG, for those that there is something to draw of."""
    drawn = {"alive": alive(model, found)}
    if found.known.height >= 10 * FEWEST:
        drawn["tracking"] = tracking(found, trained)
        if judged.actual.sum() > 0:
            drawn["gains"] = gains(judged)
    for name in ("purchases", "money"):
        parts = content["holdout"].get(name, {}).get("deciles", [])
        if len(parts) > 1:
            drawn[f"deciles-{name}"] = decile_plot(parts, name, 1.0 if name == "purchases" else 100.0)
    if content["concentration"]:
        drawn["concentration"] = concentration(content["concentration"])
    return drawn


def decile_plot(parts: list[dict[str, Any]], name: str, scale: float) -> str:
    """Predicted and actual means of each part of the customers, with the joint intervals of the actual."""
    figure, axes = one_plot(7, 3.6)
    place = np.arange(1, len(parts) + 1)
    real, low, high, said = (
        np.array([p[key] for p in parts]) / scale for key in ("actual", "low", "high", "predicted")
    )
    axes.errorbar(
        place, real, yerr=[real - low, high - real], fmt="o", color=REAL, capsize=3, markersize=5, label="what happened"
    )
    axes.plot(place, said, marker="_", markersize=16, markeredgewidth=2.5, lw=0, color=MODEL, label="predicted")
    axes.set_xticks(place)
    axes.set_xlabel("customers by prediction, the lowest first")
    axes.set_ylabel("purchases a customer" if name == "purchases" else "money a customer")
    axes.set_ylim(bottom=min(0.0, float(low.min())))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="upper left")
    return svg(figure, f"deciles-{name}")


def tracking(found: Gathered, model: ValueModel) -> str:
    """Repeated purchases by week, as they were and as the model of the calibration days expects them."""
    figure, axes = one_plot(7, 3.6)
    days = len(found.repeats)
    ends = np.arange(7, days + 1, 7)
    starts = found.starts.copy()
    starts[(found.cut - found.first).days + 1 :] = 0  # those who came later are not predicted, nor is what they bought
    grown = model.bg_nbd.of_new(np.arange(days + 1) / model.unit)
    expected = np.convolve(starts, np.diff(grown, prepend=0.0))[:days]
    real = np.add.reduceat(found.repeats[: len(ends) * 7], ends - 7)
    said = np.add.reduceat(expected[: len(ends) * 7], ends - 7)
    weeks = np.arange(1, len(ends) + 1)
    axes.plot(weeks, real, color=REAL, lw=1.6, label="what happened")
    axes.plot(weeks, said, color=MODEL, lw=1.8, label="expected")
    axes.axvline(((found.cut - found.first).days + 1) / 7, color=INK, linestyle=":", lw=1)
    axes.annotate(
        "hold-out",
        (((found.cut - found.first).days + 1) / 7, 1.01),
        xycoords=("data", "axes fraction"),
        ha="left",
        color=INK,
        fontsize=9,
    )
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"weeks since {found.first}")
    axes.set_ylabel("repeated purchases")
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    return svg(figure, "tracking")


def alive(model: ValueModel, found: Gathered) -> str:
    """P(still buys) of the model by frequency and days of silence, for a customer of the median age."""
    figure, axes = one_plot(7, 3.4)
    age = float(found.known["age"].median() or 1)  # type: ignore[arg-type]
    silence = np.linspace(0, age, 121)
    often = max(2, int(found.known["frequency"].quantile(0.99) or 2))
    shown = sorted({1, 2, max(3, often // 4), max(4, often // 2), often})
    for place, count in enumerate(shown):
        chance = model.bg_nbd.alive(np.full(121, count), (age - silence) / model.unit, np.full(121, age / model.unit))
        label = "1 repeated purchase" if count == 1 else f"{count}"
        axes.plot(silence, chance, color=COLOURS[place], lw=1.8, label=label)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel(f"days since the last purchase, of a customer for {age:,.0f} days")
    axes.set_ylabel("chance to buy still")
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    return svg(figure, "alive")


def gains(judged: "Judged") -> str:
    """Share of what the hold-out brought that the best so many customers brought, by three orders."""
    figure, axes = one_plot(7, 3.8)
    for values, colour, label in (
        (judged.actual, REAL, "the right order"),
        (judged.predicted, MODEL, "the model's"),
        (judged.pace, PACE, "own pace so far"),
    ):
        brought = np.concatenate([[0.0], np.cumsum(judged.actual[np.argsort(-values, kind="stable")])])
        across = np.linspace(0, 1, POINTS)
        curve = np.interp(across, np.linspace(0, 1, len(brought)), brought / brought[-1])
        axes.plot(across, curve, color=colour, lw=1.8, label=label)
    axes.plot([0, 1], [0, 1], color=INK, lw=0.8, linestyle="--", alpha=0.6)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("customers, the most promising first")
    axes.set_ylabel("of what they brought")
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="lower right")
    return svg(figure, "gains")


def concentration(shares: list[float]) -> str:
    """Share of all value that each tenth of the customers has."""
    figure, axes = one_plot(7, 2.8)
    axes.bar(np.arange(1, len(shares) + 1), shares, color=MODEL)
    axes.set_xticks(np.arange(1, len(shares) + 1))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("tenths of the customers, the most valuable first")
    axes.set_ylabel("of all value")
    return svg(figure, "concentration")
