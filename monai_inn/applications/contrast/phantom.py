"""Made-up patients: an ellipsoid of smooth tissue in several contrasts, for tests and trials."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from monai_inn.applications.contrast.scans import Scan

__all__ = ["made_up"]

_SLICES, _SPACING_MM = 24, 1.5
_SMOOTH = 2.0  # voxels
# Each contrast is a base, a slope in the shared tissue and texture of its own.
_BASE, _SLOPES, _OWN = 150.0, (25.0, -20.0, 15.0, 10.0), 6.0


def made_up(contrasts: int, size: Sequence[int], patients: int = 3, seed: int = 0) -> list[Scan]:
    """Return patients ``a``, ``b``, … whose brains fill most of a slice.

    Args:
        contrasts: how many each has.
        size: pixels of a slice.
        patients: how many.
        seed: seed of the tissue.
    """
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    shape = (*size, _SLICES)
    place = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    brain = sum((axis / reach) ** 2 for axis, reach in zip(place, (0.8, 0.85, 1.1), strict=True)) < 1
    scans = []
    for number in range(patients):
        fields = [gaussian_filter(rng.standard_normal(shape), _SMOOTH) for _ in range(contrasts + 1)]
        shared, *own = (field / field.std() for field in fields)
        volumes = [
            np.where(brain, np.clip(_BASE + _SLOPES[i % 4] * shared + _OWN * texture, 20, 255), 0)
            for i, texture in enumerate(own)
        ]
        values = torch.from_numpy(np.stack(volumes)).float()
        affine = np.diag([_SPACING_MM, _SPACING_MM, _SPACING_MM, 1.0])
        upright = np.array([[0.0, 1], [1, 1], [2, 1]])
        scans.append(Scan(chr(ord("a") + number), values, torch.full((contrasts,), _BASE), affine, upright))
    return scans
