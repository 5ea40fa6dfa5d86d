"""The drawings of the page: a posterior as a curve, and the color scale of the map below the image."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from monai_inn.reports.pages import rendered
from monai_inn.viewer.display import legend_of, ticks

if TYPE_CHECKING:
    from monai_inn.viewer.display import Appearance, Overlay, Reading, Shown

__all__ = ["axis_label", "draw", "draw_legend"]

WIDTH, HEIGHT = 330, 222
LEFT, RIGHT, TOP, BOTTOM = 14, 316, 26, 160  # edges of the plot


def draw(reading: Reading, trusted: bool) -> str:
    """Draw the posterior of a reading over the range of its scale; empty if no posterior is stored.

    Args:
        reading: what is known at a voxel.
        trusted: whether its numbers may be used; if not, the curve is crossed out by words and dashes.

    Returns:
        An ``svg`` element. All text that comes from a file is escaped.
    """
    if reading.curve is None or reading.interval is None:
        return ""
    shown, place = reading.parameter, _axis(reading.parameter)
    low, median, high = reading.interval
    height = _heights(reading)
    share = (place(median) - LEFT) / (RIGHT - LEFT)
    return rendered(
        "viewer/posterior.svg",
        **{"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
        shown=shown,
        label=axis_label(shown),
        trusted=trusted,
        at=lambda value: f"{place(value):.1f}",
        line=_line(height, place),
        area=_area(height, place, low, high),
        median=median,
        anchor="start" if share < 0.25 else "end" if share > 0.75 else "middle",
        below=reading.below,
        mass=f"{reading.mass:.0%}",
        ticks=ticks(shown.low, shown.high, shown.scale == "log"),
    )


def axis_label(shown: Shown) -> str:
    """Name of a parameter with its unit."""
    return f"{shown.label} [{'no unit' if shown.unit == '1' else shown.unit}]"


def _axis(shown: Shown) -> Callable[[float], float]:
    """Horizontal position of a value: linear, or logarithmic where the parameter spans decades."""
    warp = math.log if shown.scale == "log" else float
    start, end = warp(shown.low), warp(shown.high)

    def place(value: float) -> float:
        inside = min(max(value, shown.low), shown.high)
        return LEFT + (RIGHT - LEFT) * (warp(inside) - start) / (end - start)

    return place


def _heights(reading: Reading) -> list[tuple[float, float]]:
    """Values and their vertical positions; on a logarithmic axis areas go by density times value."""
    assert reading.curve is not None
    values, density = (np.asarray(a, float) for a in reading.curve)
    if reading.parameter.scale == "log":
        density = density * values
    top = density.max() or 1.0
    return [
        (float(v), BOTTOM - (BOTTOM - TOP) * float(d / top)) for v, d in zip(values, density, strict=True)
    ]


def _line(height: list[tuple[float, float]], place: Callable[[float], float]) -> str:
    return "M" + "L".join(f"{place(v):.1f} {y:.1f}" for v, y in height)


def _area(height: list[tuple[float, float]], place: Callable[[float], float], low: float, high: float) -> str:
    """The part of the curve between the ends of the interval, closed along the axis."""
    values, ys = (np.array(column) for column in zip(*height, strict=True))
    edges = [(end, float(np.interp(end, values, ys))) for end in (low, high)]
    within = [edges[0], *((v, y) for v, y in height if low < v < high), edges[1]]
    return f"{_line(within, place)}L{place(high):.1f} {BOTTOM}L{place(low):.1f} {BOTTOM}Z"


_STOPS = 33


def draw_legend(overlay: Overlay, appearance: Appearance) -> str:
    """Draw the colors of the map that is shown over its scale, with unit; empty if there is none.

    Args:
        overlay: the layers of the run.
        appearance: what ``overlay.show`` was last called with.

    Returns:
        HTML. All text that comes from a file is escaped.
    """
    legend = legend_of(overlay, appearance, _STOPS)
    if legend is None:
        return ""
    colors = ", ".join(f"rgb({red},{green},{blue})" for red, green, blue in legend.colors.tolist())
    percent = "{:.1%}".format
    return rendered("viewer/legend.html", legend=legend, colors=colors, percent=percent)
