"""The measured curve of a voxel and its posterior-predictive band, from a scene or files, as a chart."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer.util
from numpy.typing import NDArray

from .inspection import WITHHELD, Reading
from .run import Run
from .translating import tr as _

__all__ = ["VoxelCurve", "add_series", "curve_at", "read_curve", "show_curve"]

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
        items = range(sequence.GetNumberOfDataNodes())
        return np.array([slicer.util.arrayFromVolume(sequence.GetNthDataNode(n))[voxel] for n in items])

    return read_curve(run.result.record, part)


def _with_unit(words: str, unit: str) -> str:
    return f"{words} [{'no unit' if unit == '1' else unit}]" if unit else words


def add_series(
    run: Run,
    chart: slicer.vtkMRMLPlotChartNode,
    table: slicer.vtkMRMLTableNode,
    columns: tuple[str, str],
    part: str,
    kind: str = "curve",
) -> slicer.vtkMRMLPlotSeriesNode:
    """Put a column of a table into a chart, against another one.

    Args:
        run: whose series it is; made at the first call.
        chart: where it is drawn.
        table: where the numbers are.
        columns: names of the columns along the axis and up.
        part: which of the chart's series it is.
        kind: which chart of the run.
    """
    series = run.node(f"{kind} series", part, "vtkMRMLPlotSeriesNode")
    series.SetName(columns[1])
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName(columns[0])
    series.SetYColumnName(columns[1])
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetMarkerSize(7)
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return series


_TITLE = 80  # characters of a line of a chart's title
_MEASURED, _BAND, _WARNING = (0.1, 0.1, 0.1), (0.13, 0.40, 0.67), (0.85, 0.0, 0.45)


def show_curve(run: Run, curve: VoxelCurve | None, reading: Reading) -> slicer.vtkMRMLPlotChartNode:
    """Put a curve into the run's second chart.

    Args:
        run: whose chart it is; made at the first call.
        curve: what was measured, and the band; without it the chart is empty and says why.
        reading: what is known at the voxel; a band that is not to be used has the color of warnings.

    Returns:
        The chart: measured values as points, the median as a line, the ends of the band as dashes.
    """
    plot = slicer.vtkMRMLPlotSeriesNode
    table = run.node("curve table", "", "vtkMRMLTableNode")
    chart = run.node("curve chart", "", "vtkMRMLPlotChartNode")
    chart.RemoveAllPlotSeriesNodeIDs()
    if curve is None:
        chart.SetTitle(textwrap.fill(reading.text, _TITLE))
        return chart
    share = f"{curve.interval:.0%}"
    columns = {
        f"lower end of {share}": curve.low,
        f"upper end of {share}": curve.high,
        "median": curve.median,
        "measured": curve.measured,
    }
    slicer.util.updateTableFromArray(table, (curve.positions, *columns.values()), [curve.axis, *columns])
    for part, column in zip(("low", "high", "median", "measured"), columns, strict=True):
        is_measured, is_end = part == "measured", part in ("low", "high")
        series = add_series(run, chart, table, (curve.axis, column), part)
        series.SetMarkerStyle(plot.MarkerStyleCircle if is_measured else plot.MarkerStyleNone)
        series.SetLineStyle(
            plot.LineStyleNone if is_measured else plot.LineStyleDash if is_end else plot.LineStyleSolid
        )
        series.SetLineWidth(1 if is_end else 2)
        series.SetColor(*(_MEASURED if is_measured else _WARNING if reading.state == WITHHELD else _BAND))
    is_withheld = reading.state == WITHHELD
    warning = _("[///] NOT EXPLAINED, out of distribution. Do not use. ") if is_withheld else ""
    text = f"{warning}Points: measured. Line: median prediction. Dashes: {share} of them, with noise"
    chart.SetTitle(textwrap.fill(text, _TITLE))
    chart.SetXAxisTitle(curve.axis)
    chart.SetYAxisTitle(curve.quantity)
    chart.SetLegendVisibility(False)  # it would cover points
    return chart
