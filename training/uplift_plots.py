"""Plots of uplift: the served ranking's Qini curve with its band, those of the learners, deciles."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recsys.pages.svg import COLOURS, INK, one_plot, svg

LEARNER_NAMES = {"s": "S-learner", "t": "T-learner", "x": "X-learner", "dr": "DR-learner"}


def learner_name(key: str) -> str:
    """`x with the embedding` → `X-learner with the embedding`."""
    first, _, rest = key.partition(" ")
    return f"{LEARNER_NAMES.get(first, first)}{' ' + rest if rest else ''}"


def pictures_of(content: Mapping[str, Any]) -> dict[str, str]:
    """SVG elements by name."""
    curves = {name: one["curve"] for name, one in content["learners"].items()}
    return {
        "served": _curves({content["learner"]: content["served"]["curve"]}, "uplift-served"),
        "learners": _curves(curves, "uplift-learners"),
        "deciles": _deciles(content["deciles"]),
    }


def _curves(curves: Mapping[str, Mapping[str, Sequence[float]]], key: str) -> str:
    figure, axes = one_plot(7.2, 3.8)
    for place, (name, told) in enumerate(curves.items()):
        share = np.linspace(0, 100, len(told["value"]))
        colour = COLOURS[place % len(COLOURS)]
        low, high, value = (100 * np.array(told[part]) for part in ("low", "high", "value"))
        axes.fill_between(share, low, high, color=colour, alpha=0.16 if len(curves) == 1 else 0.08, lw=0)
        axes.plot(share, value, color=colour, lw=1.8, label=learner_name(name))
        if place == 0:
            axes.plot([0, 100], [0, value[-1]], "--", color=INK, lw=1, alpha=0.7, label="at random")
    axes.set_xlabel("customers targeted, highest expected effect first (%)")
    axes.set_ylabel("outcomes gained per 100 contacted")
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="best")
    return svg(figure, key)


def _deciles(groups: Sequence[Mapping[str, Any]]) -> str:
    figure, axes = one_plot(7.2, 3.4)
    for place, group in enumerate(groups, start=1):
        if group["shown"] is not None:
            value, low, high = (100 * part for part in group["shown"])
            axes.plot([place, place], [low, high], color=COLOURS[0], lw=1.8)
            axes.plot(place, value, "o", color=COLOURS[0], ms=5, label="shown" if place == 1 else None)
        predicted = 100 * group["predicted"]
        axes.plot([place - 0.3, place + 0.3], [predicted] * 2, color=COLOURS[1], lw=2.4,
                  label="predicted" if place == 1 else None)  # fmt: skip
    axes.axhline(0, color=INK, lw=0.8, alpha=0.6)
    axes.set_xticks(range(1, len(groups) + 1))
    axes.set_xlabel("tenth of the customers, highest predicted effect first")
    axes.set_ylabel("effect, points")
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="best")
    return svg(figure, "uplift-deciles")
