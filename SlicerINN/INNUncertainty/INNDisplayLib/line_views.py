"""Lines of a plan, shown: the posterior along one as a chart, and the tube that poses give it."""

from __future__ import annotations

import textwrap

import numpy as np
import slicer.util

from .curves import add_series
from .line_reading import LineReading
from .marks import display_of
from .meshes import tube
from .run import Run
from .translating import tr as _

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
    shown, place = reading.parameter, _("distance from the start [mm]")
    low, median, high = np.repeat(reading.interval, 2, axis=1)  # a value from the entry of a voxel to its end
    columns = {
        "lower": (_("lower end of {mass:.0%}").format(mass=reading.mass), low),
        "upper": (_("upper end of {mass:.0%}").format(mass=reading.mass), high),
        "median": (_("median"), median),
        "threshold": (_("threshold"), np.full(len(median), reading.threshold)),
        "not": (_("not trusted"), np.where(np.isnan(median), shown.low, np.nan)),
    }
    heads, drawn = zip(*columns.values(), strict=True)
    slicer.util.updateTableFromArray(table, (reading.path.ends.ravel(), *drawn), [place, *heads])
    for key, (head, values) in columns.items():
        if np.isnan(values).all():
            continue
        series = add_series(run, chart, table, (place, head), key, "line")
        series.SetMarkerStyle(plot.MarkerStyleNone)
        series.SetLineStyle(plot.LineStyleDash if key in ("lower", "upper") else plot.LineStyleSolid)
        series.SetLineWidth({"median": 3, "not": 6}.get(key, 1))
        series.SetColor(*{"threshold": _THRESHOLD, "not": _WARNING}.get(key, _BAND))
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
