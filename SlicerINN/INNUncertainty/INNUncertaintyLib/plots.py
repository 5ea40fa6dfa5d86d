"""The layout with two charts side by side: the posterior of a voxel, and its measured curve."""

import slicer
from slicer.i18n import tr as _

__all__ = ["show_charts"]

_LAYOUT = 7312  # below 100 are Slicer's own, 7311 is that of INN Registration
_VIEWS = "INNPosterior", "INNCurve"
_SLICE = (
    '<item><view class="vtkMRMLSliceNode" singletontag="{name}">'
    '<property name="orientation" action="default">{orientation}</property>'
    '<property name="viewlabel" action="default">{label}</property>'
    '<property name="viewcolor" action="default">{color}</property></view></item>'
)
_PLOT = (
    '<item><view class="vtkMRMLPlotViewNode" singletontag="{name}">'
    '<property name="viewlabel" action="default">{label}</property></view></item>'
)
_SLICES = (
    ("Red", "Axial", "#F34A33"),
    ("Green", "Coronal", "#6EB04B"),
    ("Yellow", "Sagittal", "#EDD54C"),
)


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
    slices = "".join(
        _SLICE.format(name=name, orientation=orientation, label=name[0], color=color)
        for name, orientation, color in _SLICES
    )
    plots = "".join(
        _PLOT.format(name=name, label=label)
        for name, label in zip(_VIEWS, (_("Posterior"), _("Measured curve")), strict=True)
    )
    return (
        '<layout type="vertical" split="true">'
        f'<item><layout type="horizontal" split="true">{slices}</layout></item>'
        f'<item><layout type="horizontal" split="true">{plots}</layout></item></layout>'
    )
