"""Digitally reconstructed radiographs: line integrals of attenuation through a CT.

Rays are straight and the beam has one energy: there is no scatter, no beam hardening and no blur but that of
the volume. Rendering is done by ``nanodrr``; this file chooses its sample count, its chunks and its axes.

Source: Beer–Lambert law; nanodrr (Gopalakrishnan), whose ``grid_sample`` renderer is differentiable.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from monai_inn.applications.registration.carm import Detector

__all__ = ["AttenuationVolume", "Projector"]

_VOXELS_PER_SAMPLE = 2.0
_LEAST_SAMPLES, _MOST_SAMPLES = 32, 512
_BYTES = 192 << 20  # of the points of one chunk


class AttenuationVolume(NamedTuple):
    """Linear attenuation on a voxel grid.

    Attributes:
        values: attenuation in 1/mm, shape ``(I, J, K)``.
        affine: from voxel indices to RAS in mm, shape ``(4, 4)``, float64; any axes, spacings and shears.
    """

    values: Tensor
    affine: Tensor

    @property
    def spacing_mm(self) -> Tensor:
        """Distance of neighbouring voxels along each axis, shape ``(3,)``."""
        return self.affine[:3, :3].norm(dim=0)

    @property
    def centre(self) -> Tensor:
        """Middle of the volume, RAS in mm, shape ``(3,)``."""
        middle = (torch.tensor(self.values.shape, dtype=torch.float64) - 1) / 2
        return self.affine[:3, :3] @ middle + self.affine[:3, 3]

    @property
    def diagonal_mm(self) -> float:
        """Length of the longest ray through the volume."""
        size = torch.tensor(self.values.shape, dtype=torch.float64)
        corners = torch.cartesian_prod(*[torch.tensor([-0.5, 0.5], dtype=torch.float64)] * 3) * size
        return 2 * float((corners @ self.affine[:3, :3].T).norm(dim=1).max())


class Projector:
    """Line integrals of a volume along the rays of a detector, batched and differentiable in the poses.

    Args:
        volume: attenuation in 1/mm.
        detector: image size, distances, beam and view.
        samples: points along the part of a ray that lies in the volume; one for every two voxels of the
            longest ray by default. Twice as many bring the image closer to the exact integral of trilinear
            voxels by a thousandth of its contrast (``docs/registration.md``).

    Raises:
        ValueError: if the volume is not three-dimensional or holds NaN, infinite or negative values.
        ImportError: if nanodrr is not installed.
    """

    def __init__(self, volume: AttenuationVolume, detector: Detector, samples: int | None = None) -> None:
        try:
            from nanodrr.data import Subject
            from nanodrr.drr import DRR
        except ImportError as error:
            raise ImportError(
                "projecting a CT needs nanodrr: pip install 'monai_inn[registration]'."
            ) from error
        values = volume.values
        if values.ndim != 3 or not bool((values >= 0).all()) or not bool(torch.isfinite(values).all()):
            raise ValueError(
                f"a volume of shape {tuple(values.shape)} with values from {float(values.min()):g} to "
                f"{float(values.max()):g} is not an attenuation; give three axes of finite numbers ≥ 0, in "
                "1/mm."
            )
        self.volume, self.detector = volume, detector
        self.samples = samples or self._default_samples()
        d = detector
        # Parallel rays start on the source's plane and must be long enough to leave the volume behind.
        length = 2 * d.source_isocentre_mm if d.beam == "parallel" else d.source_detector_mm
        self._camera = DRR.from_carm_intrinsics(
            length, d.spacing_mm, d.spacing_mm, 0.0, 0.0, d.rows, d.columns, d.beam == "parallel"
        )
        data = values.float().permute(2, 1, 0).contiguous()[None, None]
        self._subject = Subject(
            data,
            torch.zeros(1, 1, 1, 1, 1),
            volume.affine.float(),
            torch.linalg.inv(volume.affine.double()).float(),
            Subject._make_voxel_to_grid(data.shape),
            volume.centre.float(),
            max_label=0,
            convert_to_mu=False,
        )

    def _default_samples(self) -> int:
        count = self.volume.diagonal_mm / (_VOXELS_PER_SAMPLE * float(self.volume.spacing_mm.min()))
        return min(max(math.ceil(count), _LEAST_SAMPLES), _MOST_SAMPLES)

    def to(self, device: str | torch.device) -> Projector:
        """Move volume and rays to a device."""
        self._subject.to(device)
        self._camera.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Where the volume is."""
        return self._subject.image.device

    def __call__(self, camera: Tensor) -> Tensor:
        """Return the line integrals seen by cameras.

        Args:
            camera: poses from camera to world, shape ``(…, 4, 4)``, see ``carm.camera_to_world``.

        Returns:
            Line integrals of attenuation, no unit, shape ``(…, rows, columns)``, float32.
        """
        flat = camera.reshape(-1, 4, 4).to(self.device, torch.float32)
        size = (self.detector.rows, self.detector.columns)
        per_image = size[0] * size[1] * self.samples * 16
        images = [self._render(part) for part in flat.split(max(1, _BYTES // per_image))]
        together = torch.cat(images) if images else flat.new_empty(0, *size)
        return together.reshape(*camera.shape[:-2], *size)

    def _render(self, camera: Tensor) -> Tensor:
        image = self._camera(self._subject, camera, n_samples=self.samples)[:, 0]
        return image.flip(-1) if self.detector.handedness < 0 else image
