"""Polygonal data that is drawn: lines, ribbons along them, and surfaces in their place."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import slicer
import slicer.util
import vtk
from numpy.typing import NDArray

__all__ = ["moved", "polylines", "ribbons"]

Array = NDArray[np.float64]


def polylines(lines: Iterable[Array]) -> vtk.vtkPolyData:
    """Return lines through points, each ``(N, 3)``."""
    points, cells = vtk.vtkPoints(), vtk.vtkCellArray()
    for line in lines:
        cells.InsertNextCell(len(line))
        for point in line:
            cells.InsertCellPoint(points.InsertNextPoint(*(float(v) for v in point)))
    drawn = vtk.vtkPolyData()
    drawn.SetPoints(points)
    drawn.SetLines(cells)
    return drawn


def ribbons(lines: vtk.vtkPolyData, depth: float) -> vtk.vtkPolyData:
    """Return lines drawn out along z, from where they are, which a slice view can cut."""
    ribbon = vtk.vtkLinearExtrusionFilter()
    ribbon.SetExtrusionTypeToVectorExtrusion()
    ribbon.SetVector(0, 0, depth)
    ribbon.CappingOff()
    ribbon.SetInputData(lines)
    ribbon.Update()
    return ribbon.GetOutput()


def moved(surface: vtk.vtkPolyData, matrix: Array) -> vtk.vtkPolyData:
    """Return a surface under an affine map ``(4, 4)``."""
    transform = vtk.vtkTransform()
    transform.SetMatrix(slicer.util.vtkMatrixFromArray(matrix))
    placed = vtk.vtkTransformPolyDataFilter()
    placed.SetTransform(transform)
    placed.SetInputData(surface)
    placed.Update()
    return placed.GetOutput()
