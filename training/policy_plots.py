"""The plot of a policy's value: every estimator with its interval, beside what the log earned."""

from collections.abc import Mapping
from typing import Any

from recsys.campaigns.ope.estimators import TITLES
from recsys.pages.svg import COLOURS, INK, one_plot, svg


def values(
    estimates: Mapping[str, Mapping[str, Any]], logged_value: float, chosen: str, unit: str, scale: float
) -> str:
    """A point and an interval for each estimator; the one that decides is in colour, the logged value is a line."""
    figure, axes = one_plot(7.6, 0.9 + 0.42 * len(estimates))
    names = list(estimates)
    for place, name in enumerate(reversed(names)):
        one, colour = estimates[name], COLOURS[0] if name == chosen else COLOURS[9]
        axes.plot([one["low"] * scale, one["high"] * scale], [place, place], color=colour, lw=2)
        axes.plot(one["value"] * scale, place, "o", color=colour, ms=6)
    axes.axvline(logged_value * scale, color=INK, lw=1, ls="--", alpha=0.7)
    axes.set_yticks(range(len(names)), [TITLES[name] for name in reversed(names)])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlabel(f"value of the policy, {unit}; dashed: what the log earned")
    return svg(figure, "policy-values")
