"""The measured curve of a voxel and its posterior-predictive band, from a scene or files, as a chart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer.util
from numpy.typing import NDArray

from ..results.run import Run
from ..scene.charts import BAND, WARNING, add_line, new_chart
from ..scene.marks import arrays_of
from ..translating import tr as _
from .inspection import WITHHELD, Reading

__all__ = ["VoxelCurve", "curve_at", "read_curve", "show_curve"]

Array = NDArray[np.floating]

_PARTS = ("measured", "low", "median", "high")


@dataclass(frozen=True)
class VoxelCurve:
    """What was measured at a voxel along an axis, and where another measurement would lie, noise included.

    Args:
        quantity: what it is, with its unit.
        axis: what the axis is, with its unit.
        interval: probability inside the band at each place.
        positions: places along the axis where something was measured, ascending, shape ``(N,)``.
        measured: values there.
        low: lower end of the band.
        median: median of the posterior predictive.
        high: upper end of the band.
    """

    quantity: str
    axis: str
    interval: float
    positions: Array
    measured: Array
    low: Array
    median: Array
    high: Array


def read_curve(record: dict[str, Any], part: Callable[[str], Array | None]) -> VoxelCurve | None:
    """Return the curve of a voxel; ``None`` if the result has none there.

    Args:
        record: content of ``result.json``.
        part: returns the values ``(T,)`` of one of the stored curves at the voxel, if there is such a one.
    """
    about = record.get("curves")
    found = [part(name) for name in _PARTS] if about else []
    if not found or any(row is None or len(row) != len(about["positions"]) for row in found):
        return None
    rows = np.array([about["positions"], *found], float)
    there = np.isfinite(rows).all(0)
    quantity, axis = (
        _with_unit(about[word], about[unit]) for word, unit in (("quantity", "unit"), ("axis", "axis_unit"))
    )
    return VoxelCurve(quantity, axis, about["interval"], *rows[:, there]) if there.any() else None


def curve_at(run: Run, voxel: tuple[int, int, int] | None) -> VoxelCurve | None:
    """Return the curve of a voxel ``(k, j, i)`` of a run from its scene, if it has one there."""
    if voxel is None:
        return None

    def part(name: str) -> Array | None:
        sequence = run.find("curve", name, "vtkMRMLSequenceNode")
        if sequence is None:
            return None
        return np.array([values[voxel] for values in arrays_of(sequence)])

    return read_curve(run.result.record, part)


def _with_unit(words: str, unit: str) -> str:
    return f"{words} [{_('no unit') if unit == '1' else unit}]" if unit else words


_MEASURED = (0.1, 0.1, 0.1)


def show_curve(run: Run, curve: VoxelCurve | None, reading: Reading) -> slicer.vtkMRMLPlotChartNode:
    """Put a curve into the run's second chart.

    Args:
        run: whose chart it is; made at the first call.
        curve: what was measured, and the band; without it the chart is empty and says why.
        reading: what is known at the voxel; a band that is not to be used has the color of warnings.

    Returns:
        The chart: measured values as points, the median as a line, the ends of the band as dashes.
    """
    if curve is None:
        return new_chart(run, "curve", reading.text, ("", ""), {})
    share, is_withheld = f"{curve.interval:.0%}", reading.state == WITHHELD
    warning = _("[///] NOT EXPLAINED, out of distribution. Do not use. ") if is_withheld else ""
    legend = _("Points: measured. Line: median prediction. Dashes: {share} of them, with noise")
    text = warning + legend.format(share=share)
    columns = {
        _("lower end of {share}").format(share=share): curve.low,
        _("upper end of {share}").format(share=share): curve.high,
        _("median"): curve.median,
        _("measured"): curve.measured,
    }
    axes = curve.axis, curve.quantity
    chart = new_chart(run, "curve", text, axes, {curve.axis: curve.positions, **columns})
    for number, column in enumerate(columns):
        is_end = number < 2
        series = add_line(
            run, "curve", (curve.axis, column), WARNING if is_withheld else BAND, 1 if is_end else 2, is_end
        )
    series.SetMarkerStyle(series.MarkerStyleCircle)
    series.SetMarkerSize(7)
    series.SetLineStyle(series.LineStyleNone)
    series.SetColor(*_MEASURED)
    return chart
