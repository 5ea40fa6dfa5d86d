"""Lines and surfaces: polygonal data in its place, and contours at clinical thresholds."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import slicer.util
import vtk
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from .marks import display_of, matrix_of
from .posteriors import probability_below
from .run import Run

__all__ = ["hide_contours", "moved", "polylines", "ribbons", "show_contours", "surface_above"]

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
    surface.SetInputData(image)
    surface.SetValue(0, level)
    surface.ComputeNormalsOff()
    surface.ComputeScalarsOff()  # they would color it
    surface.Update()
    found = surface.GetOutput()
    if found.GetNumberOfPolys() > _MOST_TRIANGLES:
        fewer = vtk.vtkDecimatePro()
        fewer.SetTargetReduction(1 - _MOST_TRIANGLES / found.GetNumberOfPolys())
        fewer.PreserveTopologyOff()
        fewer.SetInputData(found)
        fewer.Update()
        found = fewer.GetOutput()
    if np.linalg.det(matrix[:3, :3]) < 0:
        turned = vtk.vtkReverseSense()  # else a mirroring map would turn the inside out
        turned.SetInputData(found)
        turned.Update()
        found = turned.GetOutput()
    normals = vtk.vtkPolyDataNormals()
    normals.SplittingOff()
    normals.ConsistencyOff()
    normals.SetInputData(moved(found, matrix))
    normals.Update()
    return normals.GetOutput()


_COLOR = (0.0, 0.85, 1.0)
# Probability to lie below the threshold, thickness of its line in pixels, and what it is called.
_LINES = ((0.05, 1, "5 %"), (0.5, 3, "50 %"), (0.95, 1, "95 %"))


def show_contours(run: Run, parameter: str, threshold: float) -> list[slicer.vtkMRMLModelNode]:
    """Draw where a parameter lies below a threshold with a probability of 5, 50 and 95 %.

    The middle line is where the median crosses the threshold; between the outer two nobody can tell on which
    side a voxel is. They end at voxels without a posterior.

    Args:
        run: whose posterior it is.
        parameter: name of the parameter.
        threshold: in its unit.

    Returns:
        One model for each line; earlier lines of the run are replaced. Empty without stored quantiles.
    """
    hide_contours(run)
    stored, like = run.quantiles(parameter), run.find("median", parameter)
    if stored is None or like is None:
        return []
    probability = probability_below(*stored, threshold)
    models = []
    for level, thickness, label in _LINES:
        model = run.node("contour", label, "vtkMRMLModelNode")
        model.SetName(f"{run.name}: P({parameter} < {threshold:g}) = {label}")
        model.SetAndObserveMesh(_surface(probability, level, matrix_of(like)))
        model.SetAndObserveTransformNodeID(like.GetTransformNodeID())
        display = display_of(model)
        display.SetColor(*_COLOR)
        display.SetVisibility2D(True)
        display.SetVisibility3D(False)
        display.SetSliceIntersectionThickness(thickness)
        models.append(model)
    return models


def hide_contours(run: Run) -> None:
    """Remove the lines of a run."""
    for node in [*run.nodes()]:
        if node.GetAttribute("INN.map") == "contour":
            run.drop(node)


def _surface(values: NDArray[np.floating], level: float, matrix: NDArray[np.float64]) -> vtk.vtkPolyData:
    """Where values ``(K, J, I)`` cross a level: a surface, of a single slice a ribbon through it."""
    missing = ~np.isfinite(values)
    if missing.all():
        return vtk.vtkPolyData()
    # The nearest known value keeps lines from running along the edge of what is missing.
    nearest = distance_transform_edt(missing, return_distances=False, return_indices=True)
    image = vtk.vtkImageData()
    image.SetDimensions(*values.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(values[tuple(nearest)].ravel(), deep=True))
    contour = vtk.vtkContourFilter()
    contour.SetInputData(image)
    contour.SetValue(0, level)
    contour.ComputeScalarsOff()  # or slice views color the lines by them
    contour.Update()
    lines = contour.GetOutput()
    if len(values) == 1:  # ribbons as thick as the slice, which a slice view can cut
        down = np.eye(4)
        down[2, 3] = -0.5
        lines = ribbons(moved(lines, down), 1.0)
    return moved(_without(lines, missing), matrix)


def _without(surface: vtk.vtkPolyData, missing: NDArray[np.bool_]) -> vtk.vtkPolyData:
    """The surface without cells in voxels whose value is not known."""
    if not surface.GetNumberOfCells() or not missing.any():
        return surface
    centers = vtk.vtkCellCenters()
    centers.SetInputData(surface)
    centers.Update()
    points = vtk_to_numpy(centers.GetOutput().GetPoints().GetData())
    limit = np.array(missing.shape[::-1]) - 1
    i, j, k = np.clip(np.floor(points + 0.5).astype(int), 0, limit).T
    for cell in np.flatnonzero(missing[k, j, i]):
        surface.DeleteCell(int(cell))
    surface.RemoveDeletedCells()
    return surface
