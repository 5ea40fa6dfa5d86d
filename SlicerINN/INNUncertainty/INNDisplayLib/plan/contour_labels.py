"""Names of contour lines, written beside them in slice views."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

from ..results.run import Run
from ..scene.marks import display_of, matrix_of
from ..scene.meshes import output_of

__all__ = ["LABELS", "across_slices", "label_lines"]

LABELS = "contour labels"
_MOST_SLICES = 64
_TEXT_SCALE, _GLYPH_SCALE = 3.5, 0.5
# Axis in the plane and side at which each line has its name: names of lines side by side must not meet.
_ENDS = ((0, 1), (1, 1), (0, -1))


def label_lines(
    run: Run,
    like: slicer.vtkMRMLVolumeNode,
    meshes: Sequence[vtk.vtkPolyData],
    names: Sequence[str],
    color: tuple[float, float, float],
) -> slicer.vtkMRMLMarkupsFiducialNode:
    """Write the name of each line once into every slice, of tall stacks into 64 slices.

    Args:
        run: whose lines they are.
        like: the volume on whose voxels they lie.
        meshes: the lines in coordinates of voxels (i, j, k).
        names: what they are called.
        color: that of the lines.
    """
    labels = run.node(LABELS, "", "vtkMRMLMarkupsFiducialNode")
    labels.SetHideFromEditors(True)
    shape, matrix = like.GetImageData().GetDimensions(), matrix_of(like)
    across = across_slices(shape)
    with slicer.util.NodeModify(labels):
        labels.RemoveAllControlPoints()
        for mesh, name, end in zip(meshes, names, _ENDS, strict=True):
            for point in _points(mesh, shape[across], across, *end):
                labels.AddControlPoint(*(float(v) for v in (matrix @ [*point, 1])[:3]), name)
        labels.SetLocked(True)
        labels.SetAndObserveTransformNodeID(like.GetTransformNodeID())
    display = display_of(labels)
    display.SetSelectedColor(*color)
    display.SetColor(*color)
    display.SetTextScale(_TEXT_SCALE)
    display.SetGlyphScale(_GLYPH_SCALE)
    display.SetVisibility3D(False)
    return labels


def across_slices(shape: Sequence[int]) -> int:
    """The axis of voxels (i, j, k) across the slices: k, but that of a single slice in another plane."""
    return list(shape).index(1) if 1 in shape and shape[2] != 1 else 2


def _points(
    mesh: vtk.vtkPolyData, slices: int, across: int, axis: int, side: int
) -> list[NDArray[np.float64]]:
    """The outermost point of a line in each slice; of a single slice that of the longest line."""
    if not mesh.GetNumberOfPoints():
        return []
    if slices == 1:
        longest = vtk.vtkPolyDataConnectivityFilter()
        longest.SetExtractionModeToLargestRegion()
        mesh = output_of(vtk.vtkCleanPolyData(), output_of(longest, mesh))  # without points of the others
    points = vtk_to_numpy(mesh.GetPoints().GetData()).astype(float)
    if slices == 1:
        points[:, across] = 0  # of a ribbon as thick as the slice
    end = [each for each in range(3) if each != across][axis]
    step = -(-slices // _MOST_SLICES)
    found = []
    for n in range(0, slices, step):
        off = np.abs(points[:, across] - n)
        inside = points[off < 0.25] if (off < 0.25).any() else points[off <= 0.5]  # of ribbons both edges
        if len(inside):
            found.append(inside[(side * inside[:, end]).argmax()])
    return found
