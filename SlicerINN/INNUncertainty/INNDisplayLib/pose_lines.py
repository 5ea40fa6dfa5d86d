"""Lines of a C-arm and of the target that it sees: detector, beam, and the shadow of the 95 % ellipsoid."""

from __future__ import annotations

import numpy as np
import vtk
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from .meshes import polylines, ribbons
from .pose_result import PoseResult

__all__ = ["carm_lines", "detector_corners", "seen_by", "shadow"]

_SOURCE_MM = 10.0
_ARM_MM = 4.0  # of the cross, on the detector
_DEPTH_MM = 1.0  # a slice view draws what its plane cuts, so lines are ribbons across the detector's plane
_LEAST_MM = 0.5
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
    around = np.concatenate([corners, corners[:1]])
    source = vtk.vtkSphereSource()
    source.SetRadius(_SOURCE_MM)
    both = vtk.vtkAppendPolyData()
    both.AddInputData(polylines([around, *np.stack([corners, start], 1)]))
    both.AddInputConnection(source.GetOutputPort())
    both.Update()
    return both.GetOutput()


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
    behind = depth - _DEPTH_MM / 2
    return ribbons(polylines(np.insert(line, 2, behind, axis=1) for line in lines), _DEPTH_MM)
