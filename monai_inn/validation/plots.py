"""The plots of a report as SVG text that a page can hold."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import beta
from torch import Tensor

from monai_inn.metrics import curve_of_counts
from monai_inn.metrics.calibration.ecdf import EcdfDifference

__all__ = [
    "INK",
    "ROW",
    "TITLE",
    "WIDTH_IN",
    "as_svg",
    "coverage_plot",
    "draw_bounds",
    "draw_numbers",
    "ecdf_plot",
    "image_plots",
    "new_figure",
    "reliability_plot",
    "rows_height",
    "signed",
    "svg",
    "tarp_plot",
    "width_plot",
    "wrapped",
]

P = ParamSpec("P")

_GOOD, _BAND, INK = "#dfeee6", "0.87", "0.25"
WIDTH_IN = 8.0  # of a drawing; paper shrinks it to 7.3
# Panels beside one another; characters of a line above a panel, and beside a row.
_COLUMNS, TITLE, ROW = 5, 22, 40
STATUS_COLOURS = {
    "calibrated": "#1b7f4d",
    "small deviation": "#6a7f1b",
    "undecided": "#8a6d00",
    "miscalibrated": "#b3261e",
}
_FONT: dict[Any, Any] = {
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "svg.hashsalt": "monai_inn",
    "svg.fonttype": "path",
}


def svg(figure: Figure) -> str:
    """Return a figure as the text of an ``<svg>`` element; equal figures give equal texts."""
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    text = re.sub(r"<metadata>.*?</metadata>", "", buffer.getvalue(), flags=re.DOTALL)
    return text[text.index("<svg") :]


def as_svg(draw: Callable[P, Figure]) -> Callable[P, str]:
    """Let what draws a figure return it as ``svg`` does, in the font of our pages."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> str:
        with matplotlib.rc_context(_FONT):
            return svg(draw(*args, **kwargs))

    return drawn


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of so many inches."""
    return Figure(figsize=(width, height), layout="constrained")


def draw_bounds(axis: Any, row: float, ends: Mapping[str, float], colour: str) -> None:
    """Draw ``value`` as a dot, and ``low`` to ``high`` as a line through it, in a row over a grid."""
    axis.plot([ends["low"], ends["high"]], [row, row], color=colour, linewidth=2)
    axis.plot([ends["value"]], [row], "o", color=colour, markersize=4.5)
    axis.grid(axis="x", color="0.92")
    axis.set_axisbelow(True)


def draw_numbers(axis: Any, values: NDArray[np.float64], texts: Any, limit: float, fontsize: float) -> None:
    """Draw a coloured field with its text for each number ``(rows, columns)``; a star makes it bold."""
    axis.imshow(values, cmap="PuOr", norm=TwoSlopeNorm(0, -limit, limit), aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        text = texts[row][column]
        axis.text(
            column, row, text, ha="center", va="center", fontsize=fontsize,
            color="white" if abs(value) > 0.7 * limit else "black",
            fontweight="bold" if text.endswith("*") else "normal",
        )  # fmt: skip


def wrapped(text: str, width: int) -> str:
    """Return a text in lines of at most so many characters."""
    return "\n".join(textwrap.wrap(text, width))


def rows_height(labels: Sequence[str], least: float) -> float:
    """Inches of as many rows as there are labels, so high that no two labels touch."""
    return len(labels) * max(least, 0.13 * max(label.count("\n") + 1 for label in labels))


@as_svg
def width_plot(report: dict[str, Any], words: Mapping[str, str], names: Sequence[str]) -> Figure:
    """Draw width and shift of the named parameters with their bounds, over the tolerance."""
    entries = [entry for entry in report["parameters"] if entry["name"] in names]
    labels = [wrapped(words[entry["name"]], ROW) for entry in entries]
    figure = new_figure(WIDTH_IN, 0.9 + rows_height(labels, 0.26))
    axes = figure.subplots(1, 2, sharey=True)
    rows = np.arange(len(entries))[::-1]
    blocks = (
        ("width", 100.0, -1.0, "interval width − right width, %", "too narrow", "too wide"),
        ("shift", 1.0, 0.0, "values − truth, posterior sd", "too low", "too high"),
    )
    for axis, (name, factor, offset, label, low, high) in zip(axes, blocks, strict=True):
        limit = factor * report["tolerance"][name]
        axis.axvspan(-limit, limit, color=_GOOD, label="tolerance")
        axis.axvline(0, color=INK, linewidth=0.8)
        for row, entry in zip(rows, entries, strict=True):
            ends = {k: factor * (entry[name][k] + offset) for k in ("low", "value", "high")}
            draw_bounds(axis, row, ends, STATUS_COLOURS[entry["status"]])
        axis.set_xlabel(label)
        for x, side, word in ((0.01, "left", low), (0.99, "right", high)):
            axis.text(x, 1.01, word, transform=axis.transAxes, fontsize=8, va="bottom", ha=side)
    axes[0].set_yticks(rows, labels, fontsize=8)
    return figure


def _panels(count: int) -> tuple[Figure, list[Any]]:
    columns = min(_COLUMNS, count)
    rows = -(-count // columns)
    figure = new_figure(min(max(2 * columns, 4), WIDTH_IN), 1.45 * rows + 0.4)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    flat = list(axes.ravel())
    for axis in flat[count:]:
        axis.set_axis_off()
    for axis in flat[max(0, count - columns) : count]:
        axis.tick_params(labelbottom=True)
    return figure, flat[:count]


@as_svg
def coverage_plot(names: list[str], counts: Tensor) -> Figure:
    """Draw measured minus nominal coverage over the level, from rank histograms ``(D, S + 1)``.

    The band is where the share of the cases lies that an interval of exactly this level holds.
    """
    curve = curve_of_counts(counts)
    level, n = curve.level.cpu().numpy(), int(counts[0].sum())
    low, high = (beta.ppf(q, np.clip(level * n, 1e-9, n), (1 - level) * n + 1e-9) for q in (0.025, 0.975))
    curves = [100 * (values - level) for values in (low, high, *curve.coverage.cpu().numpy().T)]
    labels = ("nominal coverage of the interval, %", "measured − nominal, %")
    return _curves(names, 100 * level, *curves, labels=labels, end=100, linewidth=1.3)


def _curves(
    names: list[str], x: Any, low: Any, high: Any, *rows: Any, labels: tuple[str, str], end: float,
    linewidth: float, step: Any = None,
) -> Figure:  # fmt: skip
    """One panel for each name: a curve around zero with its band."""
    figure, axes = _panels(len(names))
    for axis, name, row in zip(axes, names, rows, strict=True):
        axis.fill_between(x, low, high, color=_BAND, step=step)
        axis.plot(x, row, color="#00508c", linewidth=linewidth)
        axis.axhline(0, color=INK, linewidth=0.6)
        axis.set_title(wrapped(name, TITLE if len(names) >= _COLUMNS else TITLE + 6), fontsize=8)
        axis.set_xlim(0, end)
    figure.supxlabel(labels[0], fontsize=9)
    figure.supylabel(labels[1], fontsize=9)
    return figure


@as_svg
def ecdf_plot(names: list[str], ecdf: EcdfDifference) -> Figure:
    """Draw the distribution function of the truth's ranks minus the uniform one, with its 95 % envelope."""
    z, difference, low, high = (np.asarray(v.cpu()) for v in ecdf[:4])
    labels = ("rank of the truth among the samples, share of 1", "cumulative share\n− uniform, of 1")
    return _curves(names, z, low, high, *difference, labels=labels, end=1, linewidth=1.1, step="mid")


@as_svg
def tarp_plot(block: dict[str, Any]) -> Figure:
    """Draw the expected coverage of the joint posterior with bootstrap bounds."""
    level = 100 * np.array(block["level"])
    figure = new_figure(3.9, 3.4)
    axis = figure.subplots()
    axis.fill_between(level, 100 * np.array(block["low"]), 100 * np.array(block["high"]), color=_BAND)
    axis.plot(level, 100 * np.array(block["coverage"]), color="#00508c", linewidth=1.3)
    axis.plot([0, 100], [0, 100], color=INK, linewidth=0.8, linestyle="--")
    axis.set(xlim=(0, 100), ylim=(0, 100), xlabel="nominal coverage, %", ylabel="measured coverage, %")
    return figure


@as_svg
def reliability_plot(bins: Sequence[Mapping[str, float]]) -> Figure:
    """Draw the accuracy of each bin of the confidence, with its bounds; the cases of a bin are its area."""
    confidence, value, low, high, cases = (
        np.array([entry[key] for entry in bins]) for key in ("confidence", "value", "low", "high", "cases")
    )
    figure = new_figure(3.9, 3.4)
    axis = figure.subplots()
    axis.plot([0, 100], [0, 100], color=INK, linewidth=0.8, linestyle="--")
    axis.vlines(100 * confidence, 100 * low, 100 * high, color="#00508c", linewidth=1)
    axis.scatter(100 * confidence, 100 * value, 6 + 120 * cases / cases.sum(), color="#00508c")
    axis.set(xlim=(0, 102), ylim=(0, 102), xlabel="probability of the class named, %", ylabel="right, %")
    return figure


def signed(form: str, value: float) -> str:
    """Return a number in a form such as ``"{:+.2f}"``, with a minus sign and without that of a zero."""
    text = form.format(value)
    return text.replace("-", "−") if text.strip("+-0.") else "0"


@as_svg
def image_plots(maps: list[tuple[str, str, NDArray[np.float64], float | None]]) -> Figure:
    """Draw maps of one parameter beside one another.

    Args:
        maps: title, unit, image ``(rows, columns)`` with NaN outside, and half the range of a symmetric scale
            (``None``: from the values).
    """
    figure = new_figure(WIDTH_IN, 0.66 * WIDTH_IN / len(maps) + 0.9)
    for axis, (title, unit, image, limit) in zip(
        figure.subplots(1, len(maps), squeeze=False)[0], maps, strict=True
    ):
        colours = matplotlib.colormaps["viridis" if limit is None else "PuOr"]
        colours = colours.with_extremes(bad="#c8c8c8")
        scale = {} if limit is None else {"vmin": -limit, "vmax": limit}
        drawn = axis.imshow(np.ma.masked_invalid(image), cmap=colours, interpolation="nearest", **scale)
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
        figure.colorbar(drawn, ax=axis, shrink=0.85).set_label(unit, fontsize=8)
    return figure
