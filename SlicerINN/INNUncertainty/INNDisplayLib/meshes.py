"""Lines and surfaces: polygonal data in its place, and contours at clinical thresholds."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import slicer.util
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from .marks import display_of, matrix_of
from .run import Run

__all__ = [
    "contour_meshes",
    "draw_contours",
    "hide_contours",
    "moved",
    "polylines",
    "ribbons",
    "surface_above",
    "tube",
]

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


def ribbons(lines: vtk.vtkPolyData, along: Array) -> vtk.vtkPolyData:
    """Return lines drawn out along a vector, half of it to either side, which a slice view can cut."""
    back = np.eye(4)
    back[:3, 3] = -np.asarray(along) / 2
    ribbon = vtk.vtkLinearExtrusionFilter()
    ribbon.SetExtrusionTypeToVectorExtrusion()
    ribbon.SetVector(*along)
    ribbon.CappingOff()
    ribbon.SetInputData(moved(lines, back))
    ribbon.Update()
    return ribbon.GetOutput()


_SIDES = 36


def tube(line: Array, radius: float) -> vtk.vtkPolyData:
    """Return the tube around a line ``(N, 3)``, closed at both ends."""
    around = vtk.vtkTubeFilter()
    around.SetInputData(polylines([line]))
    around.SetRadius(radius)
    around.SetNumberOfSides(_SIDES)
    around.CappingOn()
    around.Update()
    return around.GetOutput()


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


_PARALLEL = 1e-5
_COLOR = (0.0, 0.85, 1.0)
# Probability to lie below the threshold, thickness of its line in pixels, and what it is called.
_LINES = ((0.05, 1, "5 %"), (0.5, 3, "50 %"), (0.95, 1, "95 %"))


def contour_meshes(
    probability: NDArray[np.floating], planes: Iterable[tuple[Array, Array]] | None = None
) -> list[vtk.vtkPolyData]:
    """Return where a probability ``(K, J, I)`` is 5, 50 and 95 %, in coordinates of voxels (i, j, k).

    The middle line is where the median crosses the threshold; between the outer two nobody can tell on which
    side a voxel is. They end at voxels without a posterior.

    Args:
        probability: NaN where there is no posterior.
        planes: a point and the normal of each plane, ``(i, j, k)``, to which the lines are confined: the
            surfaces of a large volume are too many triangles to be cut at every step of a slice view.
    """
    if planes is None:
        return [_without(mesh, ~np.isfinite(probability)) for mesh in _surfaces(probability)]
    found = [vtk.vtkAppendPolyData() for _ in _LINES]
    for point, normal in planes:
        start, slab = _slab(probability, point, normal)
        missing = ~np.isfinite(slab)
        cut = _cut(slab, point - start, normal)
        for (level, _, _), whole in zip(_LINES, found, strict=True):
            contour = vtk.vtkContourFilter()
            contour.SetInputData(cut)
            contour.SetValue(0, level)
            contour.ComputeScalarsOff()
            contour.Update()
            lines = _without(ribbons(contour.GetOutput(), normal), missing)
            shift = np.eye(4)
            shift[:3, 3] = start
            whole.AddInputData(moved(lines, shift))
    for whole in found:
        whole.Update()
    return [whole.GetOutput() for whole in found]


def _slab(values: NDArray[np.floating], point: Array, normal: Array) -> tuple[Array, NDArray[np.floating]]:
    """Where the slices beside a plane begin, (i, j, k), and their values; all slices for an oblique plane."""
    part, start = [slice(None)] * 3, np.zeros(3)
    axis = int(np.abs(normal).argmax())
    if np.abs(np.delete(normal, axis)).max() < _PARALLEL:
        first = int(np.clip(np.floor(point[axis]) - 1, 0, max(values.shape[2 - axis] - 3, 0)))
        part[2 - axis], start[axis] = slice(first, first + 3), first
    return start, values[tuple(part)]


def _cut(values: NDArray[np.floating], point: Array, normal: Array) -> vtk.vtkPolyData:
    """A plane through values, which are continued where they are missing."""
    plane, cut = vtk.vtkPlane(), vtk.vtkCutter()
    middle = (np.array(values.shape[::-1]) - 1) / 2
    inward = np.sign((middle - point) @ normal) * normal  # a plane in the outermost slice would cut nothing
    plane.SetOrigin(*(point + _PARALLEL * inward))
    plane.SetNormal(*normal)
    cut.SetCutFunction(plane)
    cut.SetInputData(_grid(values))
    cut.Update()
    return cut.GetOutput()


def _surfaces(probability: NDArray[np.floating]) -> list[vtk.vtkPolyData]:
    """Where a probability crosses the levels, also in what is missing."""
    if not np.isfinite(probability).any():
        return [vtk.vtkPolyData() for _ in _LINES]
    image = _grid(probability)
    return [_surface(image, level) for level, _, _ in _LINES]


def _grid(values: NDArray[np.floating]) -> vtk.vtkImageData:
    """Values ``(K, J, I)`` as an image in coordinates of voxels, continued where they are missing."""
    missing = np.isnan(values)
    image = vtk.vtkImageData()
    image.SetDimensions(*values.shape[::-1])
    filled = _continued(values, missing) if missing.any() else np.ascontiguousarray(values)
    image.GetPointData().SetScalars(numpy_to_vtk(filled.ravel(), deep=True))
    return image


def draw_contours(
    run: Run, parameter: str, threshold: float, meshes: list[vtk.vtkPolyData]
) -> list[slicer.vtkMRMLModelNode]:
    """Draw the lines of a run, in the place of earlier ones; a model for each.

    Args:
        run: whose posterior it is.
        parameter: name of the parameter.
        threshold: in its unit.
        meshes: what ``contour_meshes`` has found.
    """
    like, models = run.find("median", parameter), []
    for (_, thickness, label), mesh in zip(_LINES, meshes, strict=True):
        model = run.node("contour", label, "vtkMRMLModelNode")
        model.SetName(f"{run.name}: P({parameter} < {threshold:g}) = {label}")
        model.SetAndObserveMesh(moved(mesh, matrix_of(like)))
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


def _continued(values: NDArray[np.floating], missing: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Values with those of neighbors where they are missing: lines must not run along that edge.

    Farther than two voxels inside what is missing they do not matter, for lines are cut there.
    """
    filled = values.copy()
    for _ in range(2):
        for axis in range(3):
            for here, there in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
                of, source = (np.moveaxis(filled, axis, 0)[part] for part in (here, there))
                np.copyto(of, source, where=np.isnan(of))
    return np.nan_to_num(filled, copy=False)


def _surface(image: vtk.vtkImageData, level: float) -> vtk.vtkPolyData:
    """Where an image crosses a level: a surface, of a single slice a ribbon through it."""
    is_flat = image.GetDimensions()[2] == 1
    contour = vtk.vtkFlyingEdges2D() if is_flat else vtk.vtkFlyingEdges3D()
    if not is_flat:
        contour.ComputeNormalsOff()
    contour.SetInputData(image)
    contour.SetValue(0, level)
    contour.ComputeScalarsOff()  # or slice views color the lines by them
    contour.Update()
    if not is_flat:
        return contour.GetOutput()
    return ribbons(contour.GetOutput(), np.array([0.0, 0.0, 1.0]))  # as thick as the slice


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
    ghosts = numpy_to_vtk(missing[k, j, i].astype(np.uint8), deep=True)
    ghosts.SetName(vtk.vtkDataSetAttributes.GhostArrayName())
    surface.GetCellData().AddArray(ghosts)
    surface.RemoveGhostCells()
    return surface
