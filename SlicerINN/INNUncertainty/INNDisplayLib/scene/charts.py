"""The charts of a run: what they have in common, whichever posterior they show."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import slicer.util
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ..results.run import Run

__all__: list[str] = []

BAND, WARNING = (0.13, 0.40, 0.67), (0.85, 0.0, 0.45)
_TITLE = 80  # characters of a line of a chart's title


def new_chart(
    run: Run, kind: str, text: str, axes: tuple[str, str], columns: Mapping[str, NDArray[np.floating]]
) -> slicer.vtkMRMLPlotChartNode:
    """Return a chart without series; what was in it before is gone.

    Args:
        run: whose chart it is; made at the first call.
        kind: which chart of the run.
        text: what stands above it.
        axes: titles of both axes, with units.
        columns: what its table holds, by name.
    """
    table = run.node(f"{kind} table", "", "vtkMRMLTableNode")
    if columns:
        slicer.util.updateTableFromArray(table, tuple(columns.values()), [*columns])
    chart = run.node(f"{kind} chart", "", "vtkMRMLPlotChartNode")
    chart.RemoveAllPlotSeriesNodeIDs()
    chart.SetTitle(textwrap.fill(text, _TITLE))
    chart.SetXAxisTitle(axes[0])
    chart.SetYAxisTitle(axes[1])
    chart.SetLegendVisibility(False)  # it would cover points
    return chart


def add_line(
    run: Run,
    kind: str,
    columns: tuple[str, str],
    color: tuple[float, float, float],
    width: int,
    is_dashed: bool,
) -> slicer.vtkMRMLPlotSeriesNode:
    """Draw a column of a chart's table over another one, and return the series.

    Args:
        run: whose series it is; made at the first call.
        kind: which chart of the run.
        columns: names of the columns along the axis and up.
        color: of the line.
        width: of the line, in pixels.
        is_dashed: whether the line has gaps.
    """
    plot = slicer.vtkMRMLPlotSeriesNode
    series = run.node(f"{kind} series", columns[1], "vtkMRMLPlotSeriesNode")
    series.SetName(columns[1])
    series.SetAndObserveTableNodeID(run.node(f"{kind} table", "", "vtkMRMLTableNode").GetID())
    series.SetXColumnName(columns[0])
    series.SetYColumnName(columns[1])
    series.SetPlotType(plot.PlotTypeScatter)
    series.SetMarkerStyle(plot.MarkerStyleNone)
    series.SetLineStyle(plot.LineStyleDash if is_dashed else plot.LineStyleSolid)
    series.SetLineWidth(width)
    series.SetColor(*color)
    run.node(f"{kind} chart", "", "vtkMRMLPlotChartNode").AddAndObservePlotSeriesNodeID(series.GetID())
    return series
