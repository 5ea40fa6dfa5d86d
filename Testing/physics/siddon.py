"""Exact line integrals of voxels of constant attenuation: what the renderer is compared with.

Source: Siddon, Fast calculation of the exact radiological path for a three-dimensional CT array, 1985.
"""

from __future__ import annotations

import numpy as np
import torch

from monai_inn.applications.registration.carm import Detector
from monai_inn.applications.registration.projection import AttenuationVolume


def siddon(volume: AttenuationVolume, cameras: torch.Tensor, detector: Detector) -> np.ndarray:
    """Line integrals ``(B, rows, columns)`` seen by cameras ``(B, 4, 4)``, float64."""
    values = volume.values.numpy().astype(float)
    to_voxels = np.linalg.inv(volume.affine.numpy())
    return np.stack([_image(values, to_voxels, camera, detector) for camera in cameras.double().numpy()])


def _image(values: np.ndarray, to_voxels: np.ndarray, camera: np.ndarray, detector: Detector) -> np.ndarray:
    start, end = _rays(detector)
    length = np.linalg.norm(end - start, axis=1)
    # Voxel i fills the indices from i to i + 1.
    start, end = (
        p @ (to_voxels @ camera)[:3, :3].T + (to_voxels @ camera)[:3, 3] + 0.5 for p in (start, end)
    )
    along = end - start
    crossings = []
    for axis, count in enumerate(values.shape):
        planes = np.arange(count + 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            at = (planes - start[:, axis, None]) / along[:, axis, None]
        crossings.append(np.where(np.isfinite(at), at, 0.0))
    at = np.sort(np.clip(np.concatenate(crossings, 1), 0, 1), 1)
    middle = start[:, None] + along[:, None] * ((at[:, 1:] + at[:, :-1]) / 2)[..., None]
    voxel = np.floor(middle).astype(int)
    inside = ((voxel >= 0) & (voxel < values.shape)).all(-1)
    voxel = np.where(inside[..., None], voxel, 0)
    passed = np.where(inside, values[tuple(np.moveaxis(voxel, -1, 0))], 0.0)
    integral = (passed * np.diff(at, axis=1)).sum(1) * length
    return integral.reshape(detector.rows, detector.columns)


def _rays(detector: Detector) -> tuple[np.ndarray, np.ndarray]:
    """First and last points of the rays, camera coordinates, mm, shape ``(rows · columns, 3)``."""
    column = (np.arange(detector.columns) - (detector.columns - 1) / 2) * detector.spacing_mm
    row = (np.arange(detector.rows) - (detector.rows - 1) / 2) * detector.spacing_mm
    if detector.view == "detector":
        column = -column
    y, x = (axis.ravel() for axis in np.meshgrid(row, column, indexing="ij"))
    if detector.beam == "cone":
        end = np.stack([x, y, np.full_like(x, detector.source_detector_mm)], 1)
        return np.zeros_like(end), end
    depth = 2 * detector.source_isocentre_mm
    return np.stack([x, y, 0 * x], 1), np.stack([x, y, 0 * x + depth], 1)
