"""Radiographs of a CT with their slopes in the pose: what a search for the pose needs, fast, on processors.

``projection.Projector`` renders one volume, differentiably, on any device. Here several materials share one
walk along the ray, and six derivatives cost as much as one more image, where central differences cost twelve.
"""

from __future__ import annotations

import itertools
from copy import copy
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from monai_inn.applications.registration.carm import Detector, camera_to_world
from monai_inn.networks.kernels.chunks import on_all_threads

__all__ = ["Materials", "RayCaster", "Rays"]

_DIFFERENCE = 1e-3  # degrees or mm, of poses in double precision
_ROWS_PER_TASK = 16


class Materials(NamedTuple):
    """Attenuation of a CT taken apart into three, on cubic voxels along the patient's axes.

    Attributes:
        values: attenuation in 1/mm of the first, and what the second and third add, shape ``(I, J, K, 3)``.
        origin: centre of the first voxel, RAS in mm, shape ``(3,)``, float64.
        spacing_mm: side of a voxel.
    """

    values: Tensor
    origin: Tensor
    spacing_mm: float


class Rays(NamedTuple):
    """Line integrals along the rays of some poses.

    Attributes:
        mixture: of the weighted sum of the materials, shape ``(B, rows, columns)``, float32.
        second: of the second material alone, same shape.
        third: of the third.
        slopes: of the mixture, per degree or mm of the six pose parameters, shape ``(B, 6, rows, columns)``.
    """

    mixture: Tensor
    second: Tensor
    third: Tensor
    slopes: Tensor | None


class RayCaster:
    """Line integrals of three materials along the rays of a detector.

    Args:
        materials: the patient.
        detector: image size and distances.
        target: point that angles turn about, RAS in mm.
        rays: rays along each side of a pixel, which are averaged.

    Raises:
        ValueError: if the beam is parallel.
    """

    def __init__(self, materials: Materials, detector: Detector, target: Tensor, rays: int = 1) -> None:
        if detector.beam != "cone":
            raise ValueError(f"rays of a {detector.beam} beam are not cast here; use projection.Projector.")
        self.detector, self.target, self.rays = detector, target.double().cpu(), rays
        # A voxel of nothing around, so that attenuation ends where the CT does.
        values = torch.nn.functional.pad(materials.values.float().cpu(), (0, 0, 1, 1, 1, 1, 1, 1))
        self._size, self._voxels = np.array(values.shape[:3]), values.flatten().numpy()
        self._spacing = float(materials.spacing_mm)
        self._origin = materials.origin.double().cpu() - self._spacing

    def seen_by(self, detector: Detector) -> RayCaster:
        """Return the line integrals of the same voxels for another detector."""
        other = copy(self)
        other.detector = detector
        return other

    def __call__(self, pose: Tensor, weights: Tensor, *, slopes: bool = False) -> Rays:
        """Return the line integrals that poses see.

        Args:
            pose: all six parameters, shape ``(B, 6)``, see ``carm.POSE``.
            weights: of the three materials in the mixture, shape ``(B, 3)``.
            slopes: whether to return derivatives in the pose.
        """
        from monai_inn.applications.registration.ray_kernel import cast_rows

        pose = pose.double().cpu()
        camera = camera_to_world(pose, self.detector, self.target)
        starts = [part.numpy() for part in self._rays(camera)]
        centre = ((self.target - self._origin) / self._spacing).numpy()
        steep = camera[:, :3, 2].abs().argmax(1)
        mixed = weights.float().cpu().numpy()
        rows, columns = self.detector.rows, self.detector.columns
        out = np.empty((len(pose), 9 if slopes else 3, rows, columns), np.float32)

        def run(task: tuple[int, int]) -> None:
            b, begin = task
            cast_rows(
                self._voxels,
                self._size,
                mixed[b],
                *(start[b] for start in starts),
                centre,
                int(steep[b]),
                self.rays,
                slopes,
                begin,
                min(begin + _ROWS_PER_TASK, rows),
                out[b],
            )

        tasks = list(itertools.product(range(len(pose)), range(0, rows, _ROWS_PER_TASK)))
        for _ in on_all_threads(run, tasks, torch.device("cpu")):
            pass
        image = torch.from_numpy(out)
        sums = image[:, :3] * self._spacing
        return Rays(sums[:, 0], sums[:, 1], sums[:, 2], self._slopes(pose, camera, image) if slopes else None)

    def _rays(self, camera: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Source, first point on the detector, and steps along rows and columns, in voxels, ``(B, 3)``."""
        d = self.detector
        rotation, source = camera[:, :3, :3] / self._spacing, camera[:, :3, 3]
        start = (source - self._origin) / self._spacing
        pitch = d.spacing_mm / self.rays
        right, down = d.handedness * pitch * rotation[..., 0], pitch * rotation[..., 1]
        middle = start + d.source_detector_mm * rotation[..., 2]
        half = ((n * self.rays - 1) / 2 for n in (d.columns, d.rows))
        first = middle - next(half) * right - next(half) * down
        return start, first, right, down

    def _slopes(self, pose: Tensor, camera: Tensor, image: Tensor) -> Tensor:
        """Derivatives in the pose, from those by shifts along and turns about the voxels' axes."""
        shift, turn = self._twists(pose, camera)
        return torch.einsum(
            "bkp,bprc->bkrc", torch.cat([shift, turn * self._spacing], -1).float(), image[:, 3:]
        )

    def _twists(self, pose: Tensor, camera: Tensor) -> tuple[Tensor, Tensor]:
        """How a camera moves with each parameter: shift of the target's place in mm, turn in radians.

        Both ``(B, 6, 3)``, float64.
        """
        step = _DIFFERENCE * torch.eye(6, dtype=torch.float64)
        ahead, behind = (
            camera_to_world(pose.unsqueeze(1) + sign * step, self.detector, self.target) for sign in (1, -1)
        )
        change = (ahead - behind) / (2 * _DIFFERENCE)
        spin = change[..., :3, :3] @ camera[:, None, :3, :3].transpose(-1, -2)
        turn = torch.stack([spin[..., 2, 1], spin[..., 0, 2], spin[..., 1, 0]], -1)
        to_target = (self.target - camera[:, :3, 3]).unsqueeze(1).expand_as(turn)
        return change[..., :3, 3] + torch.linalg.cross(turn, to_target), turn
