"""The color scale of the map as a strip below the image, where it covers nothing."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import numpy as np

from monai_inn.viewer.curve import ticks

if TYPE_CHECKING:
    from monai_inn.viewer.display import Appearance, Overlay

__all__ = ["draw_legend"]

_STOPS = 33
_WHOLE, _PERCENT = ("mode_count",), ("probability_below",)


def draw_legend(overlay: Overlay, appearance: Appearance) -> str:
    """Draw the colors of the map that is shown over its scale, with unit; empty if there is none.

    Args:
        overlay: the layers of the run.
        appearance: what ``overlay.show`` was last called with.

    Returns:
        HTML. All text that comes from a file is escaped.
    """
    of = "" if appearance.kind == "waic" else appearance.parameter
    volume = overlay.run.find(appearance.kind, of)
    if volume is None:
        return ""
    low, high = overlay.scale(appearance)
    shown = overlay.run.parameter(appearance.parameter)
    log = shown.scale == "log" and appearance.kind in ("median", "sample")
    share = np.linspace(0, 1, _STOPS)
    values = low * (high / low) ** share if log else low + share * (high - low)
    colors = ", ".join(_color(volume.GetDisplayNode(), v, low, high) for v in values)
    start = 100 * _place(low + appearance.hide_below * (high - low), low, high, log)
    title = html.escape(overlay.legend_title(appearance).replace("\n", " "))
    hidden = f'<div class="hidden" style="width:{start:.1f}%"></div>' if appearance.hide_below else ""
    if appearance.kind == "waic":
        limit = overlay.run.result.record["trust"]["waic_limit"]
        at = 100 * min(max(_place(limit, low, high, log), 0.0), 1.0)
        title += f"; pink: limit of trust, {limit:.3g} nat"
        hidden += f'<div class="limit" style="left:{at:.1f}%"></div>'
    marks = "".join(
        f'<span style="left:{100 * _place(v, low, high, log):.1f}%">{_number(v, appearance.kind)}</span>'
        for v in _marks(low, high, log, appearance.kind)
    )
    return (
        f'<div class="scale-title">{title}</div><div class="bar" style="background:linear-gradient(to right, '
        f'{colors})">{hidden}</div><div class="marks">{marks}</div>'
    )


def _marks(low: float, high: float, log: bool, kind: str) -> list[float]:
    """Round numbers along the scale; whole ones for a number of modes."""
    if kind in _WHOLE:
        return [float(v) for v in range(round(low), round(high) + 1)]
    return ticks(low, high, log)


def _number(value: float, kind: str) -> str:
    return f"{value:.0%}" if kind in _PERCENT else f"{value:.3g}"


def _place(value: float, low: float, high: float, log: bool) -> float:
    """Share of the scale below a value."""
    return float(np.log(value / low) / np.log(high / low)) if log else (value - low) / (high - low)


def _color(display: Any, value: float, low: float, high: float) -> str:
    """The color of a value as the slice views draw it."""
    table = display.GetColorNode().GetLookupTable()
    index = min(
        int((value - low) / (high - low) * table.GetNumberOfTableValues()), table.GetNumberOfTableValues() - 1
    )
    red, green, blue, _ = (round(255 * v) for v in table.GetTableValue(index))
    return f"rgb({red},{green},{blue})"
