"""Lines and surfaces: polygonal data in its place, and contours at clinical thresholds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import slicer.util
import vtk
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from .contour_labels import LABELS, label_lines
from .marks import MAP, display_of, matrix_of
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


def ribbons(lines: vtk.vtkPolyData, depth: float) -> vtk.vtkPolyData:
    """Return lines drawn out along z, from where they are, which a slice view can cut."""
    ribbon = vtk.vtkLinearExtrusionFilter()
    ribbon.SetExtrusionTypeToVectorExtrusion()
    ribbon.SetVector(0, 0, depth)
    ribbon.CappingOff()
    ribbon.SetInputData(lines)
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


_COLOR = (0.0, 0.85, 1.0)
# Probability to lie below the threshold, thickness of its line in pixels, and what it is called.
_LINES = ((0.05, 1, "5 %"), (0.5, 3, "50 %"), (0.95, 1, "95 %"))


_SMOOTHED, _REACH = 1.0, 2  # voxels in the plane: standard deviation, and how far a voxel counts


def contour_meshes(
    layers: Sequence[NDArray[np.floating]], levels: NDArray[np.floating], threshold: float
) -> list[vtk.vtkPolyData]:
    """Return where the probability to lie below a threshold is 5, 50 and 95 %, in voxels (i, j, k).

    The middle line is where the median crosses the threshold; between the outer two nobody can tell on which
    side a voxel is. Each is where the map of its quantile crosses the threshold. The map is smoothed over one
    voxel in the plane: smoothing the probability would part the lines of a sharp border. They end at voxels
    without a posterior.

    Args:
        layers: a map ``(K, J, I)`` of each stored quantile; NaN where there is no posterior.
        levels: of the quantiles, ascending.
        threshold: in their unit.
    """
    missing = ~np.isfinite(layers[0])
    if missing.all():
        return [vtk.vtkPolyData() for _ in _LINES]
    meshes = []
    for level, _, _ in _LINES:
        values = _quantile(layers, levels, level)
        filled = _continued(values, missing) if missing.any() else values
        smooth = gaussian_filter(
            filled, (0, _SMOOTHED, _SMOOTHED), mode="nearest", radius=(0, _REACH, _REACH)
        )
        image = vtk.vtkImageData()
        image.SetDimensions(*smooth.shape[::-1])
        image.GetPointData().SetScalars(numpy_to_vtk(smooth.ravel()))
        meshes.append(_without(_surface(image, threshold), missing))
    return meshes


def _quantile(
    layers: Sequence[NDArray[np.floating]], levels: NDArray[np.floating], level: float
) -> NDArray[np.floating]:
    """The map of a quantile between those that are stored; the outermost two are continued."""
    place = int(np.clip(np.searchsorted(levels, level), 1, len(levels) - 1))
    weight = np.float32((level - levels[place - 1]) / (levels[place] - levels[place - 1]))
    return layers[place - 1] + weight * (layers[place] - layers[place - 1])


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
    like, shown, models = run.find("median", parameter), run.parameter(parameter), []
    label_lines(run, like, meshes, [label for _, _, label in _LINES], _COLOR)
    for (_, thickness, label), mesh in zip(_LINES, meshes, strict=True):
        model = run.node("contour", label, "vtkMRMLModelNode")
        model.SetName(f"{run.name}: P({shown.label} < {shown.text(threshold)}) = {label}")
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
        if node.GetAttribute(MAP) in ("contour", LABELS):
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
    down = np.eye(4)
    down[2, 3] = -0.5
    return ribbons(moved(contour.GetOutput(), down), 1.0)  # as thick as the slice, which a slice view can cut


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
