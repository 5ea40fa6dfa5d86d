"""Where a point of the patient may really lie: its spread over the samples of a pose, as an ellipsoid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import vtk
from numpy.typing import NDArray

from .meshes import moved
from .pose_result import Pose, PoseSamples

__all__ = ["CHI_95", "Spread", "ellipsoid", "spread_of"]

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
            return "Target: this bundle keeps its place fixed; only points beside it move with the pose."
        said = ", ".join(f"± {length:.1f}" for length in lengths)
        return f"Target, 95 %: {said} mm along its axes; longest {_direction(axes[:, 0])}."


def _direction(axis: Array) -> str:
    """The anatomical direction that an axis is nearest to."""
    return ("left to right", "back to front", "foot to head")[int(np.abs(axis).argmax())]


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
    seen = np.linalg.solve(pose.camera_to_world, [*point, 1.0])  # the point as the shown C-arm sees it
    moved = (own @ seen)[:, :3]
    return Spread(moved.mean(0), np.cov(moved, rowvar=False), len(own))


def ellipsoid(spread: Spread) -> vtk.vtkPolyData:
    """The surface that holds 95 % of a spread, in world coordinates."""
    lengths, axes = spread.axes()
    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(1.0)
    sphere.SetThetaResolution(_FINE)
    sphere.SetPhiResolution(_FINE // 2 + 1)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes * lengths, spread.mean
    sphere.Update()
    return moved(sphere.GetOutput(), matrix)
