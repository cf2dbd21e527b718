"""Plots of campaigns: the funnel, effects by campaign, arm and segment, and how likely a return is exceeded."""

from collections.abc import Mapping, Sequence
from typing import Any

from recsys.pages.svg import COLOURS, INK, one_plot, svg

Row = Mapping[str, Any]
GREEN, RED, GREY = COLOURS[2], COLOURS[7], COLOURS[9]
MOST = 40


def funnel(stages: Sequence[tuple[str, Row]]) -> str:
    """Each stage's share of the customers it is known of, with its interval and the numbers behind it."""
    figure, axes = one_plot(7.6, 0.9 + 0.52 * len(stages))
    for place, (_, row) in enumerate(reversed(stages)):
        share = 100 * row["value"]
        axes.barh(place, share, color=COLOURS[0], alpha=0.75, height=0.62)
        if row["low"] is not None:
            axes.plot([100 * row["low"], 100 * row["high"]], [place, place], color=INK, lw=1.3)
        numbers = f"{row['numerator']['value']:,.0f} of {row['denominator']['value']:,.0f}"
        at = 100 * (row["high"] if row["high"] is not None else row["value"])
        axes.text(at + 1.5, place, f"{share:.1f} %  ({numbers})", va="center", fontsize=9, color=INK)
    axes.set_yticks(range(len(stages)), [text for text, _ in reversed(stages)])
    axes.set_xlim(0, 128)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("share, per cent")
    return svg(figure, "funnel")


def effects(rows: Sequence[tuple[str, Row, bool | None]], key: str, scale: float, unit: str) -> str:
    """Effects with their intervals; green or red where it is clear, grey where it cannot be told."""
    rows = rows[:MOST]
    figure, axes = one_plot(8.2, 1.0 + 0.3 * len(rows))
    for place, (_, row, clear) in enumerate(reversed(rows)):
        colour = GREY if not clear else GREEN if row["value"] > 0 else RED
        if row["low"] is not None:
            axes.plot([scale * row["low"], scale * row["high"]], [place, place], color=colour, lw=2)
        axes.plot(scale * row["value"], place, "o", color=colour, ms=5)
    axes.axvline(0, color=INK, lw=0.8, alpha=0.6)
    axes.set_yticks(range(len(rows)), [text if len(text) < 46 else text[:45] + "…" for text, _, _ in reversed(rows)])
    axes.set_xlabel(unit)
    return svg(figure, key)


def acceptability(curves: Sequence[tuple[str, Sequence[Sequence[float]]]]) -> str:
    """P(incremental ROI > r) against r, a line for each campaign."""
    figure, axes = one_plot(7.6, 3.4)
    for place, (name, points) in enumerate(curves):
        alone = len(curves) <= 6
        axes.plot(
            [r for r, _ in points], [100 * p for _, p in points], "o-", ms=3, lw=1.6,
            color=COLOURS[place % len(COLOURS)], label=name if alone else None, alpha=0.9 if alone else 0.45,
        )  # fmt: skip
    axes.axhline(95, color=INK, lw=0.8, ls="--", alpha=0.5)
    axes.axvline(0, color=INK, lw=0.8, alpha=0.5)
    axes.set_ylim(-3, 103)
    axes.set_xlabel("incremental ROI asked for (0: costs are covered)")
    axes.set_ylabel("chance that it is exceeded, %")
    if len(curves) <= 6:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    return svg(figure, "acceptability")
