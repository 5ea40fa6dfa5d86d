"""The layout with two charts side by side: the posterior of a voxel, and its measured curve."""

import slicer
from slicer.i18n import tr as _

__all__ = ["show_charts"]

_LAYOUT = 7312  # below 100 are Slicer's own, 7311 is that of INN Registration
_VIEWS = "INNPosterior", "INNCurve"
_VIEW = (
    '<item><view class="{kind}" singletontag="{name}">'
    '<property name="viewlabel" action="default">{label}</property></view></item>'
)
_ROW = '<item><layout type="horizontal" split="true">{views}</layout></item>'


def show_charts(charts, arrange):
    """Put charts into plot views.

    Args:
        charts: that of the posterior, and that of the curve where the result has curves.
        arrange: whether the layout may be changed for the two; the user may have chosen another one.
    """
    if len(charts) == 1:
        slicer.modules.plots.logic().ShowChartInLayout(charts[0])
        return
    if arrange:
        manager = slicer.app.layoutManager()
        node = manager.layoutLogic().GetLayoutNode()
        if not node.IsLayoutDescription(_LAYOUT):
            node.AddLayoutDescription(_LAYOUT, _description())
        manager.setLayout(_LAYOUT)
    for name, chart in zip(_VIEWS, charts, strict=True):
        view = slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLPlotViewNode")
        if view is not None:
            view.SetDoPropagatePlotChartSelection(False)  # or both would show the chart of another module
            view.SetPlotChartNodeID(chart.GetID())


def _description():
    slices = [("vtkMRMLSliceNode", name, name[0]) for name in ("Red", "Green", "Yellow")]
    labels = _("Posterior"), _("Measured curve")
    plots = [("vtkMRMLPlotViewNode", name, label) for name, label in zip(_VIEWS, labels, strict=True)]
    rows = ("".join(_VIEW.format(kind=k, name=n, label=t) for k, n, t in row) for row in (slices, plots))
    return f'<layout type="vertical" split="true">{"".join(_ROW.format(views=row) for row in rows)}</layout>'
