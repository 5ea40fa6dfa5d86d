"""The plots of a report as SVG text that a page can hold."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from monai_inn.metrics.ecdf import EcdfDifference

__all__ = [
    "FONT",
    "INK",
    "ROW",
    "TITLE",
    "WIDTH_IN",
    "coverage_plot",
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
FONT: dict[Any, Any] = {
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "svg.hashsalt": "monai_inn",
    "svg.fonttype": "path",
}


def svg(figure: Figure) -> str:
    """Return a figure as the text of an ``<svg>`` element; the same figure always gives the same text."""
    buffer = io.StringIO()
    with matplotlib.rc_context(FONT):
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    text = re.sub(r"<metadata>.*?</metadata>", "", buffer.getvalue(), flags=re.DOTALL)
    return text[text.index("<svg") :]


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of so many inches; what is drawn should be drawn under ``FONT``."""
    with matplotlib.rc_context(FONT):
        return Figure(figsize=(width, height), layout="constrained")


def wrapped(text: str, width: int) -> str:
    """Return a text in lines of at most so many characters."""
    return "\n".join(textwrap.wrap(text, width))


def rows_height(labels: Sequence[str], least: float) -> float:
    """Inches of as many rows as there are labels, so high that no two labels touch."""
    return len(labels) * max(least, 0.13 * max(label.count("\n") + 1 for label in labels))


def width_plot(report: dict[str, Any], words: Mapping[str, str], names: Sequence[str]) -> str:
    """Draw width and shift of the named parameters with their bounds, over the tolerance."""
    entries = [entry for entry in report["parameters"] if entry["name"] in names]
    labels = [wrapped(words[entry["name"]], ROW) for entry in entries]
    tolerance = report["tolerance"]
    with matplotlib.rc_context(FONT):
        figure = new_figure(WIDTH_IN, 0.9 + rows_height(labels, 0.26))
        axes = figure.subplots(1, 2, sharey=True)
        rows = np.arange(len(entries))[::-1]
        blocks = (
            ("width", 100.0, -1.0, tolerance["width"], "interval width − right width, %"),
            ("shift", 1.0, 0.0, tolerance["shift"], "values − truth, posterior sd"),
        )
        for axis, (name, factor, offset, limit, label) in zip(axes, blocks, strict=True):
            axis.axvspan(-limit * factor, limit * factor, color=_GOOD, label="tolerance")
            axis.axvline(0, color=INK, linewidth=0.8)
            for row, entry in zip(rows, entries, strict=True):
                low, value, high = (factor * (entry[name][k] + offset) for k in ("low", "value", "high"))
                colour = STATUS_COLOURS[entry["status"]]
                axis.plot([low, high], [row, row], color=colour, linewidth=2)
                axis.plot([value], [row], "o", color=colour, markersize=4.5)
            axis.set_xlabel(label)
            axis.grid(axis="x", color="0.92")
            axis.set_axisbelow(True)
        axes[0].set_yticks(rows, labels, fontsize=8)
        axes[0].text(0.01, 1.01, "too narrow", transform=axes[0].transAxes, fontsize=8, va="bottom")
        axes[0].text(0.99, 1.01, "too wide", transform=axes[0].transAxes, fontsize=8, va="bottom", ha="right")
        axes[1].text(0.01, 1.01, "too low", transform=axes[1].transAxes, fontsize=8, va="bottom")
        axes[1].text(0.99, 1.01, "too high", transform=axes[1].transAxes, fontsize=8, va="bottom", ha="right")
        return svg(figure)


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


def coverage_plot(
    names: list[str],
    level: NDArray[np.float64],
    coverage: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> str:
    """Draw measured minus nominal coverage ``(Q, D)`` over the level, with the band of an exact posterior."""
    curves = [100 * (values - level) for values in (low, high, *coverage.T)]
    labels = ("nominal coverage of the interval, %", "measured − nominal, %")
    return _curves(names, 100 * level, *curves, labels=labels, end=100, linewidth=1.3)


def _curves(
    names: list[str], x: Any, low: Any, high: Any, *rows: Any, labels: tuple[str, str], end: float,
    linewidth: float, step: Any = None,
) -> str:  # fmt: skip
    """One panel for each name: a curve around zero with its band."""
    with matplotlib.rc_context(FONT):
        figure, axes = _panels(len(names))
        for axis, name, row in zip(axes, names, rows, strict=True):
            axis.fill_between(x, low, high, color=_BAND, step=step)
            axis.plot(x, row, color="#00508c", linewidth=linewidth)
            axis.axhline(0, color=INK, linewidth=0.6)
            axis.set_title(wrapped(name, TITLE if len(names) >= _COLUMNS else TITLE + 6), fontsize=8)
            axis.set_xlim(0, end)
        figure.supxlabel(labels[0], fontsize=9)
        figure.supylabel(labels[1], fontsize=9)
        return svg(figure)


def ecdf_plot(names: list[str], ecdf: EcdfDifference) -> str:
    """Draw the distribution function of the truth's ranks minus the uniform one, with its 95 % envelope."""
    z, difference, low, high = (np.asarray(v.cpu()) for v in ecdf[:4])
    labels = ("rank of the truth among the samples, share of 1", "cumulative share\n− uniform, of 1")
    return _curves(names, z, low, high, *difference, labels=labels, end=1, linewidth=1.1, step="mid")


def tarp_plot(block: dict[str, Any]) -> str:
    """Draw the expected coverage of the joint posterior with bootstrap bounds."""
    level = 100 * np.array(block["level"])
    with matplotlib.rc_context(FONT):
        figure = new_figure(3.9, 3.4)
        axis = figure.subplots()
        axis.fill_between(level, 100 * np.array(block["low"]), 100 * np.array(block["high"]), color=_BAND)
        axis.plot(level, 100 * np.array(block["coverage"]), color="#00508c", linewidth=1.3)
        axis.plot([0, 100], [0, 100], color=INK, linewidth=0.8, linestyle="--")
        axis.set(xlim=(0, 100), ylim=(0, 100), xlabel="nominal coverage, %", ylabel="measured coverage, %")
        return svg(figure)


def reliability_plot(bins: Sequence[Mapping[str, float]]) -> str:
    """Draw the accuracy of each bin of the confidence, with its bounds; the cases of a bin are its area."""
    confidence, value, low, high, cases = (
        np.array([entry[key] for entry in bins]) for key in ("confidence", "value", "low", "high", "cases")
    )
    with matplotlib.rc_context(FONT):
        figure = new_figure(3.9, 3.4)
        axis = figure.subplots()
        axis.plot([0, 100], [0, 100], color=INK, linewidth=0.8, linestyle="--")
        axis.vlines(100 * confidence, 100 * low, 100 * high, color="#00508c", linewidth=1)
        axis.scatter(100 * confidence, 100 * value, 6 + 120 * cases / cases.sum(), color="#00508c")
        axis.set(xlim=(0, 102), ylim=(0, 102), xlabel="probability of the class named, %", ylabel="right, %")
        return svg(figure)


def signed(form: str, value: float) -> str:
    """Return a number in a form such as ``"{:+.2f}"``, with a minus sign and without that of a zero."""
    text = form.format(value)
    return text.replace("-", "−") if text.strip("+-0.") else "0"


def image_plots(maps: list[tuple[str, str, NDArray[np.float64], float | None]]) -> str:
    """Draw maps of one parameter beside one another.

    Args:
        maps: title, unit, image ``(rows, columns)`` with NaN outside, and half the range of a symmetric scale
            (``None``: from the values).
    """
    with matplotlib.rc_context(FONT):
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
        return svg(figure)
