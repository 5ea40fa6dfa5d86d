"""The posterior at a voxel as a chart: one table, two series, one chart, refilled for every voxel."""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util

from .inspection import WITHHELD, Reading
from .run import Run

__all__ = ["show_posterior"]

_COLOR, _WARNING = (0.13, 0.40, 0.67), (0.85, 0.0, 0.45)


def show_posterior(run: Run, reading: Reading) -> slicer.vtkMRMLPlotChartNode:
    """Put a reading into the run's chart.

    Args:
        run: whose chart it is; made at the first call.
        reading: what is known at the voxel; without a posterior the chart is empty and says why.

    Returns:
        The chart: the density with the central interval marked below it, axes with units.
    """
    shown = reading.parameter
    table = run.node("posterior table", "", "vtkMRMLTableNode")
    chart = run.node("posterior chart", "", "vtkMRMLPlotChartNode")
    values, height = reading.curve if reading.curve is not None else (np.zeros(0), np.zeros(0))
    low, _, high = reading.interval or (0.0, 0.0, 0.0)
    inside = np.where((values >= low) & (values <= high), height, 0.0)
    columns = (shown.name, "density", "inside the interval")
    slicer.util.updateTableFromArray(table, (values, height, inside), list(columns))
    chart.RemoveAllPlotSeriesNodeIDs()
    for column, width in (("density", 3), ("inside the interval", 1)):
        series = run.node("posterior series", column, "vtkMRMLPlotSeriesNode")
        series.SetName(column)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetXColumnName(shown.name)
        series.SetYColumnName(column)
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
        series.SetLineWidth(width)
        series.SetColor(*(_WARNING if reading.state == WITHHELD else _COLOR))
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetTitle(reading.text)
    unit = "" if shown.unit == "1" else f" [{shown.unit}]"
    chart.SetXAxisTitle(f"{shown.name}: {shown.description}{unit}")
    chart.SetYAxisTitle("posterior density" + ("" if shown.unit == "1" else f" per {shown.unit}"))
    chart.SetXAxisRangeAuto(False)
    chart.SetXAxisRange(shown.low, shown.high)
    chart.SetLegendVisibility(False)
    return chart
