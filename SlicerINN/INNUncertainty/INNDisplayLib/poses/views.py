"""Slice views that look at the detector, as a radiograph is read, and the comparison of X-ray and DRR."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer.util
from numpy.typing import NDArray

from ..scene.colors import color_node
from ..scene.marks import matrix_between, matrix_of, place, show_legend, span
from ..translating import tr as _
from .run import MODE, PoseRun

__all__ = [
    "COMPARISONS",
    "DIFFERENCE_LIMIT",
    "IMAGE_VIEWS",
    "Comparing",
    "compared",
    "face_image",
    "image_axes",
    "look_at_target",
    "shades",
    "show_comparison",
    "show_images",
]

IMAGE_VIEWS = {"INNXray": "xray", "INNDRR": "drr", "INNCompare": "comparison"}
"""Names of the slice views and the images in them."""

_FACES = "INN.faces"  # attribute of a view: the image and the pose that it looks at
_MARGIN = 1.04
_EYE_MM, _AHEAD_MM = 720.0, 70.0  # distance of the eye; along the beam from the target
Array = NDArray[np.float64]


def image_axes(volume: slicer.vtkMRMLVolumeNode) -> Array:
    """World directions of a placed image's columns and of its rows turned up, as columns ``(3, 2)``."""
    directions = (_to_world(volume) @ matrix_of(volume))[:3, :2]
    return directions / np.linalg.norm(directions, axis=0) * [1, -1]


def face_image(view: slicer.vtkMRMLSliceNode, volume: slicer.vtkMRMLVolumeNode) -> None:
    """Turn a slice view into the plane of an image: its first row on top, all of it in sight."""
    across, up = image_axes(volume).T
    columns, rows = volume.GetImageData().GetDimensions()[:2]
    to_world = _to_world(volume) @ matrix_of(volume)
    center = to_world @ [(columns - 1) / 2, (rows - 1) / 2, 0, 1]
    placed = np.eye(4)
    placed[:3, :3] = np.stack([across, up, np.cross(across, up)], 1)
    placed[:3, 3] = center[:3]
    width, height = np.array([columns, rows]) * np.linalg.norm(to_world[:3, :2], axis=0)
    pixels = view.GetDimensions()
    scale = _MARGIN * max(width / max(pixels[0], 1), height / max(pixels[1], 1))
    with slicer.util.NodeModify(view):
        view.GetSliceToRAS().DeepCopy(slicer.util.vtkMatrixFromArray(placed))
        view.SetXYZOrigin(0, 0, 0)
        view.SetFieldOfView(scale * pixels[0], scale * pixels[1], view.GetFieldOfView()[2])
        view.UpdateMatrices()


def show_images(run: PoseRun, is_fitted: bool = False) -> None:
    """Fill the image views that there are: X-ray, DRR and comparison, each in its own plane.

    Args:
        run: the registration.
        is_fitted: whether all of each image comes into sight although the views look at it already; else
            they stay as far in as a user has zoomed until the pose changes.
    """
    for name, kind in IMAGE_VIEWS.items():
        volume = run.find(kind)
        view = run.scene.GetSingletonNode(name, "vtkMRMLSliceNode")
        if view is None:
            continue
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", run.scene):
            if composite.GetLayoutName() == name:
                composite.SetBackgroundVolumeID(None if volume is None else volume.GetID())
                composite.SetForegroundVolumeID(None)
        # The slice of the X-ray stands in 3-D views where the detector was.
        view.SetSliceVisible(kind == "xray" and run.shown is not None)
        if volume is None:
            continue
        faced = f"{volume.GetID()} {run.transform.GetAttribute(MODE)}"
        if is_fitted or view.GetAttribute(_FACES) != faced:
            view.SetAttribute(_FACES, faced)
            face_image(view, volume)


def look_at_target(run: PoseRun) -> None:
    """Turn the 3-D views to the target: from beside the beam, detector and patient in sight, head up."""
    pose, target = run.shown, run.target
    if target is None:
        return
    beam = np.array([0.0, 1.0, 0.0]) if pose is None else pose.camera_to_world[:3, 2]
    beside = np.cross(beam, [0.0, 0.0, 1.0])
    beside *= 1.0 if beside[1] >= 0 else -1.0  # from the front, if there is a choice
    eye = beside - 0.4 * beam + [0.0, 0.0, 0.5]
    focus = np.array(target) + _AHEAD_MM * beam
    position = focus + _EYE_MM * eye / np.linalg.norm(eye)
    for camera in slicer.util.getNodesByClass("vtkMRMLCameraNode", run.scene):
        with slicer.util.NodeModify(camera):
            camera.SetFocalPoint(*(float(v) for v in focus))
            camera.SetPosition(*(float(v) for v in position))
            camera.SetViewUp(0.0, 0.0, 1.0)
        camera.ResetClippingRange()


def _to_world(volume: slicer.vtkMRMLVolumeNode) -> Array:
    """Camera coordinates to world, through the transform that the image hangs under."""
    return matrix_between(volume.GetParentTransformNode(), None)


COMPARISONS = ("blend", "checkerboard", "difference")
DIFFERENCE_LIMIT = 0.2
"""Ends of the color scale of differences, as a share of the brightest line integral."""

_BLACK = 0.05  # share of the X-ray's pixels
_GRAY = "vtkMRMLColorTableNodeGrey"


@dataclass(frozen=True)
class Comparing:
    """How X-ray and DRR are put together.

    Args:
        kind: one of ``COMPARISONS``.
        share: of the DRR in a blend, 0 to 1.
        fields: of the checkerboard along the longer side.
    """

    kind: str = "blend"
    share: float = 0.5
    fields: int = 8


def compared(xray: NDArray[np.floating], drr: NDArray[np.floating], how: Comparing) -> NDArray[np.floating]:
    """Put two images ``(..., rows, columns)`` together.

    Raises:
        ValueError: if the kind is unknown.
    """
    if how.kind == "blend":
        return (1 - how.share) * xray + how.share * drr
    if how.kind == "checkerboard":
        rows, columns = xray.shape[-2:]
        side = max(rows, columns) / how.fields
        row, column = np.ogrid[:rows, :columns]
        return np.where((row // side + column // side) % 2 == 0, xray, drr)
    if how.kind == "difference":
        return xray - drr
    text = _("{kind!r} is not a comparison; give one of {known}.")
    raise ValueError(text.format(kind=how.kind, known=", ".join(COMPARISONS)))


def shades(run: PoseRun) -> tuple[float, float]:
    """Black and white of X-ray, DRR and blend: bones inside a body have no black around them."""
    values = run.array("xray")  # somebody may have deleted it
    return 0.0 if values is None else max(0.0, float(np.quantile(values, _BLACK))), 1.0


def show_comparison(run: PoseRun, how: Comparing) -> slicer.vtkMRMLScalarVolumeNode | None:
    """Refill the run's comparison; ``None`` while no pose is shown."""
    xray, drr, pose = run.find("xray"), run.find("drr"), run.shown
    if pose is None or xray is None or drr is None:
        return None
    node = run.node("comparison", "", "vtkMRMLScalarVolumeNode")
    values = compared(run.array("xray"), run.array("drr"), how)
    place(node, values.astype(np.float32), matrix_of(xray), xray)
    node.SetAttribute(MODE, str(pose.number))
    node.SetAttribute("INN.comparison", how.kind)
    display = node.GetDisplayNode()
    if how.kind == "difference":
        display.SetAndObserveColorNodeID(color_node(run.scene, "INN difference").GetID())
        span(display, -DIFFERENCE_LIMIT, DIFFERENCE_LIMIT)
    else:
        display.SetAndObserveColorNodeID(_GRAY)
        span(display, *shades(run))
    _show_legend(node, how.kind == "difference")
    return node


def _show_legend(node: slicer.vtkMRMLScalarVolumeNode, is_visible: bool) -> None:
    """Differences have colors that need a scale; shades of gray do not."""
    if not is_visible:
        # Views do not draw a legend that is older than they are: it is made when it is needed.
        node.GetScene().RemoveNode(slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node))
        return
    legend = show_legend(node, _("X-ray \u2212 DRR\n[share of\nbrightest]"), "%.1f", 5)
    legend.SetVisibility3D(False)
    legend.Modified()  # that of a scene that was read is drawn only then
