"""A C-arm as lines: from the source, along the edges of its beam, around the detector."""

from __future__ import annotations

import numpy as np
import vtk
from numpy.typing import NDArray

__all__ = ["carm_lines", "detector_corners"]

_SOURCE_MM = 10.0
Array = NDArray[np.float64]


def detector_corners(matrix: Array, rows: int, columns: int) -> Array:
    """Outer corners of the image, around it, in camera coordinates, mm, ``(4, 3)``.

    Args:
        matrix: index to camera coordinates of the image.
        rows: its height in pixels.
        columns: its width.
    """
    right, low = columns - 0.5, rows - 0.5
    at = np.array([[-0.5, -0.5], [right, -0.5], [right, low], [-0.5, low]])
    return at @ matrix[:3, :2].T + matrix[:3, 3]


def carm_lines(corners: Array, is_parallel: bool) -> vtk.vtkPolyData:
    """Detector, edges of the beam, and a ball at the source.

    Args:
        corners: of the detector, in camera coordinates.
        is_parallel: whether rays are parallel; they then come from a frame in the plane of the source.
    """
    start = corners * [1, 1, 0] if is_parallel else np.zeros_like(corners)
    points, lines = vtk.vtkPoints(), vtk.vtkCellArray()
    for point in (*corners, *start):
        points.InsertNextPoint(*(float(v) for v in point))
    around = [(n, (n + 1) % 4) for n in range(4)]
    edges = [(n, n + 4) for n in range(4)]
    for first, last in (*around, *edges):
        lines.InsertNextCell(2)
        lines.InsertCellPoint(first)
        lines.InsertCellPoint(last)
    drawn = vtk.vtkPolyData()
    drawn.SetPoints(points)
    drawn.SetLines(lines)
    source = vtk.vtkSphereSource()
    source.SetRadius(_SOURCE_MM)
    both = vtk.vtkAppendPolyData()
    both.AddInputData(drawn)
    both.AddInputConnection(source.GetOutputPort())
    both.Update()
    return both.GetOutput()
