"""Plots of a search, as PNG files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from optuna.trial import FrozenTrial, TrialState

from training.search_space import SearchSpace, label
from training.tuning import Domain

MADE, GIVEN_UP, BEST, STANDS = "#2f6db3", "#9a9a9a", "#1d3557", "#d1495b"
"""Colours: complete trials, those given up, the best so far, the configuration as it stands."""

SLICED = (
    (TrialState.PRUNED, "x", GIVEN_UP, 16, "given up early, best epoch"),
    (TrialState.COMPLETE, "o", MADE, 16, "complete"),
)


def plot_history(path: Path, trials: Sequence[FrozenTrial], stands: FrozenTrial, metric: str) -> None:
    """Each trial's validation metric in the order made, and the best so far."""
    figure, axes = _one(7, 4)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    given_up = [trial for trial in trials if trial.state == TrialState.PRUNED and trial.intermediate_values]
    numbers, values = [trial.number for trial in complete], [_value(trial) for trial in complete]
    axes.scatter(numbers, values, s=28, color=MADE, label="complete", zorder=3)
    if given_up:
        reached = [max(trial.intermediate_values.values()) for trial in given_up]
        places = [trial.number for trial in given_up]
        axes.scatter(places, reached, s=28, marker="x", color=GIVEN_UP, label="given up early, best epoch", zorder=2)
    best = np.maximum.accumulate(values)
    ends = [*numbers, trials[-1].number], [*best, best[-1]]
    axes.step(*ends, where="post", color=BEST, linewidth=1.5, label="best so far")
    axes.axhline(_value(stands), color=STANDS, linestyle="--", linewidth=1, label="configuration as it stands")
    axes.set_xlabel("trial")
    axes.set_ylabel(f"{metric} on validation")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    figure.savefig(path)


def plot_importance(path: Path, weights: dict[str, float]) -> None:
    """Bars, the most important key on top."""
    figure, axes = _one(7, 0.9 + 0.36 * len(weights))
    keys = list(reversed(weights))
    bars = axes.barh(keys, [weights[key] for key in keys], color=MADE, height=0.65)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=9)
    axes.set_xlim(0, max(weights.values()) * 1.12 or 1)
    axes.set_xlabel("share of the differences between trials that the key explains")
    figure.savefig(path)


def plot_slices(
    path: Path, space: SearchSpace, trials: Sequence[FrozenTrial], stands: FrozenTrial, metric: str
) -> None:
    """For each key, the trials' metric over all of its values."""
    columns = min(3, len(space.domains))
    rows = -(-len(space.domains) // columns)
    figure = Figure(figsize=(max(6.4, 3.2 * columns), 0.5 + 2.5 * rows), dpi=150, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for unused in grid.flat[len(space.domains) :]:
        unused.set_visible(False)
    tried = [trial for trial in trials if trial.intermediate_values and trial.number != stands.number]
    for axes, (key, domain) in zip(grid.flat, space.domains.items(), strict=False):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(key, fontsize=9)
        axes.tick_params(labelsize=8)
        place = _axis(axes, domain, isinstance(space.own[key], int))
        for state, marker, colour, size, called in SLICED:
            shown = [trial for trial in tried if trial.state == state]
            reached = [max(trial.intermediate_values.values()) for trial in shown]
            places = [place(trial.params[key]) for trial in shown]
            axes.scatter(places, reached, s=size, marker=marker, color=colour, alpha=0.8, label=called)
        own = place(space.own[key])
        axes.scatter([own], [_value(stands)], s=36, color=STANDS, zorder=3, label="configuration as it stands")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.supylabel(f"{metric} on validation", fontsize=9)
    figure.savefig(path)


def _axis(axes: Axes, domain: Domain, whole: bool) -> Callable[[Any], float]:
    """Give the axis the whole range that is searched; return where a value lies on it."""
    if domain.choices is not None:
        labels = [label(choice) for choice in domain.choices]
        axes.set_xticks(range(len(labels)), [_short(value) for value in labels])
        axes.set_xlim(-0.5, len(labels) - 0.5)
        return lambda value: float(labels.index(value))
    assert domain.low is not None and domain.high is not None
    low, high = float(domain.low), float(domain.high)
    if domain.log:
        axes.set_xscale("log")
        ticks = np.geomspace(low, high, 3)
        axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        room = (high / low) ** 0.05
        axes.set_xlim(low / room, high * room)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=whole))
        room = (high - low) * 0.05
        axes.set_xlim(low - room, high + room)
    return float


def _one(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 10 else f"{text[:9]}…"
