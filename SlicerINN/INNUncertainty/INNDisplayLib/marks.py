"""What marks a node as part of a run, where a volume lies, and how it is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 (what everybody calls it)
import slicer
import slicer.util
import vtk
from numpy.typing import NDArray

__all__ = [
    "IMAGE",
    "LEVELS",
    "MAP",
    "PARAMETER",
    "RUN",
    "UNIT",
    "follow",
    "itk_image",
    "mark",
    "matrix_of",
    "place",
]

RUN, MAP, PARAMETER, UNIT, LEVELS = (f"INN.{word}" for word in ("run", "map", "parameter", "unit", "levels"))
IMAGE = "INN.image"
"""Role of the reference from a run's record to the image that was inferred."""


def mark(node: slicer.vtkMRMLNode, run: str, kind: str, parameter: str) -> None:
    """Say which run a node belongs to, which map it is, and of which parameter."""
    for key, value in ((RUN, run), (MAP, kind), (PARAMETER, parameter)):
        node.SetAttribute(key, value)


def display_of(node: slicer.vtkMRMLDisplayableNode) -> slicer.vtkMRMLDisplayNode:
    """The display node of a node, made if it is missing."""
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    return node.GetDisplayNode()


def span(display: slicer.vtkMRMLVolumeDisplayNode, low: float, high: float) -> None:
    """Let the shades or colors of a volume reach from one value to another."""
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(low, high)


def show_legend(volume: slicer.vtkMRMLVolumeNode, title: str, form: str, labels: int) -> Any:
    """Show the color scale of a volume at the edge of the views, and return its node."""
    legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(volume)
    legend.SetTitleText(title)
    legend.SetLabelFormat(form)
    legend.SetNumberOfLabels(labels)
    legend.SetPosition(0.97, 0.5)
    legend.SetSize(0.11, 0.5)  # the text grows with the box, font sizes are not looked at
    return legend


def place(node: slicer.vtkMRMLVolumeNode, array: NDArray[Any], matrix: Any, image: Any) -> None:
    """Give a volume its voxels, its geometry, the transform of the image, and a display node.

    Bytes are colors, which are shown as they are.
    """
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(array))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    follow(node, image)
    display = display_of(node)
    if array.dtype == np.uint8 and array.ndim == 4:
        span(display, 0, 255)


def follow(node: slicer.vtkMRMLTransformableNode, image: slicer.vtkMRMLNode | None) -> None:
    """Put a node under the transform of an image, if that can have one."""
    can_move = image is not None and image.IsA("vtkMRMLTransformableNode")
    node.SetAndObserveTransformNodeID(image.GetTransformNodeID() if can_move else None)


def matrix_of(node: slicer.vtkMRMLVolumeNode) -> NDArray[np.float64]:
    """Index to RAS millimeters of a volume, without its transform."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def itk_image(array: NDArray[Any], matrix: NDArray[np.float64]) -> sitk.Image:
    """Return an image of voxels ``(K, J, I)``, or of vectors ``(K, J, I, C)``.

    Args:
        array: the voxels.
        matrix: index to RAS millimeters, ``(4, 4)``.
    """
    image = sitk.GetImageFromArray(np.ascontiguousarray(array), isVector=array.ndim == 4)
    lps = _RAS_TO_LPS @ matrix
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image
