"""Plots of segments as inline SVG, readable on light and on dark pages."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch, RegularPolygon
from matplotlib.ticker import MaxNLocator

from recsys.pages.svg import COLOURS, INK, one_plot, svg

FEWEST = 10
"""Customers in a hexagon of a map that is drawn."""
SPLIT = LinearSegmentedColormap.from_list("split", ["#2166ac", "#92c5de", "#f4f4f4", "#f4a582", "#b2182b"])
FILL = LinearSegmentedColormap.from_list("fill", ["#f4f4f4", "#9ecae1", "#2166ac"])


def silhouette_curve(points: Sequence[dict[str, Any]], chosen: int) -> str:
    """Silhouette over the number of segments, a line for each algorithm; points have `algorithm`, `k`, `silhouette`."""
    figure, axes = one_plot(7, 3.6)
    names = sorted({str(point["algorithm"]) for point in points})
    for place, name in enumerate(names):
        line = sorted((p["k"], p["silhouette"]) for p in points if p["algorithm"] == name)
        label = name.replace("_", " ")
        axes.plot(*zip(*line, strict=True), marker="o", markersize=4, color=_colour(place), linewidth=1.6, label=label)
    axes.axvline(chosen, color=INK, linestyle=":", linewidth=1)
    axes.annotate(f"chosen: {chosen}", (chosen, 1.01), xycoords=("data", "axes fraction"), ha="center", color=INK)
    least, most = (choose(p["silhouette"] for p in points) for choose in (min, max))
    axes.set_ylim(min(0.0, 1.1 * least), max(0.1, 1.12 * most))
    axes.set_xlabel("number of segments")
    axes.set_ylabel("silhouette")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(names) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return svg(figure, "silhouette-curve")


def silhouette_diagram(silhouettes: Sequence[np.ndarray], names: Sequence[str]) -> str:
    """For each segment the spread of its customers' silhouettes [n], largest first, as a hundred quantiles."""
    figure, axes = one_plot(7, 0.6 + 0.62 * len(names))
    every = np.concatenate([s for s in silhouettes if len(s)]) if any(map(len, silhouettes)) else np.zeros(1)
    for k, values in enumerate(silhouettes):
        base = len(names) - 1 - k
        if len(values) >= FEWEST:
            heights = np.linspace(0, 1, 100)
            axes.fill_betweenx(base + 0.06 + 0.82 * heights, 0, np.quantile(values, heights), color=_colour(k), lw=0)
    axes.axvline(every.mean(), color=INK, linestyle="--", linewidth=1)
    axes.annotate(
        f"mean {every.mean():.2f}", (every.mean(), 1.01), xycoords=("data", "axes fraction"), ha="center", color=INK
    )
    axes.set_yticks([len(names) - 0.55 - k for k in range(len(names))], [_short(name) for name in names])
    axes.set_ylim(0, len(names))
    axes.set_xlabel("silhouette of a customer")
    axes.tick_params(axis="y", length=0)
    return svg(figure, "silhouette-diagram")


def embedding_map(points: np.ndarray, index: np.ndarray, names: Sequence[str], key: str, size: int = 34) -> str:
    """float [n, 2] points as hexagons, coloured by the most frequent segment; hexagons of fewer than ten are left out.

    The paler a hexagon, the more its customers are divided between segments.
    """
    figure, axes = one_plot(7, 5.2)
    low, high = np.quantile(points, [0.005, 0.995], axis=0)
    inside = ((points >= low) & (points <= high)).all(axis=1)
    points, index = (points[inside] - low) / np.maximum(high - low, 1e-12), index[inside]
    for (x, y), here in _hexagons(points, index, size).items():
        counts = np.bincount(here, minlength=len(names))
        most = int(counts.argmax())
        strength = 0.25 + 0.75 * (counts[most] / counts.sum() - 0.3) / 0.7
        hexagon = RegularPolygon((x, y), 6, radius=0.62 / size, color=_colour(most), lw=0)
        hexagon.set_alpha(float(np.clip(strength, 0.2, 1)))
        axes.add_patch(hexagon)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_frame_on(False)
    handles = [Patch(color=_colour(k), label=_short(name, 44)) for k, name in enumerate(names)]
    axes.legend(
        handles=handles, frameon=False, fontsize=9, labelcolor=INK, ncols=2, loc="upper center", bbox_to_anchor=(0.5, 0)
    )
    return svg(figure, f"map-{key}")


def _hexagons(points: np.ndarray, index: np.ndarray, size: int) -> dict[tuple[float, float], np.ndarray]:
    """Centre → the segments of its points, for hexagons with at least ten."""
    width, height = 1 / size, np.sqrt(3) / 2 / size
    row = np.round(points[:, 1] / height).astype(int)
    column = np.round(points[:, 0] / width - 0.5 * (row % 2)).astype(int)
    places, inverse = np.unique(np.stack([column, row], axis=1), axis=0, return_inverse=True)
    found = {}
    for place, (c, r) in enumerate(places):
        here = index[inverse.reshape(-1) == place]
        if len(here) >= FEWEST:
            found[(float((c + 0.5 * (r % 2)) * width), float(r * height))] = here
    return found


def heat_map(effects: np.ndarray, features: Sequence[str], names: Sequence[str]) -> str:
    """Segments × features: difference from all customers in standard deviations [K, F], NaN where hidden."""
    figure, axes = one_plot(2.6 + 0.95 * len(names), 1.6 + 0.3 * len(features))
    bound = 2.0
    _cells(axes, effects.T, SPLIT, -bound, bound)
    for f in range(len(features)):
        for k in range(len(names)):
            value = effects[k, f]
            text = "·" if np.isnan(value) else f"{value + 0.0 if abs(value) >= 0.05 else 0.0:+.1f}"
            colour = INK if np.isnan(value) else _on(SPLIT((value + bound) / (2 * bound)))
            axes.text(k, f, text, ha="center", va="center", color=colour, fontsize=8)
    _ticks(axes, names, features)
    return svg(figure, "heat-map")


def radar(effects: np.ndarray, features: Sequence[str], names: Sequence[str]) -> str:
    """One small radar for each segment: its difference from all customers [K, F], the ring marks no difference."""
    columns = 2 if len(names) in (2, 4) else min(3, len(names))
    rows = -(-len(names) // columns)
    apart = ConstrainedLayoutEngine(h_pad=0.15)
    figure = Figure(figsize=(3.9 * columns, 3.7 * rows), layout=apart)
    angles = np.linspace(0, 2 * np.pi, len(features), endpoint=False)
    around = np.append(angles, angles[:1])
    for k, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, k + 1, projection="polar")
        values = np.nan_to_num(effects[k]).clip(-2, 2)
        axes.plot(np.linspace(0, 2 * np.pi, 100), np.zeros(100), color=INK, lw=0.8, alpha=0.6)
        axes.fill(around, np.append(values, values[:1]), color=_colour(k), alpha=0.35, lw=0)
        axes.plot(around, np.append(values, values[:1]), color=_colour(k), lw=1.6)
        axes.set_ylim(-2.2, 2.2)
        axes.set_xticks(angles, [_wrapped(f, 15) for f in features], fontsize=7, color=INK)
        axes.set_yticks([-2, 0, 2], ["", "", ""])
        axes.grid(color=INK, alpha=0.2, lw=0.6)
        axes.spines["polar"].set_visible(False)
        axes.patch.set_alpha(0)
        axes.set_title(_wrapped(name, 34), fontsize=9, color=INK, pad=12)
    return svg(figure, "radar")


def migration(shares: np.ndarray, counts: np.ndarray, rows: Sequence[str], names: Sequence[str]) -> str:
    """From rows (the earlier day) to columns (now): shares of a row [R, K] and customers, NaN where hidden."""
    figure, axes = one_plot(2.8 + 1.05 * len(names), 1.5 + 0.5 * len(rows))
    _cells(axes, shares, FILL, 0, 1)
    for r in range(len(rows)):
        for k in range(len(names)):
            if np.isnan(shares[r, k]):
                axes.text(k, r, "hidden", ha="center", va="center", color=INK, fontsize=7, alpha=0.7)
                continue
            text = f"{shares[r, k]:.0%}\n{counts[r, k]:,.0f}"
            axes.text(k, r, text, ha="center", va="center", color=_on(FILL(shares[r, k])), fontsize=8)
    _ticks(axes, names, rows)
    axes.set_ylabel("then")
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("now")
    return svg(figure, "migration")


def _cells(axes: Axes, values: np.ndarray, colours: LinearSegmentedColormap, low: float, high: float) -> None:
    """A table of colours, the first row on top; nothing where a value is NaN."""
    rows, columns = (np.arange(n + 1) - 0.5 for n in values.shape)
    shown = np.ma.masked_invalid(values)
    axes.pcolormesh(columns, rows, shown, cmap=colours, vmin=low, vmax=high, edgecolors="none")
    axes.invert_yaxis()


def _ticks(axes: Axes, columns: Sequence[str], rows: Sequence[str]) -> None:
    """Names of columns above a table of colours, of rows beside it."""
    axes.set_xticks(range(len(columns)), [_wrapped(name, 15) for name in columns], fontsize=8)
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(rows)), [_short(row, 46) for row in rows], fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _colour(k: int) -> str:
    return COLOURS[k % len(COLOURS)]


def _on(colour: Any) -> str:
    """Black or white, whichever is readable on a colour."""
    red, green, blue = to_rgb(colour)
    return "#111111" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.55 else "#ffffff"


def _short(text: str, most: int = 38) -> str:
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def _wrapped(text: str, width: int) -> str:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines[:4])
