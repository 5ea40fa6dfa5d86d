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

__all__ = ["AttenuationVolume", "Projector", "spine_phantom"]

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
        return 2 * float((self._corners() - self.centre).norm(dim=1).max())

    @property
    def box(self) -> Tensor:
        """Least and largest RAS coordinates of the volume in mm, shape ``(2, 3)``."""
        return torch.stack([self._corners().amin(0), self._corners().amax(0)])

    def _corners(self) -> Tensor:
        size = torch.tensor(self.values.shape, dtype=torch.float64)
        corners = torch.cartesian_prod(*[torch.tensor([-0.5, 0.5], dtype=torch.float64)] * 3) * size
        return corners @ self.affine[:3, :3].T + self.centre


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
        count = self.volume.diagonal_mm / (_VOXELS_PER_SAMPLE * float(self.volume.spacing_mm.min()))
        self.samples = samples or min(max(math.ceil(count), _LEAST_SAMPLES), _MOST_SAMPLES)
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


_BONE, _SPONGY = 0.045, 0.032
_EDGE_MM = 3.0
_LEVELS_MM = (-34.0, 0.0, 34.0)
# Ellipsoids of the right half, RAS in mm: centre, semi-axes, attenuation. The left half mirrors them.
_PARTS = (
    ((0.0, 22.0, 0.0), (23.0, 16.0, 13.0), _SPONGY),  # body
    ((14.0, 3.0, 4.0), (5.0, 9.0, 6.0), _BONE),  # pedicle
    ((10.0, -10.0, -2.0), (10.0, 5.0, 10.0), _BONE),  # lamina and facets
    ((30.0, -4.0, 3.0), (16.0, 4.0, 4.0), _BONE),  # transverse process
    ((0.0, -28.0, -5.0), (4.0, 16.0, 8.0), _BONE),  # spinous process
)
_SPUR = ((27.0, 30.0, -12.0), (8.0, 8.0, 9.0), _BONE)


def spine_phantom(asymmetry: float = 0.0, spacing_mm: float = 2.5) -> AttenuationVolume:
    """Return three vertebrae that are their own mirror image, but for a bone spur on the right.

    Args:
        asymmetry: attenuation of the spur over that of bone; 0 for perfect symmetry.
        spacing_mm: side of a voxel.

    Returns:
        Attenuation in 1/mm; the mirror plane is x = 0, the middle vertebra is at z = 0.

    Raises:
        ValueError: if ``asymmetry`` is negative or ``spacing_mm`` not positive.
    """
    if asymmetry < 0 or spacing_mm <= 0:
        raise ValueError(f"asymmetry = {asymmetry}, spacing_mm = {spacing_mm}; give one ≥ 0 and one above 0.")
    half = torch.tensor([52.5, 52.5, 57.5])
    count = (2 * half / spacing_mm).round().int().tolist()
    axes = [(torch.arange(n) - (n - 1) / 2) * spacing_mm for n in count]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    values = torch.zeros_like(x)
    for level in _LEVELS_MM:
        for centre, size, attenuation in _PARTS:
            inside = _inside(x.abs(), y, z - level, centre, size)
            values = torch.maximum(values, attenuation * inside)
    values = torch.maximum(values, values.flip(0))  # the last bit of a sigmoid depends on its place
    centre, size, attenuation = _SPUR
    values = torch.maximum(values, asymmetry * attenuation * _inside(x, y, z, centre, size))
    affine = torch.diag(torch.tensor([spacing_mm] * 3 + [1.0], dtype=torch.float64))
    affine[:3, 3] = torch.tensor([float(a[0]) for a in axes])
    return AttenuationVolume(values, affine)


def _inside(x: Tensor, y: Tensor, z: Tensor, centre: tuple[float, ...], size: tuple[float, ...]) -> Tensor:
    """Share of each voxel inside an ellipsoid, its surface blurred as pixels of 5 mm would."""
    parts = [((v - c) / s).square() for v, c, s in zip((x, y, z), centre, size, strict=True)]
    radius = torch.stack(parts).sum(0).sqrt()
    return torch.sigmoid(4 * (1 - radius) * min(size) / _EDGE_MM)
