"""Radiographs of a CT with their slopes in the pose: what a search for the pose needs, fast, on processors.

``projection.Projector`` renders one volume, differentiably, on any device. Here several materials share one
walk along the ray, and six derivatives cost as much as one more image, where central differences cost twelve.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from copy import copy
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from monai_inn.applications.registration.carm import Detector, camera_to_world
from monai_inn.applications.registration.ray_kernel import LEVELS, cast_rows, packed
from monai_inn.networks.kernels.chunks import on_all_threads

__all__ = ["Materials", "RayCaster", "Rays"]

_DIFFERENCE = 1e-3  # degrees or mm, of poses in double precision
_ROWS_PER_TASK = 16
_TISSUE, _AROUND = 0.3, 2  # of water; voxels that the last slice's tissue may be off
_LOOKS = 48  # along a ray


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
        self.spacing_mm = float(materials.spacing_mm)
        # A voxel of nothing around, so that attenuation ends where the patient does.
        values = torch.nn.functional.pad(materials.values.float().cpu(), (0, 0, 1, 1, 1, 1, 1, 1))
        self._origin = materials.origin.double().cpu() - self.spacing_mm
        self._scan = (1, materials.values.shape[2])
        most = values.amax((0, 1, 2)).clamp_min(1e-12)
        self._level = (most / torch.tensor(LEVELS)).numpy()
        self._size, self._voxels = np.array(values.shape[:3]), packed(np.rint(values.numpy() / self._level))

    def tensors(self) -> dict[str, Tensor]:
        """Return the voxels as they lie in memory, to be kept in a file."""
        return {
            "voxels": torch.from_numpy(self._voxels),
            "level": torch.from_numpy(self._level),
            "size": torch.from_numpy(self._size),
            "origin": self._origin,
            "scan": torch.tensor(self._scan),
            "spacing_mm": torch.tensor(self.spacing_mm, dtype=torch.float64),
        }

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor], detector: Detector, target: Tensor) -> RayCaster:
        """Return the line integrals through voxels that ``tensors`` gave."""
        caster = cls.__new__(cls)
        caster.detector, caster.target, caster.rays = detector, target.double().cpu(), 1
        caster._size, caster._level = tensors["size"].numpy(), tensors["level"].numpy()
        # A copy by numpy lies in large pages of memory, if there are any: a third of the time.
        caster._voxels = tensors["voxels"].numpy().copy()
        if caster._voxels.dtype != np.int32 or caster._voxels.size != caster._size.prod():
            raise ValueError(f"{caster._voxels.size} voxels do not make {caster._size.tolist()}")
        caster.spacing_mm, caster._origin = float(tensors["spacing_mm"]), tensors["origin"]
        caster._scan = tuple(tensors["scan"].tolist())
        return caster

    def seen_by(self, detector: Detector) -> RayCaster:
        """Return the line integrals of the same voxels for another detector."""
        other = copy(self)
        other.detector = detector
        return other

    @property
    def is_cut(self) -> bool:
        """Whether the scan ended in tissue, below or above."""
        voxels = self._voxels.reshape(self._size)
        return any(bool(self._tissue(voxels[..., at]).any()) for at in self._scan)

    def going_on(self, beyond_mm: float) -> RayCaster:
        """Return those of a patient who goes on, as the last slice does, where the scan ended in tissue."""
        other, more = copy(self), math.ceil(beyond_mm / self.spacing_mm)
        voxels = self._voxels.reshape(self._size)
        tissue = [bool(self._tissue(voxels[..., at]).any()) for at in self._scan]
        below, above = (
            np.repeat(voxels[..., at : at + 1], more * is_open, 2)
            for at, is_open in zip(self._scan, tissue, strict=True)
        )
        longer = np.concatenate([voxels[..., :1], below, voxels[..., 1:-1], above, voxels[..., -1:]], 2)
        first, last = self._scan
        other._scan = first + below.shape[2], last + below.shape[2]
        other._origin = self._origin - self.spacing_mm * torch.tensor([0, 0, below.shape[2]])
        other._size, other._voxels = np.array(longer.shape), longer.ravel()
        return other

    @staticmethod
    def _tissue(voxels: np.ndarray) -> np.ndarray:
        return (voxels >> 21 & 2047) > _TISSUE * LEVELS[0]

    def __call__(
        self, pose: Tensor, weights: Tensor, source: Tensor | None = None, *, slopes: bool = False
    ) -> Rays:
        """Return the line integrals that poses see.

        Args:
            pose: all six parameters, shape ``(B, 6)``, see ``carm.POSE``.
            weights: of the three materials in the mixture, shape ``(B, 3)``.
            source: how far the source is from its place before the detector in mm, to the right and down in
                the image and away from it, shape ``(B, 3)``.
            slopes: whether to return derivatives in the pose.
        """
        pose = pose.double().cpu()
        camera = camera_to_world(pose, self.detector, self.target)
        starts = [part.numpy() for part in self._rays(camera, source)]
        centre = ((self.target - self._origin) / self.spacing_mm).numpy()
        steep = camera[:, :3, 2].abs().argmax(1)
        mixed = weights.float().cpu().numpy() * self._level
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
        second, third = (image[:, k] * float(self._level[k] * self.spacing_mm) for k in (1, 2))
        return Rays(
            image[:, 0] * self.spacing_mm,
            second,
            third,
            self._slopes(pose, camera, image) if slopes else None,
        )

    def within(self, pose: Tensor) -> Tensor:
        """Return where the CT shows all that a ray meets, ``(rows, columns)``, 1 or 0.

        Where a scan ended in tissue, below or above, the patient goes on: as the last slice does, here.

        Args:
            pose: all six parameters, shape ``(6,)``.
        """
        if not self.is_cut:
            return torch.ones(self.detector.rows, self.detector.columns)
        source, first, right, down = (
            part[0] for part in self._rays(camera_to_world(pose.double()[None], self.detector, self.target))
        )
        rows, columns = (
            torch.arange(n) * self.rays + (self.rays - 1) / 2
            for n in (self.detector.rows, self.detector.columns)
        )
        ray = first + rows[:, None, None] * down + columns[:, None] * right - source
        sides = torch.from_numpy(self._size[:2]) - 1
        enter, leave = -source[:2] / ray[..., :2], (sides - source[:2]) / ray[..., :2]
        near = torch.minimum(enter, leave).amax(-1).clamp(0, 1)
        far = torch.maximum(enter, leave).amin(-1).clamp(0, 1)
        share = near[..., None] + torch.linspace(0, 1, _LOOKS) * (far - near).clamp_min(0)[..., None]
        at = source + share[..., None] * ray[..., None, :]
        u, v = (at[..., k].round().long().clamp(0, int(sides[k])) for k in (0, 1))
        voxels = self._voxels.reshape(self._size)
        beyond = torch.zeros(ray.shape[:2])
        for end, slice_ in enumerate(self._scan):
            tissue = torch.from_numpy(self._tissue(voxels[..., slice_])).float()
            wider = torch.nn.functional.max_pool2d(tissue[None], 2 * _AROUND + 1, 1, _AROUND)[0]
            is_beyond = at[..., 2] > slice_ - 0.5 if end else at[..., 2] < slice_ + 0.5
            met = wider[u, v] * (is_beyond & (far > near)[..., None])
            beyond = torch.maximum(beyond, met.amax(-1))
        return 1 - beyond

    def _rays(self, camera: Tensor, shift: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Source, first point on the detector, and steps along rows and columns, in voxels, ``(B, 3)``."""
        d = self.detector
        rotation, source = camera[:, :3, :3] / self.spacing_mm, camera[:, :3, 3]
        start = (source - self._origin) / self.spacing_mm
        pitch = d.spacing_mm / self.rays
        right, down = d.handedness * pitch * rotation[..., 0], pitch * rotation[..., 1]
        middle = start + d.source_detector_mm * rotation[..., 2]
        half = ((n * self.rays - 1) / 2 for n in (d.columns, d.rows))
        first = middle - next(half) * right - next(half) * down
        if shift is not None:
            side = shift.to(rotation) * rotation.new_tensor([d.handedness, 1.0, -1.0])
            start = start + (rotation @ side.unsqueeze(-1)).squeeze(-1)
        return start, first, right, down

    def _slopes(self, pose: Tensor, camera: Tensor, image: Tensor) -> Tensor:
        """Derivatives in the pose, from those by shifts along and turns about the voxels' axes."""
        shift, turn = self._twists(pose, camera)
        return torch.einsum(
            "bkp,bprc->bkrc", torch.cat([shift, turn * self.spacing_mm], -1).float(), image[:, 3:]
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
