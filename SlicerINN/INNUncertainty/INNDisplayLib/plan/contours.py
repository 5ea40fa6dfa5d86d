"""Contour lines of the probability to lie below a threshold: where they run, and how they are drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..results.run import Run
from ..scene.marks import matrix_of
from ..scene.meshes import moved, output_of, ribbons
from .contour_labels import LABELS, across_slices, label_lines

__all__ = ["contour_meshes", "draw_contours", "hide_contours"]

Array = NDArray[np.float64]

_PARALLEL = 1e-5
_COLOR = (0.0, 0.85, 1.0)
# Probability to lie below the threshold, thickness of its line in pixels, and what it is called.
_LINES = ((0.05, 1, "5 %"), (0.5, 3, "50 %"), (0.95, 1, "95 %"))


_SMOOTHED, _REACH = 1.0, 2  # voxels in the plane: standard deviation, and how far a voxel counts


def contour_meshes(
    layers: Sequence[NDArray[np.floating]],
    levels: NDArray[np.floating],
    threshold: float,
    planes: Sequence[tuple[Array, Array]] | None = None,
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
        planes: a point and the normal of each plane, ``(i, j, k)``, to which the lines are confined: the
            surfaces of a large volume are too many triangles to be cut at every step of a slice view.
    """
    found = []
    for level, _, _ in _LINES:
        place = int(np.clip(np.searchsorted(levels, level), 1, len(levels) - 1))
        weight = np.float32((level - levels[place - 1]) / (levels[place] - levels[place - 1]))
        near = layers[place - 1], layers[place], weight
        if planes is None:
            values = _between(*near)
            found.append(_without(_surface(_grid(values), threshold), ~np.isfinite(values)))
            continue
        whole = vtk.vtkAppendPolyData()
        for point, normal in planes:
            whole.AddInputData(_lines_in_plane(near, threshold, point, normal))
        whole.Update()
        found.append(whole.GetOutput())
    return found


def _between(low: NDArray[np.floating], high: NDArray[np.floating], weight: np.float32) -> NDArray:
    """The map of a quantile between two that are stored, or beyond the outermost of them."""
    return low + weight * (high - low)


def _lines_in_plane(
    near: tuple[NDArray[np.floating], NDArray[np.floating], np.float32],
    threshold: float,
    point: Array,
    normal: Array,
) -> vtk.vtkPolyData:
    part = _slab(near[0].shape, point, normal)
    start = np.array([each.start or 0 for each in part[::-1]], float)
    slab = _between(near[0][part], near[1][part], near[2])
    contour = vtk.vtkContourFilter()
    contour.SetValue(0, threshold)
    contour.ComputeScalarsOff()
    lines = output_of(contour, _cut(slab, point - start, normal))
    shift = np.eye(4)
    shift[:3, 3] = start
    return moved(_without(ribbons(lines, normal), ~np.isfinite(slab)), shift)


def _slab(shape: tuple[int, ...], point: Array, normal: Array) -> tuple[slice, ...]:
    """The slices beside a plane that its lines depend on; all slices for an oblique plane."""
    part = [slice(None)] * 3
    axis = int(np.abs(normal).argmax())
    if np.abs(np.delete(normal, axis)).max() < _PARALLEL:
        margin, size = 1 + _REACH, shape[2 - axis]
        first = int(np.clip(np.floor(point[axis]) - margin, 0, max(size - 2 * margin - 1, 0)))
        part[2 - axis] = slice(first, first + 2 * margin + 1)
    return tuple(part)


def _cut(values: NDArray[np.floating], point: Array, normal: Array) -> vtk.vtkPolyData:
    """A plane through values, which are continued where they are missing."""
    plane, cut = vtk.vtkPlane(), vtk.vtkCutter()
    middle = (np.array(values.shape[::-1]) - 1) / 2
    inward = np.sign((middle - point) @ normal) * normal  # a plane in the outermost slice would cut nothing
    plane.SetOrigin(*(point + _PARALLEL * inward))
    plane.SetNormal(*normal)
    cut.SetCutFunction(plane)
    return output_of(cut, _grid(values))


def _grid(values: NDArray[np.floating]) -> vtk.vtkImageData:
    """Values ``(K, J, I)`` as an image of voxels, smoothed, and continued where they are missing."""
    missing = np.isnan(values)
    image = vtk.vtkImageData()
    image.SetDimensions(*values.shape[::-1])
    filled = _continued(values, missing) if missing.any() else values
    in_plane = np.arange(3)[::-1] != across_slices(values.shape[::-1])
    smooth = gaussian_filter(filled, _SMOOTHED * in_plane, mode="nearest", radius=_REACH * in_plane)
    image.GetPointData().SetScalars(numpy_to_vtk(smooth.ravel(), deep=True))
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
    like, shown, models = run.find("median", parameter), run.parameter(parameter), []
    label_lines(run, like, meshes, [label for _, _, label in _LINES], _COLOR)
    for (_, thickness, label), mesh in zip(_LINES, meshes, strict=True):
        model = run.draw("contour", moved(mesh, matrix_of(like)), _COLOR, label, thickness)
        model.SetName(f"{run.name}: P({shown.label} < {shown.text(threshold)}) = {label}")
        model.SetAndObserveTransformNodeID(like.GetTransformNodeID())
        model.GetDisplayNode().SetVisibility3D(False)
        models.append(model)
    return models


def hide_contours(run: Run) -> None:
    """Remove the lines of a run."""
    run.forget("contour", LABELS)


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
    shape = image.GetDimensions()
    is_flat = 1 in shape
    contour = vtk.vtkContourFilter() if is_flat else vtk.vtkFlyingEdges3D()
    if not is_flat:
        contour.ComputeNormalsOff()
    contour.SetValue(0, level)
    contour.ComputeScalarsOff()  # or slice views color the lines by them
    found = output_of(contour, image)
    return ribbons(found, np.eye(3)[across_slices(shape)]) if is_flat else found  # as thick as the slice


def _without(surface: vtk.vtkPolyData, missing: NDArray[np.bool_]) -> vtk.vtkPolyData:
    """The surface without cells in voxels whose value is not known."""
    if not surface.GetNumberOfCells() or not missing.any():
        return surface
    points = vtk_to_numpy(output_of(vtk.vtkCellCenters(), surface).GetPoints().GetData())
    limit = np.array(missing.shape[::-1]) - 1
    i, j, k = np.clip(np.floor(points + 0.5).astype(int), 0, limit).T
    ghosts = numpy_to_vtk(missing[k, j, i].astype(np.uint8), deep=True)
    ghosts.SetName(vtk.vtkDataSetAttributes.GhostArrayName())
    surface.GetCellData().AddArray(ghosts)
    surface.RemoveGhostCells()
    return surface
