"""Three schematic vertebrae: what pose problems are tried on where there is no CT."""

from __future__ import annotations

import torch
from torch import Tensor

from monai_inn.applications.registration.projection import AttenuationVolume

__all__ = ["spine_phantom"]

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
