"""Image and map beside each other: two slice views of one plane that move together."""

import slicer
import slicer.util

__all__ = ["put_beside"]

_IMAGE, _MAP = "Red", "Yellow"
_SIDE_BY_SIDE = slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView
_USUAL = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView, "Sagittal"


def put_beside(is_on, before=None):
    """Arrange the views, or put them back.

    Args:
        is_on: whether image and map are to stand beside each other.
        before: what this function returned when they were put there; Slicer's usual views by default.

    Returns:
        The layout, and the plane of the view that now has the map.
    """
    manager = slicer.app.layoutManager()
    image, shown = (manager.sliceWidget(name).sliceLogic() for name in (_IMAGE, _MAP))
    found = manager.layout, shown.GetSliceNode().GetOrientation()
    for logic in (image, shown):
        logic.GetSliceCompositeNode().SetLinkedControl(is_on)
        logic.GetSliceCompositeNode().SetHotLinkedControl(is_on)
    if is_on:
        shown.GetSliceNode().GetSliceToRAS().DeepCopy(image.GetSliceNode().GetSliceToRAS())
        shown.GetSliceNode().UpdateMatrices()
        manager.setLayout(_SIDE_BY_SIDE)
    else:
        layout, plane = before or _USUAL
        shown.GetSliceNode().SetOrientation(plane)
        manager.setLayout(layout)
    slicer.util.resetSliceViews()
    return found
