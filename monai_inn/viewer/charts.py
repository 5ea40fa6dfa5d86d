"""The drawings of the page: a posterior as a curve, and the color scale of the map below the image."""

from __future__ import annotations

import html
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

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
    shown = reading.parameter
    place = _axis(shown)
    low, median, high = reading.interval
    height = _heights(reading)
    label = html.escape(axis_label(shown))
    parts = [
        f'<svg class="{"curve" if trusted else "curve withheld"}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Posterior density of {label}">',
        f'<path class="inside" d="{_area(height, place, low, high)}"/>',
        f'<path class="line" d="{_line(height, place)}"/>',
        f'<path class="median" d="M{place(median):.1f} {TOP}V{BOTTOM}"/>',
        *_median_label(shown, median, place),
        *_threshold(reading, place),
        f'<path class="axis" d="M{LEFT} {BOTTOM}H{RIGHT}"/>',
        *_tick_marks(shown, place),
        f'<text class="label" x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 35}">{label}</text>',
        f'<text class="note" x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 51}">{_note(reading)}</text>',
    ]
    if not trusted:
        parts.append(
            f'<text class="stamp" x="{(LEFT + RIGHT) / 2}" y="{(TOP + BOTTOM) / 2}">do not use</text>'
        )
    return "".join([*parts, "</svg>"])


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


def _median_label(shown: Shown, median: float, place: Callable[[float], float]) -> list[str]:
    x = place(median)
    share = (x - LEFT) / (RIGHT - LEFT)
    anchor = "start" if share < 0.25 else "end" if share > 0.75 else "middle"
    text = html.escape(shown.text(median))
    return [
        f'<text class="value" style="text-anchor:{anchor}" x="{x:.1f}" y="{TOP - 8}">median {text}</text>'
    ]


def _threshold(reading: Reading, place: Callable[[float], float]) -> list[str]:
    """The threshold, if the probability below it was asked for."""
    if reading.below is None:
        return []
    text = html.escape(f"threshold {reading.parameter.text(reading.below[0])}")
    x = place(reading.below[0])
    return [f'<path class="threshold" d="M{x:.1f} {TOP}V{BOTTOM}"><title>{text}</title></path>']


def _tick_marks(shown: Shown, place: Callable[[float], float]) -> list[str]:
    return [
        f'<path class="axis" d="M{place(v):.1f} {BOTTOM}v5"/>'
        f'<text class="tick" x="{place(v):.1f}" y="{BOTTOM + 18}">{v:.3g}</text>'
        for v in ticks(shown.low, shown.high, shown.scale == "log")
    ]


def _note(reading: Reading) -> str:
    axis = "log axis" if reading.parameter.scale == "log" else "axis"
    dashed = "" if reading.below is None else "dashes: threshold; "
    return f"shaded: {reading.mass:.0%} interval; {dashed}{axis}: range of the model"


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
    title = html.escape(legend.title)
    hidden = f'<div class="hidden" style="width:{100 * legend.hidden:.1f}%"></div>' if legend.hidden else ""
    if legend.limit is not None:
        title += f"; ▲ limit of trust, {legend.limit:.3g} nat"
        hidden += f'<div class="limit" style="left:{100 * legend.place(legend.limit):.1f}%">▲</div>'
    marks = "".join(
        f'<span style="left:{100 * legend.place(value):.1f}%">{text}</span>' for value, text in legend.marks
    )
    return (
        f'<div class="scale-title">{title}</div><div class="bar" style="background:linear-gradient(to right, '
        f'{colors})">{hidden}</div><div class="marks">{marks}</div>'
    )
