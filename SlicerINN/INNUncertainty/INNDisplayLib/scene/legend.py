"""The color scale of a map as it is drawn beside the views, where it covers nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

from ..translating import tr as _
from .appearance import OF_A_PIXEL

if TYPE_CHECKING:
    from ..maps.overlay import Overlay
    from ..results.run import Run
    from .appearance import Appearance

__all__ = ["Legend", "drawn_text", "legend_of", "nothing_to_see", "ticks"]

_STEPS = (1, 2, 5, 10)
_WANTED_TICKS = 5


@dataclass(frozen=True)
class Legend:
    """Colors over their values.

    Args:
        title: what is shown, with its unit.
        low: value at the lower end.
        high: value at the upper end.
        is_log: whether equal steps along the scale are equal factors.
        colors: bytes, equally far apart along the scale as the views draw them, shape ``(N, 3)``.
        marks: values along the scale, and how they are written.
        hidden: share of the scale that is not drawn.
        limit: value from which on nothing is to be trusted; ``None`` if the map has none.
    """

    title: str
    low: float
    high: float
    is_log: bool
    colors: NDArray[np.uint8]
    marks: tuple[tuple[float, str], ...]
    hidden: float
    limit: float | None

    def place(self, value: float) -> float:
        """Share of the scale below a value, 0 to 1."""
        inside = min(max(value, self.low), self.high)
        if self.is_log:
            return math.log(inside / self.low) / math.log(self.high / self.low)
        return (inside - self.low) / (self.high - self.low)

    def value(self, place: float) -> float:
        """The value at a share of the scale."""
        if self.is_log:
            return self.low * (self.high / self.low) ** place
        return self.low + place * (self.high - self.low)


def legend_of(overlay: Overlay, appearance: Appearance, size: int) -> Legend | None:
    """Return the legend of the map that is shown; ``None`` if there is none.

    Args:
        overlay: the layers of the run.
        appearance: what ``overlay.show`` was last called with.
        size: how many colors.
    """
    run, kind = overlay.run, appearance.kind
    volume = None if kind == "off" else run.find(kind, "" if kind in OF_A_PIXEL else appearance.parameter)
    if volume is None:
        return None
    low, high = overlay.scale(appearance)
    is_log = run.parameter(appearance.parameter).scale == "log" and kind in ("median", "sample")
    legend = Legend(
        title=overlay.legend_title(appearance),
        low=low,
        high=high,
        is_log=is_log,
        colors=np.zeros((0, 3), np.uint8),
        marks=_marks(low, high, is_log, kind),
        hidden=0.0,
        limit=run.result.record["trust"]["waic_limit"] if kind == "waic" else None,
    )
    values = [legend.value((n + 0.5) / size) for n in range(size)]
    table = vtk_to_numpy(volume.GetDisplayNode().GetColorNode().GetLookupTable().GetTable())[:, :3]
    index = (np.subtract(values, low) / (high - low) * len(table)).astype(int).clip(0, len(table) - 1)
    limit = overlay.limit(appearance)
    return replace(legend, colors=table[index].copy(), hidden=0.0 if limit is None else legend.place(limit))


def drawn_text(overlay: Overlay, appearance: Appearance) -> str:
    """Say which part of a map is drawn.

    Args:
        overlay: the layers of the run.
        appearance: what is shown; not ``"off"``.
    """
    limit, unit, start = overlay.limit(appearance), overlay.unit(appearance), appearance.hide_below
    if limit is not None:
        limit = math.ceil(limit) if appearance.kind == "mode_count" else limit
        return _("Drawn from {start:.3g}{unit} on").format(start=limit, unit=unit)
    if not start or not appearance.fades:
        return _("All of it is drawn")
    if appearance.fades_with_width:
        text, most = _("Drawn where the interval is narrower than {width:.3g}{unit}"), 1 - start
        return text.format(width=most * overlay.run.parameter(appearance.parameter).width, unit=unit)
    return _("Drawn beyond ± {start:.3g}{unit}").format(start=start * overlay.scale(appearance)[1], unit=unit)


def nothing_to_see(run: Run, appearance: Appearance) -> str:
    """Say that a map of conspicuous voxels has none; empty if it has some, or is of another kind."""
    shown = run.parameter(appearance.parameter)
    kind, limit = appearance.kind, run.result.record["trust"].get("waic_limit")
    if kind == "mode_count":
        values, least = run.array(kind, shown.name), 1.5
        text = _("{name} has one mode in every voxel.").format(name=shown.label)
    elif kind == "waic" and limit is not None:
        values, least, text = (
            run.array(kind),
            limit,
            _("WAIC is nowhere above its limit of trust, {limit:.3g} nat.").format(limit=limit),
        )
    else:
        return ""
    return "" if values is None or (values > least).any() else _("Nothing to see: {why}").format(why=text)


def ticks(low: float, high: float, log: bool = False) -> list[float]:
    """Round numbers between two ends, four to eight of them where the range allows.

    Args:
        low: lower end; above zero for a logarithmic axis.
        high: upper end.
        log: whether the axis is logarithmic; ticks are then 1, 3, 10, 30 ...
    """
    if log:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        return [v for d in decades for v in (10.0**d, 3 * 10.0**d) if low <= v <= high]
    rough = (high - low) / _WANTED_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in _STEPS if s * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)]


def _marks(low: float, high: float, log: bool, kind: str) -> tuple[tuple[float, str], ...]:
    """Round numbers along the scale; whole ones for a number of modes, percents for probabilities."""
    if kind == "mode_count":
        return tuple((float(v), str(v)) for v in range(round(low), round(high) + 1))
    form = "{:.0%}" if kind.startswith("probability") else "{:.3g}"
    return tuple((v, form.format(v)) for v in ticks(low, high, log))
