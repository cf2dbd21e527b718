"""Plots of drivers: sizes by tier, importances, the glass box's curves, rates by channel and hour."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from recsys.pages.svg import COLOURS, INK, one_plot, svg

TIER_COLOURS = {"randomised": COLOURS[2], "adjusted": COLOURS[0], "observed": COLOURS[9]}
FILL = LinearSegmentedColormap.from_list("fill", ["#f4f4f4", "#9ecae1", "#2166ac"])
ACROSS = 3

Row = Mapping[str, Any]


def sizes(rows: Sequence[Row]) -> str:
    """For each driver its effect in points with the interval: as observed, adjusted, randomised."""
    figure, axes = one_plot(8.6, 1.1 + 0.42 * len(rows))
    for place, row in enumerate(rows):
        found = {
            "randomised": row["randomised"],
            "adjusted": row["adjusted"],
            "observed": row["predictive"]["observed"],
        }
        for step, (tier, effect) in enumerate(found.items()):
            if effect and effect.get("low") is not None:
                y = len(rows) - 1 - place + 0.22 * (1 - step)
                ends = [100 * effect["low"], 100 * effect["high"]]
                axes.plot(ends, [y, y], color=TIER_COLOURS[tier], lw=1.8, alpha=0.45 if tier == "observed" else 1)
                axes.plot(100 * effect["value"], y, "o", color=TIER_COLOURS[tier], ms=4)
    axes.axvline(0, color=INK, lw=0.8, alpha=0.6)
    axes.set_yticks(range(len(rows)), [_short(f"{row['text']}: {row['side']}") for row in reversed(rows)])
    axes.set_xlabel("points of the outcome's rate")
    handles = [axes.plot([], [], "o-", color=colour, label=tier)[0] for tier, colour in TIER_COLOURS.items()]
    axes.legend(handles=handles, frameon=False, fontsize=9, labelcolor=INK, loc="lower center", ncols=3,
                bbox_to_anchor=(0.5, 1.0))  # fmt: skip
    return svg(figure, "driver-sizes")


def importances(rows: Sequence[Row]) -> str:
    """AUC lost when a column is shuffled, with its interval over splits."""
    figure, axes = one_plot(7.6, 0.9 + 0.3 * len(rows))
    for place, row in enumerate(reversed(rows)):
        value, low, high = (part or 0.0 for part in row["auc_lost"])
        axes.barh(place, value, color=COLOURS[0], alpha=0.75, height=0.62)
        axes.plot([low, high], [place, place], color=INK, lw=1.2)
    axes.axvline(0, color=INK, lw=0.8, alpha=0.6)
    axes.set_yticks(range(len(rows)), [_short(row["text"]) for row in reversed(rows)])
    axes.set_xlabel("AUC lost when shuffled")
    return svg(figure, "driver-importances")


def curves(told: Sequence[Row]) -> str:
    """What the glass box adds to the log-odds along each column."""
    down = -(-len(told) // ACROSS)
    figure = Figure(figsize=(3.1 * ACROSS, 2.5 * down), layout="constrained")
    for place, one in enumerate(told):
        axes = figure.add_subplot(down, ACROSS, place + 1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.patch.set_alpha(0)
        values = [point["log_odds"] for point in one["points"]]
        if one["words"]:
            axes.barh(range(len(values)), values[::-1], color=COLOURS[0], alpha=0.75)
            axes.set_yticks(range(len(values)), [_short(str(point["at"]), 16) for point in one["points"][::-1]])
            axes.axvline(0, color=INK, lw=0.7, alpha=0.6)
        else:
            axes.plot([point["at"] for point in one["points"]], values, color=COLOURS[0], lw=1.6, marker="o", ms=3)
            axes.axhline(0, color=INK, lw=0.7, alpha=0.6)
        axes.set_title(_short(one["text"], 36), fontsize=9, color=INK)
        axes.tick_params(colors=INK, labelsize=7)
        for spine in axes.spines.values():
            spine.set_color(INK)
    return svg(figure, "driver-curves")


def rate_map(told: Row) -> str:
    """Shrunk rates of two keys as a table of colours; hidden and absent cells are empty."""
    first, second = (sorted({row["value"][i] for row in told["rows"]}, key=_order) for i in (0, 1))
    values = np.full((len(first), len(second)), np.nan)
    for row in told["rows"]:
        if "shrunk" in row and row["shrunk"][0] is not None:
            values[first.index(row["value"][0]), second.index(row["value"][1])] = row["shrunk"][0]
    figure, axes = one_plot(2.4 + 0.62 * len(second), 1.1 + 0.42 * len(first))
    top = float(np.nanmax(values)) if not np.isnan(values).all() else 1.0
    edges = [np.arange(n + 1) - 0.5 for n in values.shape]
    axes.pcolormesh(edges[1], edges[0], np.ma.masked_invalid(values), cmap=FILL, vmin=0, vmax=top)
    for r, c in zip(*np.nonzero(~np.isnan(values)), strict=True):
        dark = values[r, c] > 0.6 * top
        axes.text(c, r, f"{values[r, c]:.1%}", ha="center", va="center", fontsize=7.5, color="#fff" if dark else "#111")
    axes.set_xticks(range(len(second)), second)
    axes.set_yticks(range(len(first)), first)
    axes.set_xlabel(told["text"][1])
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return svg(figure, f"driver-rates-{'-'.join(told['by'])}")


def _order(value: str) -> tuple[int, str]:
    return (int(value), "") if value.isdigit() else (0, value)


def _short(text: str, most: int = 52) -> str:
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"
