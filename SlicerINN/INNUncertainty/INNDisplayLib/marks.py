"""What marks a node as part of a run, and where a volume lies."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from numpy.typing import NDArray

__all__ = ["IMAGE", "LEVELS", "MAP", "PARAMETER", "RUN", "UNIT", "follow", "mark", "matrix_of", "place"]

RUN, MAP, PARAMETER, UNIT, LEVELS = (f"INN.{word}" for word in ("run", "map", "parameter", "unit", "levels"))
IMAGE = "INN.image"
"""Role of the reference from a run's record to the image that was inferred."""


def mark(node: slicer.vtkMRMLNode, run: str, kind: str, parameter: str) -> None:
    """Say which run a node belongs to, which map it is, and of which parameter."""
    for key, value in ((RUN, run), (MAP, kind), (PARAMETER, parameter)):
        node.SetAttribute(key, value)


def place(node: slicer.vtkMRMLVolumeNode, array: NDArray[Any], matrix: Any, image: Any) -> None:
    """Give a volume its voxels, its geometry, the transform of the image, and a display node.

    Bytes are colors, which are shown as they are.
    """
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(array))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    follow(node, image)
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    if array.dtype == np.uint8 and array.ndim == 4:
        node.GetDisplayNode().AutoWindowLevelOff()
        node.GetDisplayNode().SetWindowLevelMinMax(0, 255)


def follow(node: slicer.vtkMRMLTransformableNode, image: slicer.vtkMRMLNode | None) -> None:
    """Put a node under the transform of an image, if that can have one."""
    can_move = image is not None and image.IsA("vtkMRMLTransformableNode")
    node.SetAndObserveTransformNodeID(image.GetTransformNodeID() if can_move else None)


def matrix_of(node: slicer.vtkMRMLVolumeNode) -> NDArray[np.float64]:
    """Index to RAS millimeters of a volume, without its transform."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)
