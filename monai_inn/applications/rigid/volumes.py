"""Volumes of any contrast: reading, and resampling to the resolution at which two are compared."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from monai_inn.applications.registration.ct import read_volume
from monai_inn.applications.registration.projection import AttenuationVolume

__all__ = ["Volume", "load_volume", "mapped"]

_REACH = 4.0  # standard deviations of a blur
_LEAST_VOXELS = 8  # along each axis


def mapped(points: Tensor, matrix: Tensor) -> Tensor:
    """Return points ``(N, 3)`` under a matrix ``(4, 4)``."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


class Volume(AttenuationVolume):
    """Grey values on a voxel grid.

    Attributes:
        values: in any unit, shape ``(I, J, K)``.
        affine: from voxel indices to RAS in mm, shape ``(4, 4)``, float64; any axes and spacings.
    """

    @property
    def size_mm(self) -> Tensor:
        """Distance of the first from the last voxel along each axis, shape ``(3,)``."""
        return (torch.tensor(self.values.shape) - 1) * self.spacing_mm

    def points(self) -> Tensor:
        """Return the voxels' places, RAS in mm, shape ``(I · J · K, 3)``, float64."""
        index = torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) for n in self.values.shape))
        return mapped(index, self.affine)

    def corners(self) -> Tensor:
        """Return the places of the eight outermost voxels, RAS in mm, shape ``(8, 3)``, float64."""
        index = torch.cartesian_prod(*(torch.tensor([0.0, n - 1.0]).double() for n in self.values.shape))
        return mapped(index, self.affine)

    def at(self, points: Tensor) -> Tensor:
        """Return the values between voxels at points ``(N, 3)``, RAS in mm; NaN outside."""
        inverse = torch.linalg.inv(self.affine)
        index = mapped(points, inverse)
        most = torch.tensor(self.values.shape) - 1
        inside = ((index >= -0.5) & (index <= most + 0.5)).all(1)
        unit = (2 * index / most - 1).float().flip(1)[None, :, None, None]
        values = self.values.float()[None, None]
        found = torch.nn.functional.grid_sample(values, unit, padding_mode="border", align_corners=True)
        return found.flatten().masked_fill(~inside, torch.nan)

    def cropped(self, points: Tensor, margin_mm: float) -> Volume:
        """Return the part of the volume around some points ``(N, 3)``, RAS in mm."""
        inverse = torch.linalg.inv(self.affine)
        index = mapped(points, inverse)
        most = torch.tensor(self.values.shape) - 1
        margin = margin_mm / self.spacing_mm
        low = (index.min(0).values - margin).floor().long().clamp_min(0).minimum(most)
        high = (index.max(0).values + margin).ceil().long().minimum(most).maximum(low)
        (a, b, c), (x, y, z) = low.tolist(), (high + 1).tolist()
        affine = self.affine.clone()
        affine[:3, 3] += affine[:3, :3] @ low.double()
        return Volume(self.values[a:x, b:y, c:z], affine)

    def resampled(self, spacing_mm: float, blur_mm: float) -> Volume:
        """Return the volume on a grid of cubes with the same axes and centre, blurred by a Gaussian.

        Args:
            spacing_mm: side of the new voxels.
            blur_mm: standard deviation of the blur; at least half of the old spacing, to interpolate.
        """
        values, size = self.values, []
        for axis, (n, old, length) in enumerate(
            zip(self.values.shape, self.spacing_mm.tolist(), self.size_mm.tolist(), strict=True)
        ):
            size.append(1 + int(length / spacing_mm + 1e-6))
            at = (torch.arange(size[-1]) - (size[-1] - 1) / 2) * spacing_mm
            away = (at[:, None] - (torch.arange(n) - (n - 1) / 2) * old) / blur_mm
            kernel = torch.exp(-0.5 * away.square()) * (away.abs() < _REACH)
            kernel = (kernel / kernel.sum(1, keepdim=True)).to(values)
            values = torch.movedim(torch.tensordot(kernel, values, ([1], [axis])), 0, axis)
        affine = self.affine.clone()
        affine[:3, :3] *= spacing_mm / self.spacing_mm
        affine[:3, 3] = self.centre - affine[:3, :3] @ ((torch.tensor(size).double() - 1) / 2)
        return Volume(values.contiguous(), affine)


def load_volume(path: str | PathLike[str]) -> Volume:
    """Read a volume of any contrast: NIfTI, NRRD or MetaImage.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, not one volume of three axes, constant, or holds NaN.
    """
    values, affine = read_volume(path, "a CT or MR volume as NIfTI, NRRD, MetaImage or DICOM folder")
    name = Path(path)
    if values.ndim != 3 or min(values.shape) < _LEAST_VOXELS:
        raise ValueError(
            f"{name}: has the shape {values.shape}, expected one volume of three axes with at least "
            f"{_LEAST_VOXELS} voxels along each; give a 3-D image."
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: holds NaN or infinite values; fill them, in a CT with −1000 HU for air.")
    if values.min() == values.max():
        raise ValueError(
            f"{name}: all voxels have the value {values.flat[0]:g}; give an image that is not constant."
        )
    return Volume(torch.from_numpy(values.astype(np.float32)), torch.from_numpy(affine))
