"""Lines of a plan, shown: the posterior along one as a chart, and the tube that poses give it."""

from __future__ import annotations

import numpy as np
import slicer

from ..results.run import Run
from ..scene.charts import BAND, WARNING, add_line, new_chart
from ..scene.meshes import tube
from ..translating import tr as _
from .line_reading import LineReading

__all__ = ["show_line", "show_tube"]

_THRESHOLD = (0.1, 0.1, 0.1)


def show_line(run: Run, reading: LineReading) -> slicer.vtkMRMLPlotChartNode:
    """Put the posterior along a line into the run's chart of lines.

    Returns:
        The chart: the median as a line, the ends of the interval as dashes, the threshold; a bar below them
        is where nothing is trusted.
    """
    shown, place = reading.parameter, _("distance from the start [mm]")
    low, median, high = np.repeat(reading.interval, 2, axis=1)  # a value from the entry of a voxel to its end
    # Values, color, width and dashes of each line.
    lines = {
        _("lower end of {mass:.0%}").format(mass=reading.mass): (low, BAND, 1, True),
        _("upper end of {mass:.0%}").format(mass=reading.mass): (high, BAND, 1, True),
        _("median"): (median, BAND, 3, False),
        _("threshold"): (np.full(len(median), reading.threshold), _THRESHOLD, 1, False),
        _("not trusted"): (np.where(np.isnan(median), shown.low, np.nan), WARNING, 6, False),
    }
    columns = {place: reading.path.ends.ravel()} | {head: values for head, (values, *_look) in lines.items()}
    chart = new_chart(run, "line", reading.text, (place, shown.label + shown.bracket), columns)
    for head, (values, *look) in lines.items():
        if not np.isnan(values).all():
            add_line(run, "line", (place, head), *look)
    return chart


_TUBE_COLOR, _TUBE_OPACITY = (0.1, 0.85, 0.45), 0.4


def show_tube(run: Run, reading: LineReading | None) -> slicer.vtkMRMLModelNode | None:
    """Draw the tube that holds a line in 95 % of the poses, or take it away."""
    if reading is None or not reading.risk.tube_mm:
        run.forget("line tube")
        return None
    model = run.draw("line tube", tube(reading.ends, reading.risk.tube_mm), _TUBE_COLOR, thickness=1)
    model.GetDisplayNode().SetOpacity(_TUBE_OPACITY)
    return model
