"""X-ray, DRR and comparison above the patient in three dimensions and two slices of the CT."""

import slicer.util
from INNDisplayLib import IMAGE_VIEWS
from slicer.i18n import tr as _

__all__ = ["show_ct", "show_layout"]

_LAYOUT = 7311  # below 100 are Slicer's own
_SLICE = (
    '<item><view class="vtkMRMLSliceNode" singletontag="{name}">'
    '<property name="orientation" action="default">{orientation}</property>'
    '<property name="viewlabel" action="default">{label}</property>'
    '<property name="viewcolor" action="default">{color}</property></view></item>'
)
_LAYOUT_TEXT = (
    '<layout type="vertical" split="true">'
    '<item><layout type="horizontal" split="true">{images}</layout></item>'
    '<item><layout type="horizontal" split="true">'
    '<item><view class="vtkMRMLViewNode" singletontag="1">'
    '<property name="viewlabel" action="default">1</property></view></item>'
    "{slices}</layout></item></layout>"
)


def show_layout():
    """Arrange the views."""
    manager = slicer.app.layoutManager()
    node = manager.layoutLogic().GetLayoutNode()
    if not node.IsLayoutDescription(_LAYOUT):
        node.AddLayoutDescription(_LAYOUT, _description())
    manager.setLayout(_LAYOUT)


def _description():
    labels = {"xray": _("X-ray"), "drr": _("DRR"), "comparison": _("Comparison")}
    images = "".join(
        _SLICE.format(name=name, orientation="Axial", label=labels[kind], color="#5AA6F2")
        for name, kind in IMAGE_VIEWS.items()
    )
    slices = "".join(
        _SLICE.format(name=name, orientation=orientation, label=name[0], color=color)
        for name, orientation, color in (("Red", "Axial", "#F34A33"), ("Green", "Coronal", "#6EB04B"))
    )
    return _LAYOUT_TEXT.format(images=images, slices=slices)


def show_ct(volume, point):
    """Put a CT behind the slice views that are not the X-ray's, and turn them to a point (RAS, mm)."""
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if composite.GetLayoutName() not in IMAGE_VIEWS:
            composite.SetBackgroundVolumeID(volume.GetID() if volume is not None else None)
            composite.SetForegroundVolumeID(None)
    if volume is not None:
        slicer.util.resetSliceViews()
    for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        if view.GetLayoutName() not in IMAGE_VIEWS and point is not None:
            view.JumpSliceByCentering(*point)
            # Two planes in 3-D too; a third one would hide all of the ellipsoid.
            view.SetSliceVisible(volume is not None and view.GetLayoutName() in ("Red", "Green"))
