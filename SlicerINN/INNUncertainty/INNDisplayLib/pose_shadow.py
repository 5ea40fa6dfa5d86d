"""The target in the X-ray: a cross where it appears, and the outline that its 95 % ellipsoid casts."""

from __future__ import annotations

import numpy as np
import vtk
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from .pose_result import PoseResult

__all__ = ["seen_by", "shadow"]

_ARM_MM = 4.0  # of the cross, on the detector
_DEPTH_MM = 1.0  # a slice view draws what its plane cuts, so lines are ribbons across the detector's plane
_LEAST_MM = 0.5
Array = NDArray[np.float64]


def seen_by(result: PoseResult, camera_to_world: Array, points: Array) -> Array:
    """Where points (RAS, mm), ``(N, 3)``, appear on the detector: camera coordinates in mm, ``(N, 2)``."""
    detector = result.record["detector"]
    seen = (points - camera_to_world[:3, 3]) @ camera_to_world[:3, :3]
    if detector["beam"] == "parallel":
        return seen[:, :2]
    return seen[:, :2] * detector["source_detector_mm"] / seen[:, 2:]


def shadow(center: Array, surface: Array, depth: float) -> vtk.vtkPolyData:
    """Cross and outline as ribbons through the detector's plane, in camera coordinates.

    Args:
        center: where the target appears, ``(2,)``.
        surface: where points of its ellipsoid appear, ``(N, 2)``; too small an outline is left out.
        depth: distance of the detector from the source.
    """
    arms = _ARM_MM * np.array([[1.0, 0.0], [0.0, 1.0]])
    lines = [np.stack([center - arm, center + arm]) for arm in arms]
    if np.ptp(surface, axis=0).max() > _LEAST_MM:
        hull = surface[ConvexHull(surface, qhull_options="QJ").vertices]  # QJ: also where all lie on a line
        lines.append(np.concatenate([hull, hull[:1]]))
    points, cells = vtk.vtkPoints(), vtk.vtkCellArray()
    for line in lines:
        cells.InsertNextCell(len(line))
        for x, y in line:
            cells.InsertCellPoint(points.InsertNextPoint(float(x), float(y), depth - _DEPTH_MM / 2))
    drawn = vtk.vtkPolyData()
    drawn.SetPoints(points)
    drawn.SetLines(cells)
    ribbon = vtk.vtkLinearExtrusionFilter()
    ribbon.SetExtrusionTypeToVectorExtrusion()
    ribbon.SetVector(0, 0, _DEPTH_MM)
    ribbon.CappingOff()
    ribbon.SetInputData(drawn)
    ribbon.Update()
    return ribbon.GetOutput()
