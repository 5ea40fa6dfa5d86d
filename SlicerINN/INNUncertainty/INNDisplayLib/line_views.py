"""Lines of a plan, shown: the posterior along one as a chart, and the tube that poses give it."""

from __future__ import annotations

import textwrap

import numpy as np
import slicer.util

from .curves import add_series
from .lines import LineReading
from .marks import display_of
from .meshes import tube
from .run import Run

__all__ = ["show_line", "show_tube"]

_TITLE = 80  # characters of a line of a chart's title
_BAND, _WARNING, _THRESHOLD = (0.13, 0.40, 0.67), (0.85, 0.0, 0.45), (0.1, 0.1, 0.1)


def show_line(run: Run, reading: LineReading) -> slicer.vtkMRMLPlotChartNode:
    """Put the posterior along a line into the run's chart of lines.

    Returns:
        The chart: the median as a line, the ends of the interval as dashes, the threshold; a bar below them
        is where nothing is trusted.
    """
    plot = slicer.vtkMRMLPlotSeriesNode
    table = run.node("line table", "", "vtkMRMLTableNode")
    chart = run.node("line chart", "", "vtkMRMLPlotChartNode")
    chart.RemoveAllPlotSeriesNodeIDs()
    shown, place = reading.parameter, "distance from the start [mm]"
    low, median, high = np.repeat(reading.interval, 2, axis=1)  # a value from the entry of a voxel to its end
    columns = {
        f"lower end of {reading.mass:.0%}": low,
        f"upper end of {reading.mass:.0%}": high,
        "median": median,
        "threshold": np.full(len(median), reading.threshold),
        "not trusted": np.where(np.isnan(median), shown.low, np.nan),
    }
    distance = reading.path.ends.ravel()
    slicer.util.updateTableFromArray(table, (distance, *columns.values()), [place, *columns])
    for column, values in columns.items():
        if np.isnan(values).all():
            continue
        series = add_series(run, chart, table, (place, column), column.split()[0], "line")
        series.SetMarkerStyle(plot.MarkerStyleNone)
        series.SetLineStyle(plot.LineStyleDash if "end of" in column else plot.LineStyleSolid)
        series.SetLineWidth({"median": 3, "not trusted": 6}.get(column, 1))
        series.SetColor(*{"threshold": _THRESHOLD, "not trusted": _WARNING}.get(column, _BAND))
    chart.SetTitle(textwrap.fill(reading.text, _TITLE))
    chart.SetXAxisTitle(place)
    chart.SetYAxisTitle(f"{shown.label}{shown.bracket}")
    chart.SetLegendVisibility(False)
    return chart


_TUBE_COLOR, _TUBE_OPACITY = (0.1, 0.85, 0.45), 0.4


def show_tube(run: Run, reading: LineReading | None) -> slicer.vtkMRMLModelNode | None:
    """Draw the tube that holds a line in 95 % of the poses, or take it away."""
    model = run.find("line tube", class_name="vtkMRMLModelNode")
    if reading is None or not reading.risk.tube_mm:
        if model is not None:
            run.drop(model)
        return None
    model = run.node("line tube", "", "vtkMRMLModelNode")
    model.SetAndObserveMesh(tube(reading.ends, reading.risk.tube_mm))
    display = display_of(model)
    display.SetColor(*_TUBE_COLOR)
    display.SetOpacity(_TUBE_OPACITY)
    display.SetVisibility2D(True)
    return model
