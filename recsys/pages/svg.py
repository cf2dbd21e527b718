"""Plots as inline SVG, readable on light and on dark pages."""

import io
import re

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = (
    "#3b7dd8",
    "#e07b28",
    "#2f9e6e",
    "#c74e74",
    "#8a63c9",
    "#a8811c",
    "#2aa3b3",
    "#d0544b",
    "#7a8b3c",
    "#6c7a92",
    "#b5651d",
    "#4d6bb8",
)
"""One per segment, line or group, in order."""
INK = "#123456"
"""Stands for the page's own text colour, and becomes it."""


def one_plot(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of so many inches with one plot, in the page's colours."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(INK)
    axes.tick_params(colors=INK, labelsize=9)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    return figure, axes


def svg(figure: Figure, key: str) -> str:
    """The figure as an SVG element: no metadata, no address, text in the page's colour, ids that only it has."""
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": key}):
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    drawn = text.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.S)
    drawn = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", drawn)
    drawn = re.sub(r"<!--.*?-->", "", drawn, flags=re.S)
    drawn = drawn.replace("xlink:href", "href")
    drawn = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{key}-", drawn)
    drawn = drawn.replace(INK, "currentColor")
    drawn = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px; font-family: inherit", drawn)
    drawn = re.sub(r'(<svg[^>]*?) width="[\d.]+pt"', r"\1", drawn, count=1)
    drawn = re.sub(r'(<svg[^>]*?) height="[\d.]+pt"', r"\1", drawn, count=1)
    width = figure.get_size_inches()[0] * 96
    return drawn.replace("<svg", f'<svg role="img" style="max-width:{width:.0f}px;width:100%;height:auto"', 1).strip()
