"""Lines and surfaces: polygonal data in its place."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import slicer.util
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk

__all__ = ["moved", "output_of", "polylines", "ribbons", "surface_above", "tube"]

Array = NDArray[np.float64]


def output_of(step: vtk.vtkAlgorithm, given: vtk.vtkDataObject) -> vtk.vtkPolyData:
    """Return what a step of VTK makes of a mesh or an image."""
    step.SetInputData(given)
    step.Update()
    return step.GetOutput()


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


def ribbons(lines: vtk.vtkPolyData, along: Array) -> vtk.vtkPolyData:
    """Return lines drawn out along a vector, half of it to either side, which a slice view can cut."""
    if not lines.GetNumberOfCells():
        return vtk.vtkPolyData()
    back = np.eye(4)
    back[:3, 3] = -np.asarray(along) / 2
    ribbon = vtk.vtkLinearExtrusionFilter()
    ribbon.SetExtrusionTypeToVectorExtrusion()
    ribbon.SetVector(*along)
    ribbon.CappingOff()
    return output_of(ribbon, moved(lines, back))


_SIDES = 36


def tube(line: Array, radius: float) -> vtk.vtkPolyData:
    """Return the tube around a line ``(N, 3)``, closed at both ends."""
    around = vtk.vtkTubeFilter()
    around.SetRadius(radius)
    around.SetNumberOfSides(_SIDES)
    around.CappingOn()
    return output_of(around, polylines([line]))


def moved(surface: vtk.vtkPolyData, matrix: Array) -> vtk.vtkPolyData:
    """Return a surface under an affine map ``(4, 4)``."""
    transform = vtk.vtkTransform()
    transform.SetMatrix(slicer.util.vtkMatrixFromArray(matrix))
    placed = vtk.vtkTransformPolyDataFilter()
    placed.SetTransform(transform)
    return output_of(placed, surface)


_MOST_TRIANGLES = 80_000


def surface_above(values: Array, matrix: Array, level: float) -> vtk.vtkPolyData:
    """Return the closed surface around all that is above a level, in triangles few enough to be turned.

    Args:
        values: voxels ``(K, J, I)``.
        matrix: index to world, ``(4, 4)``, of any handedness.
        level: in the unit of the voxels.
    """
    padded = np.pad(values.astype(np.float32), 1)  # closes what ends where the volume does
    image = vtk.vtkImageData()
    image.SetDimensions(*padded.shape[::-1])
    image.SetOrigin(-1, -1, -1)
    image.GetPointData().SetScalars(numpy_to_vtk(padded.ravel(), deep=True))
    surface = vtk.vtkFlyingEdges3D()
    surface.SetValue(0, level)
    surface.ComputeNormalsOff()
    surface.ComputeScalarsOff()  # they would color it
    found = output_of(surface, image)
    if found.GetNumberOfPolys() > _MOST_TRIANGLES:
        fewer = vtk.vtkDecimatePro()
        fewer.SetTargetReduction(1 - _MOST_TRIANGLES / found.GetNumberOfPolys())
        fewer.PreserveTopologyOff()
        found = output_of(fewer, found)
    if np.linalg.det(matrix[:3, :3]) < 0:
        # Else a mirroring map would turn the inside out.
        found = output_of(vtk.vtkReverseSense(), found)
    normals = vtk.vtkPolyDataNormals()
    normals.SplittingOff()
    normals.ConsistencyOff()
    return output_of(normals, moved(found, matrix))
