"""Where a point of the patient may really lie: its ellipsoid, the shadow of that, and the C-arm seeing it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import vtk
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from ..numbers.trajectories import carried_points
from ..scene.meshes import moved, polylines, ribbons
from ..translating import tr as _
from .result import Pose, PoseResult, PoseSamples

__all__ = [
    "CHI_95",
    "Spread",
    "carm_lines",
    "detector_corners",
    "ellipsoid",
    "ellipsoid_surface",
    "seen_by",
    "shadow",
    "spread_of",
]

CHI_95 = 2.795483482915108
"""Radius in standard deviations that holds 95 % of a normal distribution in three dimensions."""

_FEWEST = 5
_FIXED_MM = 0.05
_FINE = 36
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """Where a point would lie in the CT if other samples of a pose were true.

    Args:
        mean: RAS in mm, ``(3,)``.
        covariance: mm², ``(3, 3)``.
        samples: how many samples are behind it.
    """

    mean: Array
    covariance: Array
    samples: int

    def axes(self) -> tuple[Array, Array]:
        """Half lengths of the 95 % ellipsoid in mm, longest first, and its axes as columns of a rotation."""
        variance, axes = np.linalg.eigh(self.covariance)
        axes = axes[:, ::-1].copy()
        axes[:, 2] *= np.sign(np.linalg.det(axes))
        return CHI_95 * np.sqrt(np.maximum(variance[::-1], 0)), axes

    @property
    def text(self) -> str:
        """Its half lengths in words."""
        lengths, axes = self.axes()
        if lengths[0] < _FIXED_MM:
            return _("Target: this bundle keeps its place fixed; only points beside it move with the pose.")
        said = ", ".join(f"± {length:.1f}" for length in lengths)
        directions = _("left to right"), _("back to front"), _("foot to head")
        text = _("Target, 95 %: {lengths} mm along its axes; longest {direction}.")
        return text.format(lengths=said, direction=directions[int(np.abs(axes[:, 0]).argmax())])


def spread_of(samples: PoseSamples, pose: Pose, point: NDArray[np.floating]) -> Spread | None:
    """Spread of a point over the samples of a pose; ``None`` if there are too few to tell.

    Args:
        samples: posterior samples.
        pose: the pose that the scene shows.
        point: in the CT, RAS in mm.
    """
    own = samples.camera_to_world[samples.mode == pose.number]
    if len(own) < _FEWEST:
        return None
    moved = carried_points(own, pose.camera_to_world, np.array([point]))[:, 0]
    return Spread(moved.mean(0), np.cov(moved, rowvar=False), len(own))


def ellipsoid(spread: Spread) -> vtk.vtkPolyData:
    """The surface that holds 95 % of a spread, in world coordinates."""
    return ellipsoid_surface(*spread.axes(), spread.mean)


def ellipsoid_surface(lengths: Array, axes: Array, center: Array) -> vtk.vtkPolyData:
    """An ellipsoid in world coordinates.

    Args:
        lengths: half axes in mm, ``(3,)``.
        axes: their directions as columns of a rotation, ``(3, 3)``.
        center: RAS in mm, ``(3,)``.
    """
    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(1.0)
    sphere.SetThetaResolution(_FINE)
    sphere.SetPhiResolution(_FINE // 2 + 1)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes * lengths, center
    sphere.Update()
    return moved(sphere.GetOutput(), matrix)


_SOURCE_MM = 10.0
_ARM_MM = 4.0  # of the cross, on the detector
_DEPTH_MM = 1.0  # a slice view draws what its plane cuts, so lines are ribbons across the detector's plane
_LEAST_MM = 0.5


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
    source = vtk.vtkSphereSource()
    source.SetRadius(_SOURCE_MM)
    both = vtk.vtkAppendPolyData()
    both.AddInputData(polylines([np.append(corners, corners[:1], 0), *np.stack([corners, start], 1)]))
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
    across = np.array([0.0, 0.0, _DEPTH_MM])
    return ribbons(polylines(np.insert(line, 2, depth, axis=1) for line in lines), across)
